//! From a valid request to the right to run it and the image to run it in.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::admission::{BusyCode, Caller, Lane, Permit};
use super::observer::Observer;
use super::request::Execution;
use super::{Executor, Failure, unless};
use crate::registry::{ChosenBy, Image, ImageError, Reference};
use crate::telemetry::metrics::Phase;

/// When somebody who finds too many pulls going on may come back.
const RETRY: Duration = Duration::from_secs(1);

/// An execution whose turn it is.
pub(super) struct Arrived {
    pub(super) permit: Permit,
    pub(super) image: Image,
    /// How long it has waited for its turn.
    pub(super) queued: Duration,
}

impl Executor {
    /// Waits for a turn, and finds the image. Where a registry has to be asked for that, which may
    /// take minutes, others take their turns meanwhile.
    pub(super) async fn arrive(
        &self,
        execution: &Execution,
        caller: &Caller,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Arrived, Failure> {
        let (permit, queued) = self.enter(caller, observer, cancel).await?;
        if let Some(image) = unless(cancel, self.image_here(execution)).await?? {
            return Ok(Arrived { permit, image, queued });
        }
        drop(permit);
        let place = match caller.lane {
            Lane::Interactive => self.pulling.try_acquire().ok(),
            Lane::Background => unless(cancel, self.pulling.acquire()).await?.ok(),
        };
        let busy = || Failure::Busy { code: BusyCode::QueueFull, retry_after: RETRY };
        let place = place.ok_or_else(busy)?;
        let image = unless(cancel, self.image(execution)).await??;
        drop(place);
        let (permit, again) = self.enter(caller, observer, cancel).await?;
        Ok(Arrived { permit, image, queued: queued + again })
    }

    async fn enter(
        &self,
        caller: &Caller,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<(Permit, Duration), Failure> {
        let asked = Instant::now();
        let permit =
            unless(cancel, self.admission.enter(caller, |place| observer.waits(place))).await??;
        let queued = asked.elapsed();
        self.metrics.phase(Phase::Queued, queued);
        Ok((permit, queued))
    }

    /// The image that the request names, under the operator's policy, or else the operator's own;
    /// `None` where a registry has to be asked.
    async fn image_here(&self, execution: &Execution) -> Result<Option<Image>, ImageError> {
        match self.wanted(execution) {
            (reference, Some(by)) => {
                self.registry().here(reference, by, execution.pull_policy).await
            }
            (base, None) => self.registry().named_here(base).await,
        }
    }

    /// The same, pulled where it has to be.
    async fn image(&self, execution: &Execution) -> Result<Image, ImageError> {
        match self.wanted(execution) {
            (reference, Some(by)) => {
                self.registry().requested(reference, by, execution.pull_policy).await
            }
            (base, None) => self.registry().named(base).await,
        }
    }

    /// The image to run it in, and whose choice that is; `None` where the request says nothing of
    /// images at all.
    fn wanted<'a>(&'a self, execution: &'a Execution) -> (&'a Reference, Option<ChosenBy>) {
        match &execution.image {
            Some(image) => (image, Some(chosen_by(execution))),
            None => (&self.base_image, execution.pull_policy.map(|_| ChosenBy::Operator)),
        }
    }
}

/// Whose choice the image of an execution is.
fn chosen_by(execution: &Execution) -> ChosenBy {
    execution.runtime.as_ref().map_or(ChosenBy::Request, |runtime| runtime.chosen_by)
}
