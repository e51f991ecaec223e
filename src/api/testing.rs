//! An engine whose guests are played by tasks, so that the door is tested through the real
//! executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use oncebox_guest::wire::{Ended, Exit, Report, Usage};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Access, AccessOptions};
use super::{Canary, Door, Readiness, Reports};
use crate::config::Naming;
use crate::engine::testing::{Guest, container};
use crate::engine::{Container, ContainerSpec, Engine, EngineError, EngineName};
use crate::execution::Executor;
use crate::execution::admission::AdmissionOptions;
use crate::execution::background::{BackgroundOptions, Executions};
use crate::execution::runtime::Runtimes;
use crate::execution::store::{FileStore, Place, StoreOptions};
use crate::execution::testing::CEILINGS;
use crate::pool::Pool;
use crate::registry::testing::{image, registry};
use crate::registry::{ImageError, Reference, Registry};

/// Its guests know four scripts: `hang` runs until it is stopped, `break` loses the container,
/// `panic` makes the engine panic, and every other one is printed.
pub(crate) struct Stage {
    /// A container that is running its script, by the token that is cancelled when it is gone.
    running: UnboundedSender<CancellationToken>,
    /// It does not answer.
    pub(crate) away: AtomicBool,
}

impl Stage {
    pub(crate) fn new() -> (Arc<Self>, UnboundedReceiver<CancellationToken>) {
        let (running, seen) = unbounded_channel();
        (Arc::new(Self { running, away: AtomicBool::new(false) }), seen)
    }
}

impl Engine for Stage {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn make<'a>(&'a self, _: &'a ContainerSpec) -> BoxFuture<'a, Result<Container, EngineError>> {
        Box::pin(async {
            let (container, guest, gone) = container(None).await;
            tokio::spawn(play(guest, gone, self.running.clone()));
            Ok(container)
        })
    }

    fn answers(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        let away = self.away.load(Ordering::SeqCst);
        let gone = || Err(EngineError::Unavailable("it is away".into()));
        Box::pin(std::future::ready(if away { gone() } else { Ok(()) }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

async fn play(
    mut guest: Guest,
    gone: CancellationToken,
    running: UnboundedSender<CancellationToken>,
) {
    let job = guest.take_job().await;
    let script = job.files.last().map(|(_, _, content)| content.clone()).unwrap_or_default();
    guest.say(&Report::Started).await;
    let mut ended = Ended {
        exit: Exit::Code(0),
        stopped: false,
        wall_ns: 1,
        stdout_total: script.len() as u64,
        stderr_total: 0,
        usage: Usage::default(),
    };
    // Nobody listens in tests that don't care.
    let _ = running.send(gone.clone());
    match &*script {
        b"break" => return,
        b"hang" => {
            tokio::select! {
                () = gone.cancelled() => return,
                () = guest.told_to_stop() => {}
            }
            (ended.exit, ended.stopped, ended.stdout_total) = (Exit::Signal(9), true, 0);
        }
        text => guest.say(&Report::Stdout(text)).await,
    }
    guest.say(&Report::Ended(ended)).await;
    guest.say(&Report::Done).await;
}

/// Images by name: `missing` is not here, `panic` makes whoever looks for it panic.
pub(crate) fn images() -> Arc<Registry> {
    registry(|reference| {
        let found = match reference.repository() {
            "library/panic" => panic!("on purpose"),
            "library/missing" => Err(ImageError::not_found(reference)),
            _ => Ok(image(reference)),
        };
        Box::pin(std::future::ready(found))
    })
}

/// An executor on such an engine.
pub(crate) fn executor(engine: Arc<Stage>) -> Arc<Executor> {
    executor_with(engine, images())
}

/// The same with other images.
pub(crate) fn executor_with(engine: Arc<Stage>, images: Arc<Registry>) -> Arc<Executor> {
    let admission = AdmissionOptions {
        max_concurrent: 2,
        queue_limit: 0,
        queue_timeout: Duration::from_secs(60),
    };
    let pool = Pool::new(engine, images, None, Arc::default());
    Arc::new(Executor::new(pool, Reference::host(), CEILINGS, admission, Arc::default()))
}

/// Executions in memory, four of them in the background at most.
pub(crate) fn executions(executor: &Arc<Executor>) -> Arc<Executions> {
    let kept = StoreOptions { ttl: Duration::from_secs(3600), size_limit: 1 << 20 };
    let store = FileStore::open(Place::Memory, kept).expect("a store");
    let options = BackgroundOptions { max_background: 4, webhooks: None };
    Executions::new(Arc::clone(executor), store, Box::new(Reports), options).expect("executions")
}

/// A door to such an engine, with a body of at most 4 KiB.
pub(crate) fn door(engine: Arc<Stage>) -> Door {
    let executor = executor(engine);
    let executions = executions(&executor);
    Door {
        runtimes: Runtimes::empty(Arc::clone(&executor), Arc::clone(executions.keeper())),
        access: Arc::new(Access::open(&AccessOptions::default()).expect("no keys")),
        executions,
        executor,
        readiness: Readiness {
            engine: "native".into(),
            reason: "a test".into(),
            image: "host".into(),
            canary: Canary { passed: true, seconds: 0.001 },
        },
        naming: Naming::default(),
        pulls: Arc::new(Semaphore::new(1)),
        max_body: 4096,
        cancel: CancellationToken::new(),
        inside: TaskTracker::new(),
    }
}
