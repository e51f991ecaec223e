//! Runtimes: an image with what scripts in it usually need, under a name that requests say instead.
//! And templates: limits under a name.
//!
//! | | |
//! |---|---|
//! | [`catalogue`] | what there is now, and what it makes of a request |
//! | [`registered`] | those that come and go while the service runs, and what waits of each |

pub mod catalogue;
pub mod registered;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

pub use catalogue::Catalogue;
pub use registered::{NotRegistered, NotRemoved, Room, Runtimes};

use super::language::Language;
use super::limits::Limits;
use super::request::{AskedLimits, EnvName, EnvValue};
use super::text::Invalid;
use crate::registry::{ChosenBy, Reference, quoted};

/// Characters of a name, at most.
pub const MAX_NAME: usize = 64;
/// Bytes of one runtime's environment, at most: each of them is held in memory.
pub const MAX_ENV_BYTES: usize = 64 * 1024;
/// Runtimes that are registered, at most.
pub const MAX_REGISTERED: usize = 1000;

/// What a runtime or a template is called: it stands in addresses and in logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// What requests mean by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    pub name: Name,
    /// For people, as are the next two.
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub version: Option<String>,
    pub image: Reference,
    /// Of a script that has no `#!` line, where the request names none.
    pub language: Option<Language>,
    /// Beneath the request's own.
    pub env: Vec<(EnvName, EnvValue)>,
    /// In place of the operator's defaults.
    pub limits: AskedLimits,
    /// Containers of its image that wait at all times.
    pub pool: usize,
}

/// What the operator offers in his file.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    pub runtimes: Vec<Runtime>,
    pub templates: BTreeMap<Name, AskedLimits>,
}

/// What a request calls by its name, before anybody has looked whether there is such a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub runtime: Option<String>,
    pub resources: Option<String>,
}

impl Names {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The runtime that an execution is in. Its image, language and environment are the execution's by
/// then.
#[derive(Debug, Clone, PartialEq)]
pub struct InRuntime {
    pub name: Name,
    /// Whose choice the image was.
    pub chosen_by: ChosenBy,
    /// Its own defaults.
    pub limits: AskedLimits,
    /// It brings variables along, so that nothing that was started without them fits.
    pub has_env: bool,
}

/// The template that an execution asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub name: Name,
    pub limits: AskedLimits,
}

/// Templates that there are without the operator's doing, as far as he allows so much.
#[must_use]
pub fn built_in(most: &Limits) -> BTreeMap<Name, AskedLimits> {
    let template = |name: &'static str, memory: u64, cpu_millis, pids, tmp: u64| {
        let limits = AskedLimits {
            memory: Some((memory << 20).min(most.memory)),
            cpu_millis: Some(most.cpu_millis.min(cpu_millis)),
            pids: Some(most.pids.min(pids)),
            tmp: Some((tmp << 20).min(most.tmp)),
            ..AskedLimits::default()
        };
        (Name(name.into()), limits)
    };
    BTreeMap::from([
        template("small", 128, 250, 32, 32),
        template("medium", 256, 500, 64, 64),
        template("large", 1024, 2000, 256, 256),
    ])
}

impl Name {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let plain = |b: u8| alphanumeric(b) || b"._-".contains(&b);
        let begins = text.bytes().next().is_some_and(alphanumeric);
        if begins && text.len() <= MAX_NAME && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        Err(Invalid(format!(
            "{} is no name; write 1 to {MAX_NAME} of a-z 0-9 . _ - and begin with a letter or a digit",
            quoted(text)
        )))
    }
}
