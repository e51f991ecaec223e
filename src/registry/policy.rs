//! Which images may be run, and when a registry is asked.

use std::fmt;
use std::str::FromStr;

use super::{ImageError, Reference, grammar};

/// What the operator says about images that requests name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `None`: any.
    pub trusted_registries: Option<Vec<RegistryPattern>>,
    /// `None`: any.
    pub allowed_images: Option<Vec<ImagePattern>>,
    pub require_pinned: RequirePinned,
    /// When a registry is asked; a request can only be stricter.
    pub pull: PullPolicy,
    /// Stands in front of every name without a registry.
    pub custom_registry: Option<RegistryPrefix>,
    /// Registries that may be asked without TLS.
    pub plain_http: Vec<String>,
}

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

/// How exactly a request has to name an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequirePinned {
    #[default]
    None,
    /// By a tag other than `latest`, or by a digest.
    Tag,
    Digest,
}

/// Registries: `host[:port]`, or `*.domain` for all beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPattern(String);

/// Images by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern(String);

/// A registry and perhaps a path there: `host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPrefix(String);

/// A value that is no rule of a policy, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(String);

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

impl FromStr for RegistryPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        grammar::registry(host).map_err(InvalidRule)?;
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.contains(odd) {
            return Err(InvalidRule("write a pattern such as python:3.* or team/**".into()));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for RegistryPrefix {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        grammar::registry(host).map_err(InvalidRule)?;
        if !path.is_empty() {
            grammar::path(path).map_err(InvalidRule)?;
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for RegistryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy {
    /// The reference as this service runs it.
    ///
    /// # Errors
    /// `NotAllowed`, naming the rule; nothing was asked of anybody.
    pub fn allow(&self, reference: &Reference) -> Result<Reference, ImageError> {
        let reference = match &self.custom_registry {
            Some(prefix) if reference.is_unqualified() && !reference.is_host() => {
                let moved = format!("{prefix}/{reference}").parse::<Reference>();
                moved.map_err(|e| ImageError::not_allowed(reference, e))?
            }
            _ => reference.clone(),
        };
        if let Some(trusted) = &self.trusted_registries
            && !trusted.iter().any(|pattern| pattern.0 == reference.registry())
        {
            return Err(ImageError::not_allowed(&reference, "TRUSTED_REGISTRIES names others"));
        }
        Ok(reference)
    }
}
