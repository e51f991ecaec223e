//! The composition root: settings to engine, executor and HTTP, and the order of stopping.

mod choose;
mod executions;
pub(crate) mod images;
mod launch;
mod offline;
mod once;
mod prepare;
pub(crate) mod privileges;
mod pulse;
mod runtimes;
mod socket;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web;
use rustix::net::listen as listen_again;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::api::access::{Access, KeyFileError};
use crate::api::runtimes::file::Reloading;
use crate::api::{self, Canary, Door, Readiness};
use crate::config::Settings;
use crate::engine::Engine;
use crate::execution::Executor;
use crate::execution::background::Executions;
use crate::execution::limits::Limits;
use crate::execution::runtime::Runtimes;
use crate::execution::store::Place;
use crate::pool::Floor;
use crate::telemetry;
pub use choose::{Chosen, NoEngine};
pub(crate) use choose::{try_docker, try_native};
pub use launch::{Launched, NoStore};
pub(crate) use offline::{Begun, Offline};
pub(crate) use once::{Once, Witness};
use prepare::Prepared;

/// For cancelled executions to answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Clients that may wait for pulls at once.
const MOST_PULLS: usize = 16;
/// For the engine to prove that nothing is left.
const CLOSE: Duration = Duration::from_secs(10);

/// Serves until stopped by a signal. The whole life of the process: the spawner first, while there
/// is one thread; then privileges go; then everything else.
pub fn serve(settings: &Settings) -> ExitCode {
    telemetry::start(settings.log_level, settings.log_format);
    let prepared = Prepared::before_threads(settings);
    let ended = prepared.and_then(|Prepared { launched, executions, runtime }| {
        runtime.block_on(run(settings, launched, executions))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("oncebox: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    settings: &Settings,
    launched: Option<Launched>,
    executions: Place,
) -> Result<(), String> {
    let reloads = settings.access.keys_file.is_some() || settings.runtimes.file.path.is_some();
    let signals = Signals::of_this_process(reloads).map_err(|e| format!("no signals: {e}"))?;
    let built = signals.force.run_until_cancelled(async {
        Application::build(settings, launched, executions, &signals.stop).await
    });
    let application = match built.await {
        None => return Err("stopped by force".into()),
        // There was nothing yet that could be stopped.
        Some(Err(_)) if signals.stop.is_cancelled() => return Ok(()),
        Some(built) => built.map_err(|e| e.to_string())?,
    };
    application.run_until_stopped(&signals).await
}

/// What asks for an end: first to stop in order, then at once.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    pub stop: CancellationToken,
    pub force: CancellationToken,
    /// Has the operator's files read again.
    pub reload: watch::Sender<()>,
}

impl Signals {
    /// SIGTERM and SIGINT: the first stops, the second forces. SIGHUP is ours only where there is
    /// something to reload; otherwise a service ends with its terminal, as any program.
    fn of_this_process(reloads: bool) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let signals = Self::default();
        if reloads {
            let (mut hangup, reload) = (signal(SignalKind::hangup())?, signals.reload.clone());
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    reload.send_replace(());
                }
            });
        }
        let heard = signals.clone();
        tokio::spawn(async move {
            for token in [heard.stop, heard.force] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(signals)
    }
}

/// Ends what waits and has the engine prove that nothing is left. In this order: a pool that goes on
/// would make new ones meanwhile, and the engine wait for them.
pub(crate) async fn close(engine: &dyn Engine, executor: &Executor) {
    executor.pool().close().await;
    if timeout(CLOSE, engine.close()).await.is_err() {
        warn!("the engine did not prove within {} s that nothing is left", CLOSE.as_secs());
    }
}

/// The service, listening.
pub struct Application {
    address: SocketAddr,
    server: Server,
    engine: Arc<dyn Engine>,
    door: web::Data<Door>,
    runtimes: Option<Arc<Reloading>>,
    drain_timeout: Duration,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    #[error("cannot listen on {address}: {error}; free it, or set HOST and PORT")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("{0}")]
    Registries(String),
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error("{0}")]
    Executions(String),
}

impl Application {
    /// Chooses the engine, proves it with a canary, goes on with the executions that are kept, and
    /// listens. `launched` is what was started before the process had threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn build(
        settings: &Settings,
        launched: Option<Launched>,
        executions: Place,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let access = Arc::new(Access::open(&settings.access)?);
        images::client(settings).map_err(StartError::Registries)?;
        telemetry::export();
        // Taken first: a port in use is known before any container is made.
        let listener = listen(settings.address)?;
        let store = executions::store(settings, executions).map_err(StartError::Executions)?;
        let chosen = choose::choose(settings, launched, stop).await?;
        let (engine, executor) = (chosen.engine.clone(), Arc::clone(&chosen.executor));
        let opened = executions::open(settings, store, Arc::clone(&executor)).await;
        let opened = match opened {
            Ok(executions) => {
                let runtimes = runtimes::open(settings, &executor, &executions).await;
                runtimes.map(|runtimes| (executions, runtimes))
            }
            Err(why) => Err(why),
        };
        let assembled = opened
            .map_err(StartError::Executions)
            .and_then(|kept| Self::assemble(settings, access, listener, chosen, kept));
        if assembled.is_err() {
            close(&*engine, &executor).await;
        }
        assembled
    }

    fn assemble(
        settings: &Settings,
        access: Arc<Access>,
        listener: TcpListener,
        chosen: Chosen,
        (executions, runtimes): (Arc<Executions>, Arc<Runtimes>),
    ) -> Result<Self, StartError> {
        let failed = |error| StartError::Listen { address: settings.address, error };
        let address = listener.local_addr().map_err(failed)?;
        announce(settings, &access, &chosen, address);
        let pools = &settings.pools;
        let base = Floor { image: chosen.image.clone(), count: pools.size };
        let base = (pools.size > 0).then_some(base);
        chosen.executor.keep(base.into_iter().chain(pools.custom.iter().cloned()));
        let door = web::Data::new(Door {
            access,
            executor: chosen.executor,
            executions,
            runtimes,
            readiness: Readiness {
                engine: chosen.engine.name().to_string(),
                reason: chosen.reason,
                image: chosen.image.to_string(),
                canary: Canary { passed: true, seconds: chosen.canary.as_secs_f64() },
            },
            naming: settings.images.naming(),
            pulls: Arc::new(Semaphore::new(MOST_PULLS)),
            max_body: settings.max_body,
            cancel: CancellationToken::new(),
            inside: TaskTracker::new(),
        });
        let origins = settings.access.origins.clone();
        let server = api::serve(listener, door.clone(), settings.http, origins).map_err(failed)?;
        let drain_timeout = settings.drain_timeout;
        let runtimes = runtimes::reloading(settings, &door.runtimes);
        Ok(Self { address, server, engine: chosen.engine, door, runtimes, drain_timeout })
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves until asked to stop, then drains: no more is taken, what runs may finish until the
    /// drain deadline and is cancelled then, and the engine proves that nothing is left.
    ///
    /// # Errors
    /// A sentence when the end was forced, or when HTTP ended by itself.
    pub async fn run_until_stopped(self, signals: &Signals) -> Result<(), String> {
        let Self { server, engine, door, runtimes, drain_timeout, .. } = self;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        let (access, reload) = (Arc::clone(&door.access), signals.reload.subscribe());
        let watch = tokio::spawn(async move { access.watch(reload).await });
        let _of_keys = AbortOnDropHandle::new(watch);
        let _of_runtimes = runtimes.map(|runtimes| {
            let reload = signals.reload.subscribe();
            AbortOnDropHandle::new(tokio::spawn(api::watch(runtimes, reload)))
        });
        let of_this = door.clone();
        let pulse = async move { pulse::watch(of_this.executor.metrics()).await };
        let _of_time = AbortOnDropHandle::new(tokio::spawn(pulse));
        tokio::select! {
            () = signals.stop.cancelled() => {}
            ended = &mut server => {
                close(&*engine, &door.executor).await;
                return Err(format!("HTTP ended by itself: {ended:?}"));
            }
            () = engine.lost() => {
                handle.stop(false).await;
                close(&*engine, &door.executor).await;
                return Err(format!("the engine {} is lost; start the service again", engine.name()));
            }
        }
        let orderly = async {
            info!("stopping: running scripts have {} s to finish", drain_timeout.as_secs_f64());
            drain(&door, drain_timeout).await;
            handle.stop(true).await;
            if timeout(CLOSE, door.executions.finish()).await.is_err() {
                warn!("the execution store did not close within {} s", CLOSE.as_secs());
            }
            close(&*engine, &door.executor).await;
            info!("stopped");
            telemetry::flush().await;
        };
        tokio::select! {
            () = orderly => Ok(()),
            () = signals.force.cancelled() => Err("stopped by force".into()),
        }
    }
}

/// Lets those inside finish, and what runs in the background, and cancels them at the deadline.
async fn drain(door: &Door, deadline: Duration) {
    door.inside.close();
    // First, so that none is written down that would be sent away at once.
    door.executions.close();
    door.executor.close();
    let gone = async || {
        door.inside.wait().await;
        door.executions.idle().await;
    };
    if timeout(deadline, gone()).await.is_ok() {
        return;
    }
    let left = || door.inside.len() + door.executions.running();
    warn!("cancelling {} requests and executions that still go on", left());
    door.cancel.cancel();
    door.executions.stop();
    if timeout(LAST_ANSWERS, gone()).await.is_err() {
        error!("{} requests and executions did not end when cancelled", left());
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    // A burst of connections waits here; what does not fit tries again only after a second.
    listen_again(&listener, BACKLOG).map_err(|e| failed(e.into()))?;
    Ok(listener)
}

/// The start-up log: what a newcomer needs to know, down to the line to try.
fn announce(settings: &Settings, access: &Access, chosen: &Chosen, address: SocketAddr) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let Limits { timeout, memory, cpu_millis, pids, tmp, output } = settings.ceilings.default;
    info!("engine {}: {}", chosen.engine.name(), telemetry::clean(&chosen.reason));
    info!("image {}, first script ran in {:.1?}", chosen.image, chosen.canary);
    info!(
        "limits {:?}, {} MiB memory, {} cores, {pids} processes, {} MiB /tmp, {} MiB output; \
         {} at once",
        timeout,
        mib(memory),
        f64::from(cpu_millis) / 1000.0,
        mib(tmp),
        mib(output),
        settings.admission.max_concurrent
    );
    let forward = chosen.executor.forward();
    if !forward.is_empty() {
        warn!("FORWARD_ENV_KEYS: {forward}, unless their request says forward_env: false");
    }
    if !settings.forward.missing.is_empty() {
        let missing = settings.forward.missing.join(", ");
        warn!("FORWARD_ENV_KEYS names what this service does not have as text: {missing}");
    }
    info!("listening on http://{address}");
    let key = match access.keys() {
        Some(count) => {
            info!(count, "whoever has one of the API keys may come in");
            "-H 'authorization: Bearer KEY' "
        }
        None => {
            info!("whoever reaches this address may run scripts: there are no API keys");
            ""
        }
    };
    // Of all addresses at once, only whoever asks knows which one leads here.
    if !address.ip().is_unspecified() {
        info!(
            "try: curl -s {address}/execute {key}-H 'content-type: application/json' -d '{{\"script\":\"echo hello\"}}'"
        );
    }
}

#[cfg(test)]
mod tests;
