//! From a reference to an image, under the operator's policy. What is here is found without asking
//! anybody; what is not is pulled once for all who want it. No image ever stands in for another.

mod attempts;
mod backoff;
mod breaker;
mod failures;
mod pulls;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::policy::{Policy, PullPolicy};
use super::{Image, ImageError, ImageErrorKind, Images, PullState, Reference};
use crate::telemetry::metrics::{Metrics, Resolved};
use breaker::Breakers;
use pulls::{Pulls, Want};

/// An engine that is away is given so long to come back, before anybody is told.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// How hard a pull tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullOptions {
    /// For everything: all attempts and the pauses between them.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), retries: 3 }
    }
}

/// Whose choice an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// It is held against the operator's policy.
    Request,
    /// His own images need none of his leave.
    Operator,
}

/// A pull that others may take part in. It goes on for as long as one of them keeps its outcome.
#[must_use]
pub struct Pull {
    pub progress: watch::Receiver<PullState>,
    /// Ends within [`PullOptions::timeout`].
    pub outcome: BoxFuture<'static, Result<Image, ImageError>>,
}

impl fmt::Debug for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

/// The images of one engine, as the operator's policy lets them be used.
pub struct Registry {
    images: Arc<dyn Images>,
    policy: Policy,
    metrics: Arc<Metrics>,
    pulls: Arc<Pulls>,
    /// The operator's images that were asked for, and why they were not here the last time; as many
    /// as he names.
    operators: Mutex<HashMap<Reference, Option<String>>>,
}

impl Registry {
    /// Must be called within a tokio runtime, on which the pulling is done.
    #[must_use]
    pub fn new(
        images: Arc<dyn Images>,
        policy: Policy,
        options: PullOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        let default = std::iter::once(super::grammar::DEFAULT_REGISTRY);
        let breakers =
            Breakers::new(default.chain(policy.known_registries()), Arc::clone(&metrics));
        let pulls = Pulls::new(Arc::clone(&images), breakers, options, Arc::clone(&metrics));
        Self { images, policy, metrics, pulls, operators: Mutex::default() }
    }

    /// The reference as it is run.
    ///
    /// # Errors
    /// `NotAllowed`, naming the rule of the operator's that forbids it.
    pub fn allow(&self, reference: &Reference, by: ChosenBy) -> Result<Reference, ImageError> {
        match by {
            ChosenBy::Request => self.policy.allow(reference),
            ChosenBy::Operator => Ok(reference.clone()),
        }
    }

    /// The image that a request names, itself or by a runtime, where no registry has to be asked for
    /// it; `None` where one has to be, which may take minutes. `asked` is the request's own pull
    /// policy.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn here(
        &self,
        reference: &Reference,
        by: ChosenBy,
        asked: Option<PullPolicy>,
    ) -> Result<Option<Image>, ImageError> {
        let run = self.allow(reference, by)?;
        let policy = self.policy.pull_for(reference, asked)?;
        Ok(self.look(&run, policy).await?.ok())
    }

    /// As [`Registry::here`], and one that is not here is pulled.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn requested(
        &self,
        reference: &Reference,
        by: ChosenBy,
        asked: Option<PullPolicy>,
    ) -> Result<Image, ImageError> {
        let run = self.allow(reference, by)?;
        let policy = self.policy.pull_for(reference, asked)?;
        self.resolve(&run, policy, |_| ()).await
    }

    /// As [`Registry::here`], for an image that the operator names.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn named_here(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        Ok(self.look(reference, self.policy.pull).await?.ok())
    }

    /// The image that the operator names: his policy says only when a registry is asked, and the
    /// name is taken as it is.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn named(&self, reference: &Reference) -> Result<Image, ImageError> {
        let pulling = |want| {
            let why = || Some("it is being pulled".to_owned());
            match (self.operators().entry(reference.clone()), want) {
                (Entry::Vacant(new), _) => drop(new.insert(why())),
                (Entry::Occupied(mut known), Want::Missing(_)) => drop(known.insert(why())),
                // An image that is here and only may have changed is not missing.
                (Entry::Occupied(_), _) => {}
            }
        };
        let result = self.resolve(reference, self.policy.pull, pulling).await;
        let why = result.as_ref().err().map(ToString::to_string);
        let mut operators = self.operators();
        if operators.get(reference) != Some(&why) {
            operators.insert(reference.clone(), why);
        }
        result
    }

    async fn resolve(
        &self,
        reference: &Reference,
        policy: PullPolicy,
        pulling: impl Fn(Want),
    ) -> Result<Image, ImageError> {
        loop {
            let want = match self.look(reference, policy).await? {
                Ok(image) => return Ok(image),
                Err(want) => want,
            };
            pulling(want);
            // Where another pull has succeeded meanwhile, it may have been of this one.
            let Some(pull) = self.pulls.join(reference, want) else { continue };
            let image = pull.outcome.await?;
            self.metrics.images().resolved(Resolved::Registry);
            return Ok(image);
        }
    }

    /// The image that is here and may be run as it is, or what is wanted of its registry.
    async fn look(
        &self,
        reference: &Reference,
        policy: PullPolicy,
    ) -> Result<Result<Image, Want>, ImageError> {
        // What a digest names can't change, and this machine's own is nobody else's.
        let moves = reference.digest().is_none() && !reference.is_host();
        if moves && policy == PullPolicy::Always {
            return Ok(Err(Want::Fresh));
        }
        let succeeded = self.pulls.succeeded();
        match self.find(reference).await {
            Ok(image) => {
                self.metrics.images().resolved(Resolved::Here);
                Ok(Ok(image))
            }
            Err(error) if error.kind != ImageErrorKind::NotFound || reference.is_host() => {
                Err(error)
            }
            Err(error) if policy == PullPolicy::Never => {
                let detail =
                    format!("{}: it is not here, and the pull policy is never", error.detail);
                Err(ImageError { detail, ..error })
            }
            Err(_) => Ok(Err(Want::Missing(succeeded))),
        }
    }

    /// The image that is here. An engine that is away is given a few seconds to come back.
    async fn find(&self, reference: &Reference) -> Result<Image, ImageError> {
        let began = Instant::now();
        loop {
            match self.images.find(reference).await {
                Err(error)
                    if error.kind == ImageErrorKind::EngineAway && began.elapsed() < PATIENCE =>
                {
                    sleep(PAUSE).await;
                }
                found => return found,
            }
        }
    }

    /// Makes the image that a request names here what its registry has now, however lately that
    /// failed.
    pub fn pull(&self, reference: &Reference) -> Pull {
        let run = match self.policy.pull {
            PullPolicy::Never => Err(ImageError::not_allowed(reference, "PULL_POLICY is never")),
            PullPolicy::Always | PullPolicy::IfNotPresent => self.policy.allow(reference),
        };
        run.map_or_else(|refused| Pull::over(Err(refused)), |run| self.pull_named(&run))
    }

    /// As [`Registry::pull`], for an image that the operator names: no policy is asked.
    pub fn pull_named(&self, reference: &Reference) -> Pull {
        if reference.is_host() {
            let reason = "it is this machine's own, and no registry has it";
            return Pull::over(Err(ImageError::unsupported(reference, reason)));
        }
        self.pulls.start(reference)
    }

    /// It is no more the operator's to name, and nobody need be told that it is missing.
    pub fn forget(&self, reference: &Reference) {
        self.operators().remove(reference);
    }

    /// The images that the operator names and that were not here when they were last asked for,
    /// each with a reason that is fit for callers.
    #[must_use]
    pub fn missing(&self) -> Vec<(Reference, String)> {
        let missing =
            |(name, why): (&Reference, &Option<String>)| Some((name.clone(), why.clone()?));
        self.operators().iter().filter_map(missing).collect()
    }

    fn operators(&self) -> MutexGuard<'_, HashMap<Reference, Option<String>>> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner)
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
