//! When a registry is asked, and how exactly an image has to be named: each in the words of the
//! settings and of the API.

use std::fmt;
use std::str::FromStr;

use super::{InvalidRule, Policy};
use crate::registry::{ImageError, Reference};

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time, whether the tag has moved; an image that has not is not pulled again.
    Always,
    /// When the image is not here.
    #[default]
    IfNotPresent,
    /// Never: an image that is not here is not found.
    Never,
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::IfNotPresent => "if-not-present",
            Self::Never => "never",
        })
    }
}

impl FromStr for PullPolicy {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        match text {
            "always" => Ok(Self::Always),
            "if-not-present" => Ok(Self::IfNotPresent),
            "never" => Ok(Self::Never),
            _ => Err(InvalidRule("write always, if-not-present or never".into())),
        }
    }
}

impl Policy {
    /// When a registry is asked for this one request's image. A request can only be stricter: what
    /// the operator's `always` promises is a fresh image, and what his `never` promises is quiet on
    /// the network, so neither can be asked away.
    ///
    /// | operator | a request may ask for |
    /// |---|---|
    /// | `always` | `always` |
    /// | `if-not-present` | `always`, `if-not-present`, `never` |
    /// | `never` | `never` |
    ///
    /// # Errors
    /// `NotAllowed`, naming PULL_POLICY.
    pub fn pull_for(
        &self,
        reference: &Reference,
        asked: Option<PullPolicy>,
    ) -> Result<PullPolicy, ImageError> {
        match asked {
            None => Ok(self.pull),
            Some(asked) if asked == self.pull || self.pull == PullPolicy::IfNotPresent => Ok(asked),
            Some(asked) => {
                let rule =
                    format!("its pull policy can't be {asked} where PULL_POLICY is {}", self.pull);
                Err(ImageError::not_allowed(reference, rule))
            }
        }
    }
}

/// How exactly a request has to name an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequirePinned {
    #[default]
    None,
    /// By a tag other than `latest`, or by a digest.
    Tag,
    /// By a digest.
    Digest,
}

impl FromStr for RequirePinned {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        match text {
            "none" => Ok(Self::None),
            "tag" => Ok(Self::Tag),
            "digest" => Ok(Self::Digest),
            _ => Err(InvalidRule("write none, tag or digest".into())),
        }
    }
}

impl RequirePinned {
    /// The rule that a reference breaks. `host` is this machine itself, which has no versions.
    pub(super) fn broken_by(self, reference: &Reference) -> Option<&'static str> {
        if reference.is_host() || reference.digest().is_some() {
            return None;
        }
        match self {
            Self::None => None,
            Self::Tag => (reference.tag() == Some("latest"))
                .then_some("REQUIRE_PINNED asks for a tag other than latest, or for a digest"),
            Self::Digest => Some("REQUIRE_PINNED asks for a digest, as in name@sha256:…"),
        }
    }
}
