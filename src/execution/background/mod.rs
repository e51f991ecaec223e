//! Executions that nobody has to wait for, and those whose answer is the same however often it is
//! asked for: accepted durably, run like any other, kept after their end.
//!
//! | | |
//! |---|---|
//! | [`accept`] | from a request to an execution that is written down, once for each idempotency key |
//! | [`task`] | one that has not ended, and whoever waits for it |
//! | [`run`] | its run, and what is kept of its end |
//! | [`find`] | from an id to what there is to say |
//! | [`recover`] | what an earlier life of the service has left |
//! | [`webhook`] | telling others of the end |

mod accept;
mod find;
mod recover;
mod run;
mod task;
pub mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use accept::{Accepted, Asked, Refused};
pub use find::{Found, Now};
pub use task::{Task, Waiter};
pub use webhook::{NoWebhook, WebhookOptions, Webhooks};

use super::admission::Caller;
use super::live::Stage;
use super::outcome::Outcome;
use super::request::Execution;
use super::store::keeper::Keeper;
use super::store::kept::{AskedBy, Head};
use super::store::{FileStore, Store};
use super::{Executor, Failure};
use crate::telemetry::metrics::Metrics;

/// Bytes of the requests that wait or run, at most: they are held in memory.
const MOST_BYTES: usize = 512 << 20;

/// How many executions may wait or run in the background.
#[derive(Debug, Clone)]
pub struct BackgroundOptions {
    pub max_background: usize,
    pub webhooks: Option<WebhookOptions>,
}

/// Says of executions what is the door's to say.
pub trait Reporter: Send + Sync + 'static {
    /// One begins to wait for its turn.
    fn watch(
        &self,
        executor: &Executor,
        head: &Head,
        execution: &Execution,
        caller: &Caller,
    ) -> Box<dyn Watch>;

    /// The document of one that has ended.
    ///
    /// # Errors
    /// What is wrong, for the log.
    fn document(&self, head: &Head, ended: &Result<Outcome, Failure>) -> Result<Vec<u8>, String>;
}

/// Is told how one ended.
pub trait Watch: Send {
    fn ended(self: Box<Self>, ended: &Result<Outcome, Failure>);
}

/// All executions that outlive the requests that asked for them.
pub struct Executions {
    executor: Arc<Executor>,
    keeper: Arc<Keeper>,
    reporter: Box<dyn Reporter>,
    max_background: usize,
    webhooks: Option<Webhooks>,
    /// Those that have not ended, and those whose end is being written down.
    tasks: Mutex<HashMap<Uuid, Arc<Task>>>,
    /// Keys under which something is being accepted, by owner, until it is.
    accepting: Mutex<HashMap<(String, String), CancellationToken>>,
    /// Counts the runs; closed once no more are taken.
    runs: TaskTracker,
    /// Cancelled with it.
    closing: CancellationToken,
    /// Where they run: not on the threads that speak HTTP.
    runtime: Handle,
}

impl Executions {
    /// Goes on with what is kept: what was interrupted is reported so or queued again. To be called
    /// on the runtime that executions shall run on.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn open(
        executor: Arc<Executor>,
        store: FileStore,
        reporter: Box<dyn Reporter>,
        options: BackgroundOptions,
    ) -> Result<Arc<Self>, String> {
        let executions = Self::new(executor, store, reporter, options)?;
        executions.recover().await.map_err(|e| e.to_string())?;
        if executions.webhooks.is_some() {
            executions.runtime.spawn(webhook::deliver(Arc::clone(&executions)));
        }
        Ok(executions)
    }

    /// The same where nothing is kept yet, and nobody is to be told anything.
    ///
    /// # Errors
    /// As [`Executions::open`].
    pub(crate) fn new(
        executor: Arc<Executor>,
        store: FileStore,
        reporter: Box<dyn Reporter>,
        options: BackgroundOptions,
    ) -> Result<Arc<Self>, String> {
        let BackgroundOptions { max_background, webhooks } = options;
        Ok(Arc::new(Self {
            executor,
            keeper: Arc::new(Keeper::start(Arc::new(store) as Arc<dyn Store>)?),
            reporter,
            max_background,
            webhooks: webhooks.map(Webhooks::new).transpose()?,
            tasks: Mutex::default(),
            accepting: Mutex::default(),
            runs: TaskTracker::new(),
            closing: CancellationToken::new(),
            runtime: Handle::current(),
        }))
    }

    /// Who writes what is kept.
    #[must_use]
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Where its webhooks may lead.
    #[must_use]
    pub fn webhooks(&self) -> Option<&Webhooks> {
        self.webhooks.as_ref()
    }

    /// Accepts no more. What waits is sent away by the executor.
    pub fn close(&self) {
        self.closing.cancel();
        self.runs.close();
    }

    /// Waits until nothing runs any more; only after [`Executions::close`].
    pub async fn idle(&self) {
        self.runs.wait().await;
    }

    /// How many have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.runs.len()
    }

    /// Ends what runs.
    pub fn stop(&self) {
        let tasks: Vec<_> = self.tasks().values().cloned().collect();
        tasks.iter().for_each(|task| task.cancel(task::Why::Stopped));
    }

    /// Writes down what is still to be written, and lets go of the store.
    pub async fn finish(&self) {
        self.keeper.close().await;
    }

    /// Says how much there is now.
    pub fn measure(&self, metrics: &Metrics) {
        let tasks: Vec<_> = self.tasks().values().cloned().collect();
        let (mut queued, mut running) = (0, 0);
        for task in tasks {
            task.live.look(|state| match state.stage {
                Stage::Accepted | Stage::Queued(_) => queued += 1,
                Stage::Running => running += 1,
                Stage::Ended(_) => {}
            });
        }
        metrics.background().now(queued, running, self.keeper.bytes());
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Task>>> {
        // Nothing panics while it holds the lock, and the map is whole between any two lines.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in, where there is room for it.
    fn admit(&self, task: &Arc<Task>) -> Result<(), Refused> {
        let mut tasks = self.tasks();
        let bytes: usize = tasks.values().map(|task| task.bytes).sum();
        let waiting = tasks.values().filter(|task| task.head.asked_by == AskedBy::Executions);
        let is_one = task.head.asked_by == AskedBy::Executions;
        if is_one && waiting.count() >= self.max_background || bytes + task.bytes > MOST_BYTES {
            return Err(Refused::TooMany);
        }
        tasks.insert(task.head.id, Arc::clone(task));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
