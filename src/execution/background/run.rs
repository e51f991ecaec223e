//! The run of one execution, and what is kept of its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::error;

use super::task::Why;
use super::{Executions, Task};
use crate::engine::EngineError;
use crate::execution::Failure;
use crate::execution::admission::{BusyCode, Caller, Place};
use crate::execution::live::End;
use crate::execution::observer::Observer;
use crate::execution::outcome::{Outcome, Status};
use crate::execution::request::Execution;
use crate::execution::store::kept::{AskedBy, Head, Webhook, pack_outcome};
use crate::execution::store::{Change, StoreError, now};
use crate::registry::ImageErrorKind;
use crate::telemetry::said;

/// Between two tries to write an end down that could not be written.
const AGAIN: Duration = Duration::from_secs(5);
/// An outcome from here on is packed beside the workers.
const LARGE: usize = 256 * 1024;

impl Executions {
    /// Runs it to its end, and writes that down. A panic ends nothing but this.
    pub(super) async fn run(&self, task: &Arc<Task>, execution: Execution, caller: Caller) {
        let watch = self.reporter.watch(&self.executor, &task.head, &execution, &caller);
        let begun = Begun { task, executions: self };
        let run = self.executor.run(execution, &caller, &begun, &task.cancelled);
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        let ended = ended.unwrap_or_else(|panic| Err(Failure::Internal(said(&*panic))));
        let ended = settled(task, ended);
        task.over();
        watch.ended(&ended);
        self.keep(task, ended).await;
        self.tasks().remove(&task.head.id);
    }

    /// Writes an end down, and tells it then. Where that fails, those who wait are told all the
    /// same, and it stays in memory until it can be written.
    async fn keep(&self, task: &Task, ended: Result<Outcome, Failure>) {
        if matches!(ended, Err(Failure::Interrupted)) && task.head.retry {
            // It waits for the next start.
            return task.live.end(Arc::new(ended));
        }
        let end: End = Arc::new(ended);
        let mut change = self.change(task, &end).await;
        let mut told = Some(end);
        loop {
            let error = match self.keeper.commit(change.clone()).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if let (StoreError::NoRoom, Change::End { body: body @ Some(_), head }) =
                (&error, &mut change)
            {
                let failure = Failure::NoRoom;
                (*body, head.failure) = (None, Some((&failure).into()));
                told = Some(Arc::new(Err(failure)));
                continue;
            }
            error!(id = %task.head.id, %error, "the end of an execution could not be kept yet");
            if let Some(end) = told.take() {
                task.live.end(end);
            }
            if self.closing.is_cancelled() {
                return;
            }
            // A stop is one more reason to try.
            let _ = self.closing.run_until_cancelled(sleep(AGAIN)).await;
        }
        if let Some(end) = told {
            task.live.end(end);
        }
        if let Some(webhooks) = self.webhooks.as_ref().filter(|_| task.head.webhook.is_some()) {
            webhooks.news();
        }
    }

    /// What is to be written of an end.
    async fn change(&self, task: &Task, end: &End) -> Change {
        let head = task.head();
        let unpacked = |error: StoreError| Some((&Failure::Internal(error.to_string())).into());
        let (failure, body) = match &**end {
            Err(Failure::Busy { .. }) if head.asked_by == AskedBy::Execute => {
                // Nothing was done, and whoever waits is told to come again.
                return Change::Forget(head.id);
            }
            Err(failure) => (Some(failure.into()), None),
            Ok(outcome) => match self.packed(task, outcome, end).await {
                Ok(body) => (None, Some(body)),
                Err(error) => (unpacked(error), None),
            },
        };
        let key = head.key.clone().filter(|_| !gives_key_back(end, task.why()));
        let webhook = head.webhook.clone().map(due_now);
        Change::End { head: Head { failure, key, webhook, ..head }, body }
    }

    async fn packed(
        &self,
        task: &Task,
        outcome: &Outcome,
        end: &End,
    ) -> Result<Vec<u8>, StoreError> {
        let turns = task.live.look(|state| {
            let mut transcript = state.transcript.clone();
            transcript.end();
            transcript.turns()
        });
        if outcome.size() < LARGE {
            return pack_outcome(outcome, turns);
        }
        let end = Arc::clone(end);
        let packed = tokio::task::spawn_blocking(move || match &*end {
            Ok(outcome) => pack_outcome(outcome, turns),
            Err(failure) => Err(StoreError::Failed(failure.to_string())),
        });
        packed.await.unwrap_or_else(|e| Err(StoreError::Failed(format!("packing: {e}"))))
    }
}

/// Its end has to be told, from now on.
pub(super) fn due_now(webhook: Webhook) -> Webhook {
    Webhook { due: Some(now()), ..webhook }
}

/// What the end of the service has ended is interrupted, whatever the run says of it.
fn settled(task: &Task, ended: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    let stopped = task.why() == Some(Why::Stopped);
    let waits_for_it = task.head.asked_by == AskedBy::Execute;
    match ended {
        Err(Failure::Busy { code: BusyCode::Draining, .. }) if !waits_for_it => {
            Err(Failure::Interrupted)
        }
        Err(Failure::Cancelled) if stopped => Err(Failure::Interrupted),
        Ok(Outcome { status: Status::Cancelled, .. }) if stopped => Err(Failure::Interrupted),
        other => other,
    }
}

/// What the caller has to change, and what passes by itself before anything was run, is no answer to
/// keep under a key. Nor is what was cancelled because nobody waited: whoever comes back wants it
/// run.
fn gives_key_back(ended: &Result<Outcome, Failure>, why: Option<Why>) -> bool {
    use ImageErrorKind as Kind;
    let left = why == Some(Why::Left);
    match ended {
        Ok(outcome) => left && outcome.status == Status::Cancelled,
        Err(Failure::Cancelled) => left,
        Err(Failure::Rejected(_) | Failure::Busy { .. }) => true,
        Err(Failure::Engine(error)) => {
            matches!(error, EngineError::FileRefused { .. } | EngineError::Unavailable(_))
        }
        Err(Failure::Image(error)) => matches!(
            error.kind,
            Kind::NotAllowed
                | Kind::NotFound
                | Kind::Unsupported
                | Kind::InUse
                | Kind::Unavailable
                | Kind::EngineAway
        ),
        Err(Failure::Interrupted | Failure::NoRoom | Failure::Internal(_)) => false,
    }
}

/// Follows one, and writes down that its script has begun where that may not happen too often.
struct Begun<'a> {
    task: &'a Task,
    executions: &'a Executions,
}

impl Observer for Begun<'_> {
    fn waits(&self, place: Place) {
        self.task.live.waits(place);
    }

    fn started(&self) {
        self.task.live.started();
        if self.task.begin() && self.task.head.retry {
            // The script does not wait for it.
            drop(self.executions.keeper.commit(Change::Begin(self.task.head.id)));
        }
    }

    fn stdout(&self, bytes: &[u8]) {
        self.task.live.stdout(bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.task.live.stderr(bytes);
    }
}
