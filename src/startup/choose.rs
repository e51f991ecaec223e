//! Which engine, and the proof that it runs scripts: a canary in a real container.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Launched, close, images};
use crate::config::{EngineChoice, ImageSettings, Settings};
use crate::engine::docker::{DockerEngine, DockerOptions};
use crate::engine::native::NativeEngine;
use crate::engine::{Engine, EngineError, EngineName};
use crate::execution::admission::Caller;
use crate::execution::forward::Forward;
use crate::execution::outcome::Status;
use crate::execution::request::{AskedLimits, Execution};
use crate::execution::{Executor, Failure};
use crate::pool::Pool;
use crate::registry::{Credentials, Images, Reference, Registry};
use crate::telemetry::metrics::Metrics;

/// For an engine to start and to run the canary.
const DEADLINE: Duration = Duration::from_secs(60);
const CANARY: &str = "echo oncebox";

/// An engine that has run the canary, and why it is this one.
pub struct Chosen {
    pub engine: Arc<dyn Engine>,
    pub executor: Arc<Executor>,
    pub image: Reference,
    pub reason: String,
    /// How long the canary took.
    pub canary: Duration,
}

/// An engine, and what runs scripts on it; none has run yet.
pub(super) struct Ready {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) executor: Arc<Executor>,
    image: Reference,
    reason: String,
}

/// No engine can run scripts here.
#[derive(Debug, thiserror::Error)]
pub enum NoEngine {
    #[error("the engine {name} (named by ENGINE) can't run here: {reason}\n{HELP}")]
    Named { name: EngineName, reason: String },
    #[error("no engine can run here\n  native: {native}\n  docker: {docker}\n{HELP}")]
    Neither { native: String, docker: String },
}

const HELP: &str = "`oncebox doctor` prints the whole check list and how to mend what is missing";

/// Picks the engine as the settings say, by a canary. `launched` is `None` where it was not asked
/// for. Told to stop meanwhile, it closes what it has begun.
///
/// # Errors
/// [`NoEngine`] with each engine's own reason.
pub(super) async fn choose(
    settings: &Settings,
    launched: Option<Launched>,
    stop: &CancellationToken,
) -> Result<Chosen, NoEngine> {
    choose_by(settings, launched, async |ready| prove(settings, ready, stop).await).await
}

/// Picks the engine as the settings say: the first one of which `prove` says nothing against it.
/// Whatever it proves that with, it closes an engine that it says something against.
///
/// # Errors
/// [`NoEngine`] with each engine's own reason.
pub(super) async fn choose_by<T>(
    settings: &Settings,
    launched: Option<Launched>,
    prove: impl AsyncFn(Ready) -> Result<T, String>,
) -> Result<T, NoEngine> {
    let native = async |launched, reason: &str| {
        prove(native(settings, launched, reason.into()).await?).await
    };
    let docker = async |reason: String| prove(docker(settings, reason).await?).await;
    let named = |name| move |reason| NoEngine::Named { name, reason };
    match settings.engine {
        EngineChoice::Native => {
            native(launched, "named by ENGINE").await.map_err(named(EngineName::Native))
        }
        EngineChoice::Docker => {
            docker("named by ENGINE".into()).await.map_err(named(EngineName::Docker))
        }
        EngineChoice::Auto => {
            let native =
                match native(launched, "its self-check passed, and it needs no daemon").await {
                    Ok(proven) => return Ok(proven),
                    Err(native) => native,
                };
            let reason = format!("Docker answers, and the native engine can't be used: {native}");
            docker(reason).await.map_err(|docker| NoEngine::Neither { native, docker })
        }
    }
}

/// Starts the native engine and runs the canary on it.
pub(crate) async fn try_native(
    settings: &Settings,
    launched: Option<Launched>,
    reason: String,
) -> Result<Chosen, String> {
    prove(settings, native(settings, launched, reason).await?, &CancellationToken::new()).await
}

/// Starts the Docker engine and runs the canary on it.
pub(crate) async fn try_docker(settings: &Settings, reason: String) -> Result<Chosen, String> {
    prove(settings, docker(settings, reason).await?, &CancellationToken::new()).await
}

async fn native(
    settings: &Settings,
    launched: Option<Launched>,
    reason: String,
) -> Result<Ready, String> {
    let metrics = Arc::new(Metrics::new());
    let Launched { spawner, store } = launched.ok_or("it was not started")?;
    let starting = async { NativeEngine::start(spawner?, Arc::clone(&metrics)).await };
    let engine = within(starting).await.map_err(why)?;
    let images = match images::of_the_native_engine(settings, store) {
        Ok(images) => images,
        Err(why) => {
            engine.close().await;
            return Err(why);
        }
    };
    let reason = if engine.enforces_limits() {
        reason
    } else {
        format!("{reason}; memory, CPU and process limits do NOT hold, as ACCEPT_UNENFORCED allows")
    };
    ready(settings, engine, images, metrics, "host", reason)
}

async fn docker(settings: &Settings, reason: String) -> Result<Ready, String> {
    let metrics = Arc::new(Metrics::new());
    let starting = DockerEngine::start(docker_options(settings), Arc::clone(&metrics));
    let engine = within(starting).await.map_err(why)?;
    let images = engine.images();
    ready(settings, engine, images, metrics, "alpine:latest", reason)
}

pub(super) fn docker_options(settings: &Settings) -> DockerOptions {
    DockerOptions {
        host: settings.docker_host.clone(),
        runtime: settings.runtime.clone(),
        credentials: Credentials::new(settings.images.credentials.clone()),
    }
}

pub(super) async fn within<T>(
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let slow = || EngineError::Slow(format!("it did not start within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, work).await.map_err(|_| slow())?
}

/// What is said of an engine needs no word that it is unavailable.
pub(super) fn why(error: EngineError) -> String {
    match error {
        EngineError::Unavailable(why) => why,
        other => other.to_string(),
    }
}

fn ready(
    settings: &Settings,
    engine: Arc<dyn Engine>,
    images: Arc<dyn Images>,
    metrics: Arc<Metrics>,
    default_image: &str,
    reason: String,
) -> Result<Ready, String> {
    let image = match &settings.base_image {
        Some(image) => image.clone(),
        None => default_image.parse().map_err(|e| format!("{default_image}: {e}"))?,
    };
    let ImageSettings { policy, pull, .. } = &settings.images;
    let registry = Registry::new(images, policy.clone(), *pull, Arc::clone(&metrics));
    let registry = Arc::new(registry);
    let pool = Pool::new(engine.clone(), registry, settings.pools.budget, Arc::clone(&metrics));
    let executor =
        Executor::new(pool, image.clone(), settings.ceilings, settings.admission, metrics);
    let mut own = vec![image.clone()];
    // Where there is that image, it is the operator's.
    if engine.name() == EngineName::Native && !image.is_host() {
        own.push(Reference::host());
    }
    let forward = Forward::new(settings.forward.variables.clone(), policy, own);
    let executor = executor.forwarding(forward);
    Ok(Ready { engine, executor: Arc::new(executor), image, reason })
}

/// Runs the canary; an engine that can't is closed again.
async fn prove(
    settings: &Settings,
    ready: Ready,
    stop: &CancellationToken,
) -> Result<Chosen, String> {
    let Ready { engine, executor, image, reason } = ready;
    let first_script = async {
        images::fetch(executor.registry(), &image, settings).await;
        let began = Instant::now();
        let passed = timeout(DEADLINE, canary(&executor)).await.unwrap_or_else(|_| {
            Err(format!("the first script did not end within {} s", DEADLINE.as_secs()))
        });
        passed.map(|()| began.elapsed())
    };
    let passed = stop.run_until_cancelled(first_script).await;
    match passed.unwrap_or_else(|| Err("the service was told to stop".into())) {
        Ok(canary) => Ok(Chosen { engine, executor, image, reason, canary }),
        Err(why) => {
            close(&*engine, &executor).await;
            Err(why)
        }
    }
}

async fn canary(executor: &Executor) -> Result<(), String> {
    let execution = Execution {
        id: Uuid::now_v7(),
        script: Bytes::from_static(CANARY.as_bytes()),
        stdin: None,
        image: None,
        pull_policy: None,
        language: None,
        args: vec![],
        env: vec![],
        // As the requests after it, so that its container is one of those that wait for them.
        forward_env: true,
        files: vec![],
        outputs: vec![],
        limits: AskedLimits::default(),
        runtime: None,
        resources: None,
    };
    let outcome =
        match executor.run(execution, &Caller::SERVICE, &(), &CancellationToken::new()).await {
            Ok(outcome) => outcome,
            Err(Failure::Image(error)) => {
                return Err(format!("{error}; name another image by BASE_IMAGE"));
            }
            Err(Failure::Engine(error)) => return Err(why(error)),
            Err(failure) => return Err(failure.to_string()),
        };
    if outcome.status == Status::Completed && outcome.stdout.bytes == b"oncebox\n" {
        return Ok(());
    }
    let mut why = format!("`{CANARY}` did not run as it must: exit code {}", outcome.exit_code);
    let said = crate::telemetry::clean(&String::from_utf8_lossy(&outcome.stderr.bytes));
    if !said.is_empty() {
        let _ = write!(why, ", {said}");
    }
    Err(why)
}
