//! Which images may be run, and when a registry is asked.

use super::{ImageError, Reference};

/// What the operator says about images that requests name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// When a registry is asked; a request can only be stricter.
    pub pull: PullPolicy,
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

impl Policy {
    /// The reference as this service runs it.
    ///
    /// # Errors
    /// `NotAllowed`, naming the rule; nothing was asked of anybody.
    pub fn allow(&self, reference: &Reference) -> Result<Reference, ImageError> {
        Ok(reference.clone())
    }
}
