//! Where a registry is, and whether it is asked with TLS.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::ways::Ways;
use crate::internet::is_loopback;
use crate::registry::Reference;
use crate::registry::grammar::DEFAULT_REGISTRY;

/// How long a loopback registry without TLS is not asked for it again.
const PLAIN_FOR: Duration = Duration::from_secs(300);
/// The most loopback registries that are remembered; there are only so many ports.
const MOST_PLAIN: usize = 256;

/// Loopback registries that were found to speak no TLS, and until when that is believed.
#[derive(Default)]
pub(super) struct Plain(HashMap<String, Instant>);

/// A registry, and how to speak to it.
pub(super) struct Site {
    /// Its name in references, under which its credentials are.
    pub(super) name: String,
    /// The repository at it.
    pub(super) repository: String,
    /// Its API, with the scheme in use.
    pub(super) base: Url,
    /// The operator lets it lead to private addresses.
    pub(super) trusted: bool,
}

/// With or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Tls,
    Plain,
    /// TLS where there is any.
    Either,
}

/// The host that serves a registry.
pub(super) fn host_of(registry: &str) -> &str {
    match registry {
        DEFAULT_REGISTRY => "registry-1.docker.io",
        other => other,
    }
}

impl Site {
    /// The registry of a reference; `None` where that is no registry.
    pub(super) fn of(reference: &Reference, plain: bool, ways: &Ways) -> Option<Self> {
        let name = reference.registry().to_owned();
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", host_of(&name))).ok()?;
        let trusted = ways.is_private(&base);
        Some(Self { name, repository: reference.repository().to_owned(), base, trusted })
    }

    pub(super) fn scheme(&self, ways: &Ways) -> Scheme {
        let mut plain = self.base.clone();
        let listed = plain.set_scheme("http").is_ok() && ways.is_plain(&plain);
        match (listed, is_loopback(&self.base)) {
            (true, _) => Scheme::Plain,
            (false, true) => Scheme::Either,
            (false, false) => Scheme::Tls,
        }
    }

    /// Something in the repository, such as `manifests/latest`.
    pub(super) fn url(&self, tail: &str) -> Option<Url> {
        self.base.join(&format!("{}/{tail}", self.repository)).ok()
    }
}

impl Plain {
    pub(super) fn has(&self, registry: &str) -> bool {
        self.0.get(registry).is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn add(&mut self, registry: &str) {
        if self.0.len() >= MOST_PLAIN {
            self.0.clear();
        }
        self.0.insert(registry.to_owned(), Instant::now() + PLAIN_FOR);
    }
}
