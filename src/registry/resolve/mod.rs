//! From a reference to an image, under the operator's policy.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::policy::{Policy, PullPolicy};
use super::progress::PullState;
use super::{Image, ImageError, ImageErrorKind, Images, Progress, Reference};
use crate::telemetry::metrics::Metrics;

/// How a pull goes about failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullOptions {
    /// For all attempts together.
    pub timeout: Duration,
    /// How often a failed attempt is followed by another.
    pub retries: u32,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), retries: 3 }
    }
}

/// The images of one engine, as the operator's policy lets them be used.
pub struct Registry {
    images: Arc<dyn Images>,
    policy: Policy,
    _options: PullOptions,
    _metrics: Arc<Metrics>,
}

/// A pull that goes on for as long as somebody wants it: dropping this gives up one's interest.
pub struct Pull {
    pub progress: watch::Receiver<PullState>,
    pub outcome: BoxFuture<'static, Result<Image, ImageError>>,
}

impl Registry {
    #[must_use]
    pub fn new(
        images: Arc<dyn Images>,
        policy: Policy,
        options: PullOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { images, policy, _options: options, _metrics: metrics }
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
        match self.images.find(reference).await {
            Err(error) if error.kind == ImageErrorKind::NotFound => {
                self.images.pull(reference, &Progress::default()).await
            }
            found => found,
        }
    }

    /// Pulls what a request names, whether it is here or not.
    #[must_use]
    pub fn pull(&self, reference: &Reference) -> Pull {
        match self.policy.allow(reference) {
            Ok(reference) => self.pull_named(&reference),
            Err(refused) => Pull {
                progress: Progress::default().watch(),
                outcome: std::future::ready(Err(refused)).boxed(),
            },
        }
    }

    /// As [`Registry::pull`], for an image that the operator names: no policy is asked.
    #[must_use]
    pub fn pull_named(&self, reference: &Reference) -> Pull {
        let (progress, images) = (Progress::default(), Arc::clone(&self.images));
        let (watched, reference) = (progress.watch(), reference.clone());
        let outcome = async move { images.pull(&reference, &progress).await }.boxed();
        Pull { progress: watched, outcome }
    }

    /// What the operator names and is not here, and why.
    #[must_use]
    pub fn missing(&self) -> Vec<(Reference, String)> {
        Vec::new()
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
