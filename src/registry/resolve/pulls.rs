//! Pulls under way: one for each reference, for any number of those who want the image. It ends
//! when it has ended, or when nobody wants it any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared, ready};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::breaker::Breakers;
use super::failures::Failures;
use super::{Pull, PullOptions};
use crate::registry::{Image, ImageError, ImageErrorKind, Images, Progress, PullState, Reference};
use crate::telemetry::clean;
use crate::telemetry::metrics::{Metrics, Spared};

type Outcome = BoxFuture<'static, Result<Image, ImageError>>;

/// Why somebody wants a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The image was not here when this many pulls had succeeded.
    Missing(u64),
    /// It may have changed.
    Fresh,
}

/// All pulls of one engine.
pub(super) struct Pulls {
    pub(super) images: Arc<dyn Images>,
    pub(super) breakers: Breakers,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: PullOptions,
    /// How many have succeeded; changed only by who has the desk.
    succeeded: AtomicU64,
    /// Where pulls live, whichever thread asks for them.
    runtime: Handle,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    under_way: HashMap<Reference, UnderWay>,
    failures: Failures,
    /// Tells two pulls of one reference apart.
    begun: u64,
}

struct UnderWay {
    number: u64,
    /// Gone when nobody waits for it.
    outcome: WeakShared<Outcome>,
    progress: watch::Receiver<PullState>,
}

impl Pulls {
    /// Must be called within a tokio runtime, on which the pulling is done.
    pub(super) fn new(
        images: Arc<dyn Images>,
        breakers: Breakers,
        options: PullOptions,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (runtime, desk) = (Handle::current(), Mutex::default());
        let succeeded = AtomicU64::new(0);
        Arc::new(Self { images, breakers, metrics, options, succeeded, runtime, desk })
    }

    /// How many pulls have succeeded so far.
    pub(super) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Acquire)
    }

    /// Takes part in the pull that is under way, or begins one, unless that failed a moment ago.
    /// `None` where the image may be here by now.
    pub(super) fn join(self: &Arc<Self>, reference: &Reference, want: Want) -> Option<Pull> {
        let mut desk = self.desk();
        if let Some(pull) = desk.under_way(reference) {
            return Some(pull);
        }
        if let Want::Missing(succeeded) = want
            && succeeded != self.succeeded()
        {
            return None;
        }
        if let Some(error) = desk.failures.get(reference) {
            self.metrics.images().spared(Spared::JustFailed);
            return Some(Pull::over(Err(error)));
        }
        Some(self.begin(&mut desk, reference))
    }

    /// Takes part in the pull that is under way, or begins one, whatever happened before.
    pub(super) fn start(self: &Arc<Self>, reference: &Reference) -> Pull {
        let mut desk = self.desk();
        desk.under_way(reference).unwrap_or_else(|| self.begin(&mut desk, reference))
    }

    fn begin(self: &Arc<Self>, desk: &mut Desk, reference: &Reference) -> Pull {
        desk.failures.forget(reference);
        // Those that were given up leave nothing but their names.
        desk.under_way.retain(|_, other| other.outcome.upgrade().is_some());
        desk.begun += 1;
        let number = desk.begun;
        let (progress, outcome) = self.spawn(reference.clone(), number);
        if let Some(weak) = outcome.downgrade() {
            let under_way = UnderWay { number, outcome: weak, progress: progress.clone() };
            desk.under_way.insert(reference.clone(), under_way);
        }
        Pull { progress, outcome: outcome.boxed() }
    }

    /// Pulls in a task of its own, which ends with the last that wait for its outcome.
    fn spawn(
        self: &Arc<Self>,
        reference: Reference,
        number: u64,
    ) -> (watch::Receiver<PullState>, Shared<Outcome>) {
        let progress = Progress::default();
        let watched = progress.watch();
        let pulls = Arc::clone(self);
        let name = reference.clone();
        let work = async move {
            let result = pulls.pull(&reference, &progress).await;
            pulls.ended(&reference, number, &result);
            result
        };
        let task = AbortOnDropHandle::new(self.runtime.spawn(work));
        let outcome = async move {
            task.await.unwrap_or_else(|e| {
                let detail = format!("pulling image {name} ended unexpectedly; try again");
                Err(ImageError::new(ImageErrorKind::EngineFailed, detail, e.to_string()))
            })
        };
        (watched, outcome.boxed().shared())
    }

    fn ended(&self, reference: &Reference, number: u64, result: &Result<Image, ImageError>) {
        match result {
            Ok(image) => tracing::debug!(%reference, digest = image.digest, "pulled"),
            Err(error) => tracing::warn!(%error, cause = clean(&error.cause), "nothing was pulled"),
        }
        let mut desk = self.desk();
        match result {
            Ok(_) => {
                self.succeeded.fetch_add(1, Ordering::AcqRel);
                desk.failures.forget(reference);
            }
            Err(error) => desk.failures.put(reference, error, &*self.images),
        }
        if desk.under_way.get(reference).is_some_and(|current| current.number == number) {
            desk.under_way.remove(reference);
        }
    }

    /// Nothing is pulled, and nothing of earlier pulls is kept.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.desk().under_way.is_empty()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn under_way(&self, reference: &Reference) -> Option<Pull> {
        let UnderWay { outcome, progress, .. } = self.under_way.get(reference)?;
        Some(Pull { progress: progress.clone(), outcome: outcome.upgrade()?.boxed() })
    }
}

impl Pull {
    /// One that has ended before it began.
    pub(super) fn over(result: Result<Image, ImageError>) -> Self {
        let (_, progress) = watch::channel(PullState::default());
        Self { progress, outcome: ready(result).boxed() }
    }
}
