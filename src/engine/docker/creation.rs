//! Creating containers: a few at a time, under names of our own, never cut off half-way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::daemon::{Daemon, DaemonError};
use super::removal::{Guard, Remover};
use super::sweep::NAME_PREFIX;
use crate::engine::EngineError;

/// For a turn: each one before us ends within deadlines of its own.
const TURN: Duration = Duration::from_secs(60);

/// Creates containers for one instance.
pub(super) struct Creator {
    daemon: Arc<Daemon>,
    remover: Arc<Remover>,
    instance: String,
    next: AtomicU64,
    turns: Arc<Semaphore>,
    at_once: u32,
    stopped: AtomicBool,
}

/// A container that was created and not yet started.
pub(super) struct Created {
    pub(super) guard: Guard,
    /// Given back when the container runs.
    pub(super) turn: OwnedSemaphorePermit,
}

/// Why none was created.
pub(super) enum NotCreated {
    Daemon(DaemonError),
    Engine(EngineError),
}

impl Creator {
    pub(super) fn new(daemon: Arc<Daemon>, remover: Arc<Remover>, instance: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let at_once = u32::try_from(cores).unwrap_or(u32::MAX).max(2);
        let turns = Arc::new(Semaphore::new(at_once as usize));
        let (next, stopped) = (AtomicU64::new(1), AtomicBool::new(false));
        Self { daemon, remover, instance, next, turns, at_once, stopped }
    }

    /// Creates one container. The daemon's answer is awaited even when this future is dropped: it
    /// tells whether there is something to remove.
    pub(super) async fn create(&self, body: ContainerCreateBody) -> Result<Created, NotCreated> {
        let turn = timeout(TURN, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| EngineError::Slow("no turn to create a container".into()))?;
        let turn = turn.ok().filter(|_| !self.stopped.load(Ordering::Acquire));
        let turn = turn.ok_or_else(|| EngineError::Unavailable("the engine is closing".into()))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let guard = self.remover.guard(format!("{NAME_PREFIX}{}-{number}", self.instance));
        let daemon = Arc::clone(&self.daemon);
        let created = tokio::spawn(async move {
            daemon.create(guard.name(), body).await?;
            Ok(Created { guard, turn })
        });
        let created = created.await.map_err(|e| EngineError::Make(format!("creating: {e}")))?;
        created.map_err(NotCreated::Daemon)
    }

    /// Refuses whatever comes or waits, and ends when nothing is being created or started any more.
    pub(super) async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let _all = self.turns.acquire_many(self.at_once).await;
        self.turns.close();
    }
}

impl From<EngineError> for NotCreated {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<DaemonError> for NotCreated {
    fn from(error: DaemonError) -> Self {
        Self::Daemon(error)
    }
}

impl From<NotCreated> for EngineError {
    fn from(error: NotCreated) -> Self {
        match error {
            NotCreated::Daemon(error) => error.into(),
            NotCreated::Engine(error) => error,
        }
    }
}
