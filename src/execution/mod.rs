//! The life of one script: permit, container, run, outcome.

pub mod admission;
mod ahead;
mod arrival;
pub mod background;
pub mod forward;
mod job;
pub mod language;
pub mod limits;
pub mod live;
pub mod observer;
pub mod outcome;
pub mod output;
pub mod quantity;
pub mod request;
pub mod runtime;
pub mod store;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
mod text;
pub mod transcript;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::engine::{Engine, EngineError, Job, RunEnd, RunError};
use crate::pool::{Floor, Need, Pool, Recipe, Taken};
use crate::registry::{Image, ImageError, ImageErrorKind, Reference, Registry, quoted};
use crate::telemetry::metrics::{Metrics, Phase, Running};
use admission::{Admission, AdmissionOptions, BusyCode, Caller};
use arrival::Arrived;
use forward::Forward;
use language::{FALLBACK, Language};
use limits::{Ceilings, Limits};
use observer::Observer;
use outcome::{Outcome, Timings};
use output::Output;
use request::Execution;
use runtime::{Catalogue, Runtime};

/// For a container, with all that has to be tried for it: an engine that takes longer does not work.
const CONTAINER: Duration = Duration::from_secs(30);
/// In how many containers a job is tried at the most, as long as nothing of its script was heard.
const TRIES: u32 = 3;

/// Runs executions in containers of one pool.
pub struct Executor {
    pool: Arc<Pool>,
    base_image: Reference,
    ceilings: Ceilings,
    admission: Admission,
    /// Places for requests whose image is being pulled.
    pulling: Semaphore,
    catalogue: Catalogue,
    metrics: Arc<Metrics>,
    forward: Arc<Forward>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The caller must change something.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No permit now; worth another try after that long.
    #[error("too busy; retry after {retry_after:?}")]
    Busy { code: BusyCode, retry_after: Duration },
    /// Cancelled before the script ran; afterwards it is an outcome, with what came until then.
    #[error("cancelled before the script ran")]
    Cancelled,
    /// The service ended before the execution did.
    #[error("the service ended first")]
    Interrupted,
    /// It ran, and there is no room to keep its outcome.
    #[error("no room for the outcome")]
    NoRoom,
    #[error(transparent)]
    Image(ImageError),
    #[error(transparent)]
    Engine(EngineError),
    /// A mistake of ours; the text is for the log.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unfit(image) => Self::Image(image),
            error => Self::Engine(error),
        }
    }
}

impl From<ImageError> for Failure {
    /// An engine that fails is the same failure whatever it was asked for.
    fn from(error: ImageError) -> Self {
        match error.kind {
            ImageErrorKind::EngineAway
            | ImageErrorKind::EngineSlow
            | ImageErrorKind::EngineFailed => Self::Engine(error.into()),
            _ => Self::Image(error),
        }
    }
}

/// A request that can't be run as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    pub code: RejectionCode,
    /// The field's name in the API.
    pub field: &'static str,
    /// A sentence for people: the value, the rule, the way out.
    pub detail: String,
}

/// Why a request can't be run as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCode {
    /// A field breaks its rule.
    InvalidRequest,
    /// Two files need the same name.
    InvalidPath,
    /// More is asked for than the operator or the key allows.
    LimitExceeded,
    /// What the request brings along does not fit into its own limits.
    PayloadTooLarge,
    /// A file could not be written into the container.
    FilesRefused,
    /// No runtime has this name.
    UnknownRuntime,
    /// No template has this name.
    UnknownResources,
}

impl Executor {
    #[must_use]
    pub fn new(
        pool: Arc<Pool>,
        base_image: Reference,
        ceilings: Ceilings,
        admission: AdmissionOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        let pulling = Semaphore::new(admission.max_concurrent + admission.queue_limit);
        let admission = Admission::new(admission);
        let (catalogue, forward) = (Catalogue::default(), Arc::default());
        Self { pool, base_image, ceilings, admission, pulling, catalogue, metrics, forward }
    }

    /// The same with variables of the service's own for its scripts.
    #[must_use]
    pub fn forwarding(self, forward: Forward) -> Self {
        Self { forward: Arc::new(forward), ..self }
    }

    /// What its scripts get of the service's own environment.
    #[must_use]
    pub fn forward(&self) -> &Forward {
        &self.forward
    }

    /// The image of a request that names none.
    #[must_use]
    pub fn base_image(&self) -> &Reference {
        &self.base_image
    }

    /// Where its containers come from.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What requests can call by a name.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The operator's defaults, and the most that he allows.
    #[must_use]
    pub fn ceilings(&self) -> &Ceilings {
        &self.ceilings
    }

    /// Keeps containers of these images waiting from now on, for scripts that name no language.
    pub fn keep(&self, floors: impl IntoIterator<Item = Floor>) {
        let usual = self.ceilings.default;
        for floor in floors {
            let recipe = self.floor_recipe(Some(FALLBACK), usual);
            self.pool.keep(floor, recipe).disarm();
        }
    }

    /// Keeps as many containers waiting for a runtime as it says, in the image that it leads to,
    /// until the guard is dropped.
    pub fn keep_for(&self, runtime: &Runtime, image: Reference) -> DropGuard {
        let usual = self.ceilings.with_default(&runtime.limits).default;
        // What is started without the runtime's variables would not fit.
        let language = runtime.env.is_empty().then(|| runtime.language.unwrap_or(FALLBACK));
        let floor = Floor { image, count: runtime.pool };
        self.pool.keep(floor, self.floor_recipe(language, usual))
    }

    /// What waits of an image: no interpreter where scripts get variables that it would not have.
    fn floor_recipe(
        &self,
        language: Option<Language>,
        usual: Limits,
    ) -> impl Fn(Image) -> Recipe + use<> {
        let forward = Arc::clone(&self.forward);
        move |image| {
            let forwards = !forward.to(&image.reference).is_empty();
            ahead::floor_recipe(image, language, &usual, forwards)
        }
    }

    /// Where its images come from.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        self.pool.registry()
    }

    /// The engine it runs on.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        self.pool.engine()
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

    /// Holds a request against the rules and the ceilings, without running it.
    ///
    /// # Errors
    /// [`Rejection`] with the field that must change.
    pub fn check(&self, execution: &Execution, caller: &Caller) -> Result<Limits, Rejection> {
        execution.check()?;
        let limits = self.limits(execution, caller)?;
        limits.hold_payload(execution)?;
        Ok(limits)
    }

    /// The limits in force for a request.
    ///
    /// # Errors
    /// [`Rejection`] with the limit that it may not ask for.
    pub fn limits(&self, execution: &Execution, caller: &Caller) -> Result<Limits, Rejection> {
        let ceilings = self.ceilings_of(execution);
        let own = ceilings.hold_for(&execution.limits, caller)?;
        let Some(template) = &execution.resources else { return Ok(own) };
        // The request's own fields are within their ceilings, so this is the template's.
        ceilings.hold_for(&execution.asked_limits(), caller).map_err(
            |Rejection { code, field, detail }| {
                let detail = format!("{field} of {}: {detail}", template.name);
                Rejection { code, field: "resources", detail }
            },
        )
    }

    /// A runtime's limits stand in for the operator's defaults.
    fn ceilings_of(&self, execution: &Execution) -> Ceilings {
        let runtime = execution.runtime.as_ref();
        runtime.map_or(self.ceilings, |runtime| self.ceilings.with_default(&runtime.limits))
    }

    /// Runs one script in a container of its own, when it is its caller's turn; `observer` is told
    /// what happens meanwhile. Dropping the future kills the container.
    ///
    /// # Errors
    /// [`Failure`] when the script did not run; however it ends once it ran, that is an outcome.
    pub async fn run(
        &self,
        execution: Execution,
        caller: &Caller,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let limits = self.check(&execution, caller)?;
        let began = Instant::now();
        let Arrived { permit, image, queued } =
            self.arrive(&execution, caller, observer, cancel).await?;
        let forwarded = match execution.forward_env {
            true => self.forward.to(&image.reference),
            false => &[],
        };
        let job = job::compose(&execution, forwarded, &image, &limits)?;
        let forwards = !forwarded.is_empty();
        let usual = self.ceilings_of(&execution).default;
        let need = ahead::need(&execution, forwards, image, &limits, &usual)?;
        let Ran { prepared, running, end, output } = self
            .run_job(job, &need, Output::new(limits.output, observer), cancel)
            .await?
            .map_err(|error| refused_file(error, &execution))?;
        // What is left of the container is its hold's to remove; the next script need not wait.
        drop(permit);

        let timings = Timings {
            queued,
            prepared: (prepared - began).saturating_sub(queued),
            ran: prepared.elapsed(),
        };
        self.metrics.phase(Phase::Prepared, timings.prepared);
        self.metrics.phase(Phase::Ran, timings.ran);
        let image = &need.spec.image;
        let output = (output.stdout, output.stderr);
        let outcome = Outcome {
            runtime: execution.runtime.map(|runtime| runtime.name.to_string()),
            ..Outcome::conclude(execution.id, image, &limits, end, output, timings)
        };
        running.ended(outcome.status);
        self.metrics.output(outcome.stdout.total, outcome.stderr.total);
        Ok(outcome)
    }

    /// Runs a job in a container of its own. A container that is lost before anything of the script
    /// was heard is replaced by another.
    async fn run_job<'a>(
        &'a self,
        mut job: Job,
        need: &Need,
        mut output: Output<'a>,
        cancel: &CancellationToken,
    ) -> Result<Result<Ran<'a>, EngineError>, Failure> {
        let until = Instant::now() + CONTAINER;
        let mut tries = 0;
        loop {
            tries += 1;
            let taking = async {
                match tries {
                    1 => self.pool.take(need).await,
                    _ => self.pool.fresh(need).await,
                }
            };
            let taken = unless(cancel, timeout_at(until.into(), taking)).await?;
            let slow = |_| EngineError::Slow("there was no container in time".into());
            let Taken { container, prestarted, refill: _refill } = taken.map_err(slow)??;
            job.head.prestarted = prestarted;
            let prepared = Instant::now();
            let running = self.metrics.run();
            match container.run(&job, cancel, &mut output).await {
                Ok(end) if let Some(of) = end.starved_of(&need.spec) => {
                    running.failed();
                    let why = format!("there was no {of} left for a script within its limit");
                    return Err(EngineError::Unavailable(why).into());
                }
                Ok(end) => return Ok(Ok(Ran { prepared, running, end, output })),
                Err(RunError { error, started }) => {
                    running.failed();
                    if tries == TRIES || started || matches!(error, EngineError::FileRefused { .. })
                    {
                        return Ok(Err(error));
                    }
                    warn!(%error, "a container was lost before its script began; another follows");
                }
            }
        }
    }
}

/// A job that was run.
struct Ran<'a> {
    /// When its container was there.
    prepared: Instant,
    running: Running<'a>,
    end: RunEnd,
    output: Output<'a>,
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
            Rejection { code: RejectionCode::FilesRefused, field, detail }.into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
