//! The native engine: containers made by our own [`spawner`], with no daemon.

pub(crate) mod cgroup;
mod link;
pub(crate) mod protocol;
mod socket;
mod spawner;

use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use oncebox_guest::wire::Usage;
use tokio::time::timeout;

pub use spawner::{Spawner, spawner_main};

use super::hardening::{Expected, verify};
use super::{Channel, Container, ContainerSpec, Engine, EngineError, EngineName, Hold};
use crate::telemetry::metrics::Metrics;
use link::{Greeting, Held, Link};

/// For the spawner to say that it works.
const GREETING: Duration = Duration::from_secs(20);
/// For the spawner to make one container.
const MAKE: Duration = Duration::from_secs(10);
/// For a killed container to be gone.
const GONE: Duration = Duration::from_secs(5);
/// For everything to be gone when the service stops.
const CLOSE: Duration = Duration::from_secs(10);

/// A limit that a host without cgroups cannot enforce, and that the operator accepts by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenforced {
    Memory,
    Cpu,
    Pids,
}

impl Unenforced {
    /// Without cgroups none of them holds, so all of them must be accepted.
    fn all_in(accepted: &[Self]) -> bool {
        [Self::Memory, Self::Cpu, Self::Pids].iter().all(|limit| accepted.contains(limit))
    }
}

/// Containers from the kernel's own interfaces.
pub struct NativeEngine {
    link: Arc<Link>,
    /// Supplementary groups that an ordinary user's containers keep.
    groups: u32,
    enforced: bool,
    process: Mutex<Option<std::process::Child>>,
}

impl NativeEngine {
    /// Waits for a launched spawner to say that it works.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what this machine lacks and how to mend it.
    pub async fn start(spawner: Spawner, metrics: Arc<Metrics>) -> Result<Arc<Self>, EngineError> {
        let unavailable = |e: std::io::Error| EngineError::Unavailable(format!("spawner: {e}"));
        let link = Link::start(spawner.connection, metrics).map_err(unavailable)?;
        let mut greeting = link.greeting();
        let said = timeout(GREETING, greeting.wait_for(|said| *said != Greeting::Awaited)).await;
        let said = match said {
            Ok(Ok(said)) => said.clone(),
            _ => return Err(EngineError::Slow("the spawner did not say hello".into())),
        };
        match said {
            Greeting::Works { groups, enforced } => Ok(Arc::new(Self {
                link,
                groups,
                enforced,
                process: Mutex::new(Some(spawner.process)),
            })),
            Greeting::Refused(reason) => Err(EngineError::Unavailable(reason)),
            Greeting::Awaited | Greeting::Gone => {
                Err(EngineError::Unavailable("the spawner ended at once".into()))
            }
        }
    }

    /// Memory, CPU and process limits hold; otherwise the operator has accepted that they don't.
    #[must_use]
    pub fn enforces_limits(&self) -> bool {
        self.enforced
    }

    async fn make_container(&self, spec: &ContainerSpec) -> Result<Container, EngineError> {
        let (ours, theirs) = StdStream::pair()
            .map_err(|e| EngineError::Unavailable(format!("control stream: {e}")))?;
        let (held, made) = timeout(MAKE, self.link.make(spec, theirs.into()))
            .await
            .map_err(|_| EngineError::Slow("the spawner did not make a container".into()))??;
        let expected =
            Expected { uid: made.uid, gid: made.uid, groups: self.groups, cgroup_inside: false };
        let channel = Channel::socket(ours)
            .map_err(|e| EngineError::Unavailable(format!("control stream: {e}")))?;
        tracing::debug!(pid = made.pid, "container made");
        let hold = Box::new(NativeHold(held));
        Container::ready(channel, hold, |posture| verify(posture, spec, &expected)).await
    }
}

impl Engine for NativeEngine {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn make<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        Box::pin(self.make_container(spec))
    }

    /// When spawner and keeper are both gone.
    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Where nobody can say so any more, it is gone as well.
            let _ = self.link.greeting().wait_for(|said| *said == Greeting::Gone).await;
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if timeout(CLOSE, self.link.empty()).await.is_err() {
                tracing::error!("containers were still there when the service stopped");
            }
            self.link.hang_up();
            let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut process) = process else { return };
            let ended = tokio::task::spawn_blocking(move || process.wait());
            match timeout(CLOSE, ended).await {
                Ok(Ok(Ok(_))) => {}
                ended => tracing::error!(?ended, "the spawner did not end"),
            }
        })
    }
}

struct NativeHold(Held);

impl Hold for NativeHold {
    fn limit<'a>(&'a mut self, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.0.limit(spec.into()))
    }

    fn finished(self: Box<Self>) {
        self.0.finished();
    }

    fn post_mortem(self: Box<Self>) -> BoxFuture<'static, Option<Usage>> {
        Box::pin(async move { timeout(GONE, self.0.end()).await.ok().flatten() })
    }
}
