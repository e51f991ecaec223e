//! Removing containers: behind the answer, until the daemon says they are gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncebox_guest::wire::Usage;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::daemon::Daemon;
use super::{read_back, request};
use crate::engine::{ContainerSpec, EngineError, Hold};
use crate::telemetry::metrics::{Fault, Metrics, Phase};

/// The daemon learns of an end a little after the guest's stream has closed.
const STATE_LOOK: Duration = Duration::from_millis(20);
/// 128 + SIGKILL.
const KILLED: i64 = 137;
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
    metrics: Arc<Metrics>,
}

/// Holds a container from the moment its name is known. Dropping it removes the container.
pub(super) struct Guard {
    name: String,
    remover: Arc<Remover>,
    started: bool,
}

impl Remover {
    /// Must be called within a tokio runtime; removals run on it.
    pub(super) fn new(daemon: Arc<Daemon>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            daemon,
            runtime: Handle::current(),
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            metrics,
        })
    }

    /// A guard for a container that is about to be created.
    pub(super) fn guard(self: &Arc<Self>, name: String) -> Guard {
        self.known().insert(name.clone());
        Guard { name, remover: Arc::clone(self), started: false }
    }

    /// A guard holds this container, or it is being removed.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.known().contains(name)
    }

    /// Removes a container that nobody holds; returns when it is gone, or after many attempts.
    pub(super) async fn discard(&self, name: String) {
        self.known().insert(name.clone());
        self.remove(name).await;
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
                self.metrics.fault(Fault::NotGone);
                tracing::warn!(container = name, %error, "container not removed yet");
                false
            }
        }
    }

    /// True when it is gone.
    async fn remove(&self, name: String) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        let gone = loop {
            if self.try_remove(&name).await {
                break true;
            }
            if attempt == ATTEMPTS {
                tracing::error!(container = name, "container not removed; the next sweep tries on");
                break false;
            }
            attempt += 1;
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        self.known().remove(&name);
        gone
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The container runs from now on: how long it takes to go is measured.
    pub(super) fn started(&mut self) {
        self.started = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let (remover, started) = (Arc::clone(&self.remover), self.started);
        let given_up = Instant::now();
        self.remover.runtime.spawn(async move {
            if remover.remove(name).await && started {
                remover.metrics.phase(Phase::Teardown, given_up.elapsed());
            }
        });
    }
}

impl Hold for Guard {
    fn limit<'a>(&'a mut self, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            let wanted = request::limits(spec);
            self.remover.daemon.update(&self.name, wanted.clone()).await?;
            let found = self.remover.daemon.inspect(&self.name).await?;
            read_back::check_limits(&wanted, &found).map_err(EngineError::Make)
        }
        .boxed()
    }

    /// Its words come through the daemon.
    fn carrier(&mut self) -> Option<BoxFuture<'_, Result<(), EngineError>>> {
        Some(async { Ok(self.remover.daemon.ping().await?) }.boxed())
    }

    /// It is removed in any case.
    fn unthrottle(&mut self) -> BoxFuture<'_, ()> {
        async {
            if let Err(error) = self.remover.daemon.update(&self.name, request::no_throttle()).await
            {
                debug!(container = self.name, %error, "it ends as slowly as its limit has it");
            }
        }
        .boxed()
    }

    /// Dropping it removes the container in the background.
    fn finished(self: Box<Self>) {}

    /// The daemon keeps no counters of a container that has ended, and does not always set its
    /// `OOMKilled`. Where it is set it is true, and it is the only word left about a guest that the
    /// kernel killed together with its script.
    fn post_mortem(self: Box<Self>) -> BoxFuture<'static, Option<Usage>> {
        async move {
            loop {
                let state = self.remover.daemon.inspect(&self.name).await.ok()?.state?;
                if state.running? {
                    sleep(STATE_LOOK).await;
                    continue;
                }
                let killed = state.oom_killed? && state.exit_code == Some(KILLED);
                return killed.then(|| Usage { oom_kills: Some(1), ..Usage::default() });
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::super::fake::{Answer, Fake};
    use super::super::request::tests::spec;
    use super::*;

    /// A daemon that answers one removal after the other with these statuses.
    async fn fake(statuses: &'static [u16]) -> (Fake, Arc<Remover>) {
        let next = AtomicUsize::new(0);
        let fake = Fake::start(move |_, _| {
            let status = statuses[next.fetch_add(1, Ordering::Relaxed)];
            Answer::Status(status, String::new())
        })
        .await;
        let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
        (fake, Remover::new(daemon, Arc::default()))
    }

    #[tokio::test]
    async fn a_dropped_guard_removes_with_force_and_with_volumes() {
        let (mut fake, remover) = fake(&[204]).await;
        let guard = remover.guard("oncebox-x-1".into());
        assert!(remover.knows("oncebox-x-1"));
        drop(guard);
        let calls = fake.until("DELETE").await;
        let parameters = calls[0].strip_prefix("DELETE /containers/oncebox-x-1?").unwrap();
        assert!(parameters.contains("force=true") && parameters.contains("v=true"), "{calls:?}");
    }

    #[tokio::test]
    async fn it_goes_on_until_the_container_is_gone() {
        let (mut fake, remover) = fake(&[500, 409, 503, 404, 204]).await;
        remover.discard("x".into()).await;
        assert!(!remover.knows("x"));
        assert_eq!(fake.heard().len(), 4);
    }

    /// What carries a file, and what another service has left, is no execution's container.
    #[tokio::test]
    async fn only_the_end_of_one_that_has_run_is_measured() {
        let (_fake, remover) = fake(&[204, 204, 204]).await;
        let measured = |count| {
            let line = format!("oncebox_phase_seconds_count{{phase=\"teardown\"}} {count}\n");
            remover.metrics.encode().contains(&line)
        };
        remover.discard("left".into()).await;
        let gone = async |guard: Guard| {
            let name = guard.name().to_owned();
            drop(guard);
            while remover.knows(&name) {
                tokio::task::yield_now().await;
            }
        };
        gone(remover.guard("carrier".into())).await;
        assert!(measured(0), "{}", remover.metrics.encode());
        let mut guard = remover.guard("ran".into());
        guard.started();
        gone(guard).await;
        assert!(measured(1), "{}", remover.metrics.encode());
    }

    /// A daemon whose container is in this state whenever it is asked.
    async fn dead(state: &'static str) -> (Fake, Box<dyn Hold>) {
        let fake = Fake::start(move |method, _| match method {
            "GET" => Answer::ok(&format!(r#"{{"Id":"1d","State":{state}}}"#)),
            _ => Answer::Status(204, String::new()),
        })
        .await;
        let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
        let hold = Box::new(Remover::new(daemon, Arc::default()).guard("x".into()));
        (fake, hold)
    }

    #[tokio::test]
    async fn only_a_kill_for_memory_is_called_one() {
        let table = [
            (r#"{"Running":false,"OOMKilled":true,"ExitCode":137}"#, Some(1)),
            (r#"{"Running":false,"OOMKilled":true,"ExitCode":0}"#, None),
            (r#"{"Running":false,"OOMKilled":false,"ExitCode":137}"#, None),
            ("null", None),
        ];
        for (state, kills) in table {
            let (mut fake, hold) = dead(state).await;
            let usage = hold.post_mortem().await;
            assert_eq!(usage.and_then(|usage| usage.oom_kills), kills, "{state}");
            fake.until("DELETE").await;
        }
    }

    /// A daemon that answers a change of limits with `status`, and has `memory` then.
    async fn limited(status: u16, memory: u64) -> (Vec<String>, Result<(), EngineError>) {
        let mut fake = Fake::start(move |method, _| match method {
            "POST" => Answer::Status(status, r#"{"message":"no"}"#.into()),
            "GET" => Answer::ok(
                &json!({
                    "Id": "1d",
                    "State": { "Running": true },
                    "HostConfig": {
                        "Memory": memory, "MemorySwap": memory, "PidsLimit": 64,
                        "CpuPeriod": 100_000, "CpuQuota": 50_000,
                    },
                })
                .to_string(),
            ),
            _ => Answer::Status(204, String::new()),
        })
        .await;
        let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
        let mut guard = Remover::new(daemon, Arc::default()).guard("x".into());
        let result = guard.limit(&spec()).await;
        (fake.heard(), result)
    }

    #[tokio::test]
    async fn limits_of_a_waiting_container_are_changed_and_read_back() {
        let (calls, result) = limited(200, spec().memory).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(calls, ["POST /containers/x/update", "GET /containers/x/json"]);
        let (_, result) = limited(200, 2 * spec().memory).await;
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::Make(_)), "{error}");
        assert!(error.to_string().contains("HostConfig.Memory 536870912, wanted"), "{error}");
        let (calls, result) = limited(500, spec().memory).await;
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::Make(_)), "{error}");
        assert_eq!(calls.len(), 1);
    }

    #[tokio::test]
    async fn a_container_that_runs_on_is_removed_when_patience_ends() {
        let (mut fake, hold) = dead(r#"{"Running":true}"#).await;
        let patience = Duration::from_millis(10);
        assert!(tokio::time::timeout(patience, hold.post_mortem()).await.is_err());
        fake.until("DELETE").await;
    }
}
