//! From a request to an execution that is written down.

use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Executions, Found, Task, Waiter};
use crate::execution::Rejection;
use crate::execution::admission::Caller;
use crate::execution::request::Execution;
use crate::execution::runtime::Names;
use crate::execution::store::kept::{AskedBy, Head, Key, Webhook, pack_names, pack_request};
use crate::execution::store::{Change, StoreError, now};

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Without what its names mean.
    pub execution: Execution,
    pub names: Names,
    pub caller: Caller,
    pub asked_by: AskedBy,
    pub request_id: String,
    pub trace: String,
    /// Run it again when the service ended first.
    pub retry: bool,
    /// The idempotency key.
    pub key: Option<String>,
    /// Where the end is to be told, allowed by [`Webhooks::allow`](super::Webhooks::allow).
    pub webhook: Option<String>,
}

/// What becomes of it.
#[derive(Debug)]
pub struct Accepted {
    pub execution: Found,
    /// For one that is asked for by somebody who waits, and has not ended.
    pub waiter: Option<Waiter>,
    /// It had been asked for before, under the same key.
    pub replayed: bool,
}

/// Why nothing comes of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("as many executions as may wait in the background do")]
    TooMany,
    #[error("the key was used for another request")]
    Conflict,
    #[error("the service is stopping")]
    Closing,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Executions {
    /// Accepts an execution, durably, and has it run; or finds the one that was accepted before
    /// under the same key.
    ///
    /// # Errors
    /// [`Refused`]; nothing is kept of it then.
    pub async fn accept(self: &Arc<Self>, asked: Asked) -> Result<Accepted, Refused> {
        if self.closing.is_cancelled() {
            return Err(Refused::Closing);
        }
        let Some(key) = asked.key.clone() else { return self.begin(asked, None).await };
        let owner = asked.caller.who.to_string();
        let key = Key { fingerprint: fingerprint(&asked).await?, key };
        loop {
            // One at a time under one key: the others find what the first has made of it.
            let held = match self.hold(&owner, &key.key) {
                Ok(held) => held,
                Err(other) => {
                    other.cancelled().await;
                    continue;
                }
            };
            let Some(execution) = self.keyed(&owner, &key.key).await? else {
                return self.begin(asked, Some(key)).await;
            };
            if execution.head().key.is_some_and(|kept| kept.fingerprint != key.fingerprint) {
                return Err(Refused::Conflict);
            }
            let Found::Live(task) = &execution else {
                return Ok(Accepted { execution, waiter: None, replayed: true });
            };
            if task.head.asked_by == AskedBy::Executions {
                return Ok(Accepted { execution, waiter: None, replayed: true });
            }
            if let Some(waiter) = task.wait() {
                return Ok(Accepted { execution, waiter: Some(waiter), replayed: true });
            }
            // Nobody waited for it any more; its key comes back with its end.
            let live = Arc::clone(&task.live);
            drop(held);
            live.ended().await;
        }
    }

    async fn begin(self: &Arc<Self>, asked: Asked, key: Option<Key>) -> Result<Accepted, Refused> {
        let Asked { execution, names, caller, asked_by, request_id, trace, retry, webhook, .. } =
            asked;
        // What names mean now is what runs, whatever they mean by then.
        let mut execution = self.executor.catalogue().resolve(&names, execution)?;
        // So are its limits: whoever runs it after a restart does not know what the key allowed.
        execution.limits = self.executor.check(&execution, &caller)?.into();
        let head = Head {
            id: execution.id,
            owner: caller.who.to_string(),
            concurrency: Some(caller.concurrency()).filter(|most| *most < usize::MAX),
            request_id,
            trace: Some(trace),
            asked_by,
            created: now(),
            retry,
            key,
            webhook: webhook.map(|url| Webhook { url, tries: 0, due: None }),
            ..Head::default()
        };
        let caller = match asked_by {
            AskedBy::Executions => caller.in_background(),
            AskedBy::Execute => caller,
        };
        let request = retry.then(|| pack_request(&execution)).transpose()?;
        let task = Arc::new(Task::new(head.clone(), size(&execution)));
        let waiter = match asked_by {
            AskedBy::Execute => task.wait(),
            AskedBy::Executions => None,
        };
        let count = self.runs.token();
        // Asked after the count, so that whoever closes and then waits can't miss one.
        if self.closing.is_cancelled() {
            return Err(Refused::Closing);
        }
        self.admit(&task)?;
        let (tell, told) = oneshot::channel();
        let (executions, own) = (Arc::clone(self), Arc::clone(&task));
        // What is written down is run, even when nobody is left to be told that it is.
        self.runtime.spawn(async move {
            let _count = count;
            let change = Change::Accept { head, request };
            let written = executions.keeper.commit(change).await;
            let is_written = written.is_ok();
            let _ = tell.send(written);
            if is_written {
                executions.run(&own, execution, caller).await;
            } else {
                executions.tasks().remove(&own.head.id);
            }
        });
        told.await.map_err(|_| StoreError::Failed("nobody wrote it".into()))??;
        Ok(Accepted { execution: Found::Live(task), waiter, replayed: false })
    }

    /// Takes a key for as long as something is accepted under it.
    fn hold(&self, owner: &str, key: &str) -> Result<Held<'_>, CancellationToken> {
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        match accepting.entry((owner.to_owned(), key.to_owned())) {
            Entry::Occupied(other) => Err(other.get().clone()),
            Entry::Vacant(place) => {
                let key = place.key().clone();
                place.insert(CancellationToken::new());
                Ok(Held { executions: self, key })
            }
        }
    }
}

/// A key under which something is being accepted.
struct Held<'a> {
    executions: &'a Executions,
    key: (String, String),
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let accepting = &self.executions.accepting;
        let mut accepting = accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(others) = accepting.remove(&self.key) {
            others.cancel();
        }
    }
}

/// What two requests that mean the same have in common: not how they are written, and not their ids.
async fn fingerprint(asked: &Asked) -> Result<Vec<u8>, StoreError> {
    let (execution, webhook) = (asked.execution.clone(), asked.webhook.clone());
    let names = asked.names.clone();
    let (asked_by, retry) = (asked.asked_by, asked.retry);
    let hash = move || {
        let mut hash = Sha256::new();
        hash.update([asked_by as u8, u8::from(retry)]);
        hash.update(webhook.unwrap_or_default());
        // No address holds this byte, so that nothing of it can stand for the request's own.
        hash.update([0xff]);
        // By its names, and not by what they mean: that may change, and the request is the same.
        if !names.is_empty() {
            hash.update(pack_names(&names)?);
        }
        hash.update(pack_request(&execution)?);
        Ok(hash.finalize().to_vec())
    };
    if size(&asked.execution) < 256 * 1024 {
        return hash();
    }
    let hashed = tokio::task::spawn_blocking(hash).await;
    hashed.unwrap_or_else(|e| Err(StoreError::Failed(format!("hashing: {e}"))))
}

/// Bytes of what came with it.
pub(super) fn size(execution: &Execution) -> usize {
    let files: usize = execution.files.iter().map(|file| file.content.len()).sum();
    execution.script.len() + execution.stdin.as_ref().map_or(0, bytes::Bytes::len) + files
}
