//! The life of one script: permit, container, run, outcome.

pub mod admission;
mod job;
pub mod language;
pub mod limits;
pub mod outcome;
pub mod output;
pub mod quantity;
pub mod request;
#[cfg(test)]
pub(crate) mod testing;
mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::engine::ImageError;
use crate::engine::{Container, ContainerSpec, Engine, EngineError};
use crate::registry::{Image, Reference, quoted};
use crate::telemetry::metrics::{Metrics, Phase};
use admission::{Admission, AdmissionOptions, Caller};
use limits::{Ceilings, Limits};
use outcome::{Outcome, Timings};
use output::Output;
use request::Execution;

/// Runs executions on one engine.
pub struct Executor {
    engine: Arc<dyn Engine>,
    base_image: Reference,
    ceilings: Ceilings,
    admission: Admission,
    metrics: Arc<Metrics>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The caller must change something.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No permit now; worth another try after that long.
    #[error("too busy; retry after {retry_after:?}")]
    Busy { code: &'static str, retry_after: Duration },
    /// Cancelled before the script ran; afterwards it is an outcome, with what came until then.
    #[error("cancelled before the script ran")]
    Cancelled,
    #[error(transparent)]
    Image(ImageError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<ImageError> for Failure {
    /// An engine that fails is the same failure whatever it was asked for.
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Engine(error) => Self::Engine(error),
            other => Self::Image(other),
        }
    }
}

/// A request that can't be run as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    /// A stable word for programs.
    pub code: &'static str,
    /// The field's name in the API.
    pub field: &'static str,
    /// A sentence for people: the value, the rule, the way out.
    pub detail: String,
}

impl Executor {
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        base_image: Reference,
        ceilings: Ceilings,
        admission: AdmissionOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { engine, base_image, ceilings, admission: Admission::new(admission), metrics }
    }

    /// The engine it runs on.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What it counts and measures, as of now.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.metrics.queue_length(i64::try_from(self.admission.waiting()).unwrap_or(i64::MAX));
        &self.metrics
    }

    /// Refuses new executions from now on, and those that wait; the running ones go on.
    pub fn close(&self) {
        self.admission.close();
    }

    /// Runs one script in a container of its own, when it is its caller's turn. Dropping the future
    /// kills the container.
    ///
    /// # Errors
    /// [`Failure`] when the script did not run; however it ends once it ran, that is an outcome.
    pub async fn run(
        &self,
        execution: Execution,
        caller: &Caller,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        execution.check()?;
        let limits = self.ceilings.hold(&execution.limits)?;
        limits.hold_payload(&execution)?;

        let arrived = Instant::now();
        let permit = unless(cancel, self.admission.enter(caller)).await??;
        let admitted = Instant::now();
        self.metrics.phase(Phase::Queued, admitted - arrived);
        let reference = execution.image.as_ref().unwrap_or(&self.base_image);
        let (image, container) = unless(cancel, self.prepare(reference, &limits)).await??;
        let job = job::compose(&execution, &image, &limits)?;
        let prepared = Instant::now();
        self.metrics.phase(Phase::Prepared, prepared - admitted);
        let mut output = Output::new(limits.output);
        let running = self.metrics.run();
        let end = match container.run(&job, cancel, &mut output).await {
            Ok(end) => end,
            Err(error) => {
                running.failed();
                return Err(refused_file(error, &execution));
            }
        };
        // What is left of the container is its hold's to remove; the next script need not wait.
        drop(permit);

        let timings = Timings {
            queued: admitted - arrived,
            prepared: prepared - admitted,
            ran: prepared.elapsed(),
        };
        self.metrics.phase(Phase::Ran, timings.ran);
        let outcome = Outcome::conclude(execution.id, &image, &limits, end, output, timings);
        running.ended(outcome.status);
        Ok(outcome)
    }

    async fn prepare(
        &self,
        reference: &Reference,
        limits: &Limits,
    ) -> Result<(Image, Container), Failure> {
        let image = self.engine.image(reference).await?;
        let spec = ContainerSpec {
            image,
            memory: limits.memory,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            tmp: limits.tmp,
        };
        let container = self.engine.make(&spec).await?;
        Ok((spec.image, container))
    }
}

/// Gives up on a step before the script runs as soon as nobody wants the answer.
async fn unless<T>(
    cancel: &CancellationToken,
    step: impl Future<Output = T>,
) -> Result<T, Failure> {
    cancel.run_until_cancelled(step).await.ok_or(Failure::Cancelled)
}

/// A file that does not fit is the caller's to change; everything else is ours.
fn refused_file(error: EngineError, execution: &Execution) -> Failure {
    match error {
        EngineError::FileRefused { path, reason } => {
            let how = language::how_to_run(&execution.script, execution.language, &[]);
            let field = if path == how.entry { "script" } else { "files" };
            let detail = format!("{} could not be written: {reason}", quoted(&path));
            Rejection { code: "files_refused", field, detail }.into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
