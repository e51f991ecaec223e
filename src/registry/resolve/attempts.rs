//! One pull: as many attempts as make sense, with pauses between them, all within one time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::backoff;
use super::breaker::{Held, Trial, Verdict};
use super::pulls::Pulls;
use crate::registry::{Image, ImageError, ImageErrorKind, Progress, PullState, Reference};
use crate::telemetry::clean;
use crate::telemetry::metrics::{Pulling, Spared};

impl Pulls {
    /// Pulls an image.
    ///
    /// # Errors
    /// That of the last attempt, with how many there were; `Timeout` when the time is up.
    pub(super) async fn pull(
        &self,
        reference: &Reference,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let deadline = Instant::now() + self.options.timeout;
        let trial = self.admitted(reference, deadline).await?;
        let pulling = self.metrics.images().pull();
        let result = self.attempts(reference, progress, deadline, trial, &pulling).await;
        pulling.ended(result.as_ref().err().map(|error| error.kind));
        result
    }

    /// Waits where a registry wants a pause that there is time for.
    async fn admitted<'a>(
        &'a self,
        reference: &'a Reference,
        deadline: Instant,
    ) -> Result<Trial<'a>, ImageError> {
        let registry = reference.registry();
        loop {
            let held = match self.breakers.admit(registry) {
                Ok(trial) => return Ok(trial),
                Err(held) => held,
            };
            // Those who waited together do not come back together.
            let pause = held.rest + backoff::pause(1);
            if held.open || Instant::now() + pause >= deadline {
                self.metrics.images().spared(Spared::RegistryHeld);
                return Err(unavailable(reference, held));
            }
            sleep(pause).await;
        }
    }

    async fn attempts(
        &self,
        reference: &Reference,
        progress: &Progress,
        deadline: Instant,
        mut trial: Trial<'_>,
        pulling: &Pulling<'_>,
    ) -> Result<Image, ImageError> {
        let state = progress.watch();
        let mut last = None;
        for attempt in 1.. {
            progress.update(|state| *state = PullState { attempt, layers: Vec::new() });
            pulling.attempt();
            let ended = timeout_at(deadline, self.images.pull(reference, progress)).await;
            let result = ended.unwrap_or_else(|_| Err(self.out_of_time(reference, last.take())));
            let failed = result.as_ref().err();
            trial.report(Verdict::of(failed, !state.borrow().layers.is_empty()));
            let mut error = match result {
                Ok(image) => return Ok(image),
                Err(error) => ImageError { attempts: attempt, ..error },
            };
            if !error.passing || attempt > self.options.retries {
                return Err(error);
            }
            let pause = backoff::pause(attempt).max(error.retry_after.unwrap_or_default());
            if Instant::now() + pause >= deadline {
                error.cause = format!("{}; no time is left for another attempt", error.cause);
                return Err(error);
            }
            tracing::debug!(
                %reference, attempt, ?pause, error = error.detail, cause = clean(&error.cause),
                "an attempt to pull has failed; another follows"
            );
            last = Some(error.cause);
            sleep(pause).await;
        }
        // There are fewer attempts than numbers for them.
        Err(self.out_of_time(reference, last))
    }

    fn out_of_time(&self, reference: &Reference, last: Option<String>) -> ImageError {
        let seconds = self.options.timeout.as_secs_f64();
        let detail = format!("image {reference} could not be pulled within {seconds} s");
        let cause = last.map(|cause| format!("before that: {cause}")).unwrap_or_default();
        let error = ImageError::new(ImageErrorKind::Timeout, detail, cause);
        ImageError { passing: false, ..error }
    }
}

fn unavailable(reference: &Reference, held: Held) -> ImageError {
    let registry = reference.registry();
    let detail = match held.open {
        true => format!(
            "image {reference} can't be pulled now: its registry {registry} failed several times \
             in a row; try again later"
        ),
        false => format!(
            "image {reference} can't be pulled now: its registry {registry} wants to be left \
             alone for a while; try again later"
        ),
    };
    let error = ImageError::new(ImageErrorKind::Unavailable, detail, "it was not asked");
    ImageError { retry_after: Some(held.rest.max(Duration::from_secs(1))), ..error }
}
