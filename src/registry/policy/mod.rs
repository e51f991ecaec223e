//! Which images may be run, and when a registry is asked: decided before anybody is asked anything.

mod patterns;
mod pull;
#[cfg(test)]
mod tests;

pub use patterns::{ImagePattern, RegistryPattern};
pub use pull::{PullPolicy, RequirePinned};

use super::{ImageError, Reference, RegistryPrefix};
use crate::internet::is_private;

/// What the operator says about images that requests name. His own images need none of his leave,
/// and are never held against this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `None` is any on the internet.
    pub trusted_registries: Option<Vec<RegistryPattern>>,
    /// `None` is any.
    pub allowed_images: Option<Vec<ImagePattern>>,
    pub require_pinned: RequirePinned,
    /// When a registry is asked; a request can only be stricter.
    pub pull: PullPolicy,
    /// Stands in front of names without a registry.
    pub custom_registry: Option<RegistryPrefix>,
    /// Registries (`host[:port]`) that are asked without TLS.
    pub plain_http: Vec<String>,
    /// The images that the operator names. Their registries may be private, for requests as well;
    /// beyond that a request gains nothing by naming one of them.
    pub named: Vec<Reference>,
}

/// A value that is no rule of a policy, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(pub String);

impl Policy {
    /// The reference as this service runs it: the operator's own registry stands in where a request
    /// names none.
    ///
    /// # Errors
    /// `NotAllowed`, naming the rule; nothing was asked of anybody.
    pub fn allow(&self, reference: &Reference) -> Result<Reference, ImageError> {
        let refused = |rule: &str| Err(ImageError::not_allowed(reference, rule));
        let stands_in = self.custom_registry.as_ref().filter(|_| reference.is_unqualified());
        let run = match stands_in {
            Some(prefix) => match reference.with_registry(prefix) {
                Ok(run) => run,
                Err(why) => return refused(&format!("CUSTOM_IMAGE_REGISTRY makes it {why}")),
            },
            None => reference.clone(),
        };
        // A pattern without a registry means what a request means that names none.
        let short = (self.custom_registry.is_none() || stands_in.is_some()).then_some(reference);
        let fits = |pattern: &ImagePattern| match pattern.is_unqualified() {
            true => short.is_some_and(|short| pattern.matches(short)),
            false => pattern.matches(&run),
        };
        if self.allowed_images.as_ref().is_some_and(|allowed| !allowed.iter().any(fits)) {
            return refused("ALLOWED_IMAGES has no pattern for it");
        }
        if run.is_host() {
            return Ok(run);
        }
        let registry = run.registry();
        let trusts = |trusted: &Vec<RegistryPattern>| trusted.iter().any(|t| t.matches(registry));
        // The operator trusts the registry that he has put there himself.
        if stands_in.is_none() && !self.trusted_registries.as_ref().is_none_or(trusts) {
            return refused(&format!("its registry {registry} is not among TRUSTED_REGISTRIES"));
        }
        if is_private(registry) && !self.is_known(registry) {
            return refused(&format!(
                "its registry {registry} is not on the internet, and TRUSTED_REGISTRIES does not \
                 name it in full"
            ));
        }
        match self.require_pinned.broken_by(&run) {
            Some(rule) => refused(rule),
            None => Ok(run),
        }
    }

    /// The registries that the operator names, one by one, anywhere: these may be at private
    /// addresses. Some may be there twice.
    pub fn known_registries(&self) -> impl Iterator<Item = &str> {
        let trusted = self.trusted_registries.iter().flatten().filter_map(|t| t.registry());
        let custom = self.custom_registry.iter().map(RegistryPrefix::registry);
        let named = self.named.iter().map(Reference::registry).filter(|name| !name.is_empty());
        trusted.chain(custom).chain(named).chain(self.plain_http.iter().map(String::as_str))
    }

    fn is_known(&self, registry: &str) -> bool {
        self.known_registries().any(|known| known.eq_ignore_ascii_case(registry))
    }
}
