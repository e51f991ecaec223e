//! From a reference to an image, under the operator's policy.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::policy::{Policy, PullPolicy};
use super::{Image, ImageError, Images, Reference};

/// The images of one engine, as the operator's policy lets them be used.
pub struct Registry {
    images: Arc<dyn Images>,
    policy: Policy,
}

impl Registry {
    #[must_use]
    pub fn new(images: Arc<dyn Images>, policy: Policy) -> Self {
        Self { images, policy }
    }

    /// The image that a request names; normally no registry is asked.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn requested(
        &self,
        reference: &Reference,
        asked: Option<PullPolicy>,
    ) -> Result<Image, ImageError> {
        let _ = asked;
        self.named(&self.policy.allow(reference)?).await
    }

    /// The image that the operator names.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn named(&self, reference: &Reference) -> Result<Image, ImageError> {
        self.images.find(reference).await
    }

    /// Resolves when a reference may lead to another image than before this call.
    #[must_use]
    pub fn changed(&self) -> BoxFuture<'static, ()> {
        self.images.changed()
    }

    /// What the engine has.
    #[must_use]
    pub fn images(&self) -> &Arc<dyn Images> {
        &self.images
    }
}
