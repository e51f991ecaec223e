//! Removing containers: behind the answer, until the daemon says they are gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncebox_guest::wire::Usage;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::daemon::Daemon;
use crate::engine::Hold;

/// How many removals run at once: more of them slow the daemon's other work down.
const AT_ONCE: usize = 4;
const ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Removes containers in the background, and knows the names of all that are ours to remove.
pub(super) struct Remover {
    daemon: Arc<Daemon>,
    runtime: Handle,
    turns: Semaphore,
    /// Containers that are in use or being removed.
    known: Mutex<HashSet<String>>,
}

/// Holds a container from the moment its name is known. Dropping it removes the container.
pub(super) struct Guard {
    name: String,
    remover: Arc<Remover>,
}

impl Remover {
    /// Must be called within a tokio runtime; removals run on it.
    pub(super) fn new(daemon: Arc<Daemon>) -> Arc<Self> {
        Arc::new(Self {
            daemon,
            runtime: Handle::current(),
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
        })
    }

    /// A guard for a container that is about to be created.
    pub(super) fn guard(self: &Arc<Self>, name: String) -> Guard {
        self.known().insert(name.clone());
        Guard { name, remover: Arc::clone(self) }
    }

    /// A guard holds this container, or it is being removed.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.known().contains(name)
    }

    /// Removes a container that nobody holds, in the background.
    pub(super) fn discard(self: &Arc<Self>, name: String) {
        drop(self.guard(name));
    }

    /// Tries once; true when the container is gone.
    pub(super) async fn try_remove(&self, name: &str) -> bool {
        let Ok(_turn) = self.turns.acquire().await else { return false };
        match self.daemon.remove(name).await {
            Ok(()) => true,
            Err(e) if e.status() == Some(404) => true,
            // Its removal is in progress already: nothing is wrong, and it is not gone yet.
            Err(e) if e.status() == Some(409) => false,
            Err(error) => {
                tracing::warn!(container = name, %error, "container not removed yet");
                false
            }
        }
    }

    async fn remove(self: Arc<Self>, name: String) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            if self.try_remove(&name).await {
                break;
            }
            if attempt == ATTEMPTS {
                tracing::error!(container = name, "container not removed; the next sweep tries on");
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.known().remove(&name);
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        self.remover.runtime.spawn(Arc::clone(&self.remover).remove(name));
    }
}

impl Hold for Guard {
    /// The daemon keeps no counters of a container that has ended, and its `OOMKilled` is
    /// unreliable.
    fn post_mortem(self: Box<Self>) -> BoxFuture<'static, Option<Usage>> {
        drop(self);
        std::future::ready(None).boxed()
    }
}
