//! Creating containers: a few at a time, those that a client waits for first, under names of our
//! own, never cut off half-way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
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
    /// Who is made ahead queues here first and keeps this with the turn: so no more than these few
    /// ever stand before a client, and one turn is never theirs.
    ahead: Arc<Semaphore>,
    at_once: u32,
    stopped: AtomicBool,
}

/// What a container is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A client waits for it.
    Now,
    /// It will wait itself.
    Ahead,
}

/// The right to have a container made.
pub(super) struct Turn {
    _turn: OwnedSemaphorePermit,
    _ahead: Option<OwnedSemaphorePermit>,
}

/// A container that was created and not yet started.
pub(super) struct Created {
    pub(super) guard: Guard,
    /// Given back when the container runs.
    pub(super) turn: Turn,
}

/// Why none was created.
pub(super) enum NotCreated {
    Daemon(DaemonError),
    Engine(EngineError),
}

impl Creator {
    pub(super) fn new(daemon: Arc<Daemon>, remover: Arc<Remover>, instance: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let at_once = u32::try_from(cores).unwrap_or(u32::MAX).saturating_add(1);
        let turns = Arc::new(Semaphore::new(at_once as usize));
        let ahead = Arc::new(Semaphore::new(cores));
        let (next, stopped) = (AtomicU64::new(1), AtomicBool::new(false));
        Self { daemon, remover, instance, next, turns, ahead, at_once, stopped }
    }

    /// Creates one container. The daemon's answer is awaited even when this future is dropped: it
    /// tells whether there is something to remove.
    pub(super) async fn create(
        &self,
        body: ContainerCreateBody,
        need: Need,
    ) -> Result<Created, NotCreated> {
        let turn = timeout(TURN, self.turn(need))
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

    async fn turn(&self, need: Need) -> Result<Turn, AcquireError> {
        let ahead = match need {
            Need::Now => None,
            Need::Ahead => Some(Arc::clone(&self.ahead).acquire_owned().await?),
        };
        Ok(Turn { _turn: Arc::clone(&self.turns).acquire_owned().await?, _ahead: ahead })
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

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;

    use super::super::fake::{Answer, Fake};
    use super::*;

    /// Creates at a daemon that answers each creation when it is told to.
    async fn slow() -> (Fake, Arc<Creator>, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let (asked, creations) = mpsc::unbounded_channel();
        let fake = Fake::start(move |method, _| match method {
            "POST" => {
                let (answer, held) = oneshot::channel();
                let _ = asked.send(answer);
                Answer::Held(held, r#"{"Id":"1d","Warnings":[]}"#.into())
            }
            _ => Answer::Status(204, String::new()),
        })
        .await;
        let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
        let remover = Remover::new(Arc::clone(&daemon), Arc::default());
        (fake, Arc::new(Creator::new(daemon, remover, "x".into())), creations)
    }

    fn create(creator: &Arc<Creator>, need: Need) -> JoinHandle<bool> {
        let creator = Arc::clone(creator);
        tokio::spawn(
            async move { creator.create(ContainerCreateBody::default(), need).await.is_ok() },
        )
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(10), what).await.unwrap()
    }

    #[tokio::test]
    async fn a_client_goes_before_all_that_is_made_ahead() {
        let (_fake, creator, mut creations) = slow().await;
        let most = creator.ahead.available_permits();
        let refill: Vec<_> = (0..3 * most).map(|_| create(&creator, Need::Ahead)).collect();
        let mut running = Vec::new();
        for _ in 0..most {
            running.push(soon(creations.recv()).await.unwrap());
        }
        assert!(creations.try_recv().is_err());
        // The refill has all the turns it may have, and one is left for a client.
        let first = create(&creator, Need::Now);
        let first_answer = soon(creations.recv()).await.unwrap();
        // The next client has to wait, and takes the turn that becomes free before any refill.
        let second = create(&creator, Need::Now);
        tokio::task::yield_now().await;
        running.pop().unwrap().send(()).unwrap();
        soon(creations.recv()).await.unwrap().send(()).unwrap();
        assert!(soon(second).await.unwrap());
        first_answer.send(()).unwrap();
        assert!(soon(first).await.unwrap());
        drop(refill);
    }
}
