//! The service's side of the connection to the spawner.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oncebox_guest::wire::Usage;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{interval, timeout};

use super::protocol::{ContainerId, MakeLimits, Reply, Request, Root};
use super::socket;
use crate::engine::{ContainerSpec, EngineError};
use crate::registry::Layers;
use crate::telemetry::metrics::{Fault, Metrics, Phase};

/// Requests go out as they come; a task takes the replies and hands them to whoever waits.
pub struct Link {
    /// Its packets are kept apart, which is all that tokio's type for it relies on.
    socket: UnixDatagram,
    state: Mutex<State>,
    changed: Notify,
    greeting: watch::Sender<Greeting>,
    metrics: Arc<Metrics>,
}

/// For a guest that has said its last word to end.
const FAREWELL: Duration = Duration::from_secs(1);
/// A container that was given up is gone long before.
const LATE: Duration = Duration::from_secs(2);

/// What was made and its pidfd, or the spawner's reason.
type Making = Result<(Made, OwnedFd), String>;

#[derive(Default)]
struct State {
    next: ContainerId,
    making: HashMap<ContainerId, oneshot::Sender<Making>>,
    /// Whoever waits for a container's new limits to hold, or for the reason why they don't.
    limiting: HashMap<ContainerId, oneshot::Sender<Result<(), String>>>,
    /// Every container that is not proven gone, or that somebody still has.
    living: HashMap<ContainerId, Living>,
}

/// What there is to do when a container is gone and given up.
#[derive(Default)]
struct Living {
    /// Waits for its last counters.
    waiting: Option<oneshot::Sender<Usage>>,
    /// When its end was asked for.
    given_up: Option<Instant>,
    /// Its last counters, once it is proven gone.
    ended: Option<Usage>,
    /// That it takes long was told.
    late: bool,
    /// What it has mounted, held where it is until then.
    _layers: Option<Arc<Layers>>,
}

/// What the spawner has said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    Awaited,
    Works {
        groups: u32,
        enforced: bool,
    },
    Refused(String),
    /// The connection is closed: neither spawner nor keeper is left.
    Gone,
}

/// A made container, as far as the spawner knows it.
#[derive(Debug)]
pub struct Made {
    pub pid: u32,
    pub uid: u32,
}

/// One container at the spawner. Dropping it kills the container.
pub struct Held {
    link: Arc<Link>,
    id: ContainerId,
    /// Its PID 1, once it is made.
    pidfd: Option<OwnedFd>,
}

impl Link {
    /// Takes over the connection and starts the task that listens.
    ///
    /// # Errors
    /// When the socket can't be watched.
    pub fn start(connection: OwnedFd, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let connection = StdDatagram::from(connection);
        connection.set_nonblocking(true)?;
        let link = Arc::new(Self {
            socket: UnixDatagram::from_std(connection)?,
            state: Mutex::default(),
            changed: Notify::new(),
            greeting: watch::Sender::new(Greeting::Awaited),
            metrics,
        });
        tokio::spawn(Arc::clone(&link).listen());
        Ok(link)
    }

    /// What the spawner says of itself, now and later.
    pub fn greeting(&self) -> watch::Receiver<Greeting> {
        self.greeting.subscribe()
    }

    /// Has a container made. The guard comes first: whatever happens on the way, dropping it
    /// leaves nothing behind.
    ///
    /// # Errors
    /// The spawner's reason, or that there is no spawner.
    pub async fn make(
        self: &Arc<Self>,
        spec: &ContainerSpec,
        control: OwnedFd,
    ) -> Result<(Held, Made), EngineError> {
        if *self.greeting.borrow() == Greeting::Gone {
            return Err(gone());
        }
        let (answer, made) = oneshot::channel();
        let id = {
            let mut state = self.state();
            let id = state.next;
            state.next += 1;
            state.making.insert(id, answer);
            let _layers = spec.image.layers.clone();
            state.living.insert(id, Living { _layers, ..Living::default() });
            id
        };
        let mut held = Held { link: Arc::clone(self), id, pidfd: None };
        let request = Request::Make { id, limits: spec.into(), root: Root::from(spec) };
        self.send(&request, Some(&control)).await.map_err(|e| {
            self.forget(id);
            EngineError::Unavailable(format!("writing to the spawner: {e}"))
        })?;
        drop(control);
        match made.await {
            Ok(Ok((made, pidfd))) => {
                held.pidfd = Some(pidfd);
                Ok((held, made))
            }
            Ok(Err(reason)) => Err(EngineError::Make(reason)),
            Err(_) => Err(died()),
        }
    }

    /// Waits until every container is proven gone.
    pub async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().living.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Says goodbye: the spawner ends everything and itself.
    pub fn hang_up(&self) {
        self.greeting.send_replace(Greeting::Gone);
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    async fn send(&self, request: &Request, fd: Option<&OwnedFd>) -> io::Result<()> {
        let packet = request.encode();
        let send = || socket::send(&self.socket, &packet, fd.map(AsFd::as_fd));
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Nobody wants this container any more, and `waiting` wants its last counters. `false` when it
    /// is gone, or nobody knows of it.
    fn give_up(&self, id: ContainerId, waiting: Option<oneshot::Sender<Usage>>) -> bool {
        self.learn(id, |living| {
            living.given_up.get_or_insert_with(Instant::now);
            living.waiting = waiting.or(living.waiting.take());
        })
    }

    /// Learns something of a container, and lets go of one that is both gone and given up. `false`
    /// when there is nothing to hold any more.
    fn learn(&self, id: ContainerId, what: impl FnOnce(&mut Living)) -> bool {
        let mut state = self.state();
        let Some(living) = state.living.get_mut(&id) else { return false };
        what(living);
        let Some((given_up, usage)) = living.given_up.zip(living.ended) else { return true };
        self.metrics.phase(Phase::Teardown, given_up.elapsed());
        if let Some(waiting) = living.waiting.take() {
            let _ = waiting.send(usage);
        }
        state.living.remove(&id);
        drop(state);
        self.changed.notify_waiters();
        false
    }

    /// Asks for an end, from where nothing can be awaited.
    fn kill(self: &Arc<Self>, id: ContainerId) {
        let request = Request::Kill { id };
        let sent = socket::send(&self.socket, &request.encode(), None);
        let later = sent.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        // Without a runtime the service is ending, and its hanging up ends every container.
        if let (true, Ok(runtime)) = (later, Handle::try_current()) {
            let link = Arc::clone(self);
            runtime.spawn(async move { link.send(&request, None).await });
        }
    }

    async fn listen(self: Arc<Self>) {
        let mut look = interval(LATE);
        let reason = loop {
            let received = tokio::select! {
                received = self.receive() => received,
                _ = look.tick() => {
                    self.look_for_late_ones();
                    continue;
                }
            };
            match received {
                Ok(Some((reply, fd))) => self.handle(reply, fd),
                Ok(None) => break "closed".to_owned(),
                Err(e) => break e.to_string(),
            }
        };
        if !matches!(*self.greeting.borrow(), Greeting::Refused(_) | Greeting::Gone) {
            tracing::warn!(reason, "the connection to the spawner is gone");
            self.greeting.send_replace(Greeting::Gone);
        }
        self.forget_all();
    }

    /// Containers that something holds although their end was asked for.
    fn look_for_late_ones(&self) {
        for (id, living) in &mut self.state().living {
            if !living.late && living.given_up.is_some_and(|at| at.elapsed() > LATE) {
                living.late = true;
                self.metrics.fault(Fault::NotGone);
                tracing::warn!(
                    id,
                    "a container that has ended is not gone yet: something holds it"
                );
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
        let receive = || socket::receive(&self.socket);
        let Some((packet, fd)) = self.socket.async_io(Interest::READABLE, receive).await? else {
            return Ok(None);
        };
        let reply = Reply::decode(&packet).map_err(io::Error::other)?;
        Ok(Some((reply, fd)))
    }

    fn handle(&self, reply: Reply, fd: Option<OwnedFd>) {
        match reply {
            Reply::Hello { groups, enforced } => {
                self.greeting.send_replace(Greeting::Works { groups, enforced });
            }
            Reply::Refused { reason } => {
                self.greeting.send_replace(Greeting::Refused(reason));
            }
            Reply::Made { id, pid, uid } => {
                // Nobody waits any more when the request was given up; its guard has asked for
                // the end already.
                let waiting = self.state().making.remove(&id);
                if let (Some(waiting), Some(pidfd)) = (waiting, fd) {
                    let _ = waiting.send(Ok((Made { pid, uid }, pidfd)));
                }
            }
            Reply::Failed { id, reason } => {
                let waiting = self.state().making.remove(&id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(Err(reason));
                }
                self.forget(id);
            }
            Reply::Limited { id } => self.limited(id, Ok(())),
            Reply::NotLimited { id, reason } => self.limited(id, Err(reason)),
            Reply::Gone { id, usage } => {
                self.learn(id, |living| living.ended = Some(usage));
            }
            Reply::Restarted => {
                tracing::warn!("the spawner died and was started again");
                self.forget_all();
            }
        }
    }

    fn limited(&self, id: ContainerId, result: Result<(), String>) {
        let waiting = self.state().limiting.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(result);
        }
    }

    fn forget(&self, id: ContainerId) {
        let mut state = self.state();
        state.making.remove(&id);
        state.living.remove(&id);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Containers die with their spawner. Dropping the senders wakes whoever waits.
    fn forget_all(&self) {
        let mut state = self.state();
        state.making.clear();
        state.limiting.clear();
        state.living.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the maps are whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Gives the container other limits.
    ///
    /// # Errors
    /// The spawner's reason, or that there is no spawner; the container must not be used then.
    pub async fn limit(&mut self, limits: MakeLimits) -> Result<(), EngineError> {
        let (answer, limited) = oneshot::channel();
        self.link.state().limiting.insert(self.id, answer);
        let request = Request::Limit { id: self.id, limits };
        self.link.send(&request, None).await.map_err(|_| died())?;
        limited.await.map_err(|_| died())?.map_err(EngineError::Make)
    }

    /// Its guest is about to end, and everything in the container with it. One that does not is
    /// killed a little later; the answer that is on its way waits for neither.
    pub fn finished(self) {
        let (answer, gone) = oneshot::channel();
        if !self.link.give_up(self.id, Some(answer)) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(FAREWELL, gone).await;
                drop(self);
            });
        }
    }

    /// Kills the container and waits for its last counters; `None` when the spawner is gone too.
    pub async fn end(self) -> Option<Usage> {
        let (answer, usage) = oneshot::channel();
        if self.link.give_up(self.id, Some(answer)) {
            self.link.kill(self.id);
        }
        usage.await.ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.state().limiting.remove(&self.id);
        if !self.link.give_up(self.id, None) {
            return;
        }
        // At once, where this process may: the spawner has a queue. It does so as well, for a
        // service that has given up its privileges, and then cleans up.
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        self.link.kill(self.id);
    }
}

fn died() -> EngineError {
    EngineError::Unavailable("the spawner died; another takes its place".into())
}

fn gone() -> EngineError {
    EngineError::Unavailable("the spawner is gone; the service must be started again".into())
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
