//! What an earlier life of the service has left: nothing of it is lost, and nothing runs twice that
//! does not want to.

use std::sync::Arc;

use tracing::{info, warn};
use uuid::Uuid;

use super::accept::size;
use super::run::due_now;
use super::{Executions, Task};
use crate::execution::Failure;
use crate::execution::admission::{Allowance, Caller, Who};
use crate::execution::request::Execution;
use crate::execution::store::kept::{Head, unpack_request};
use crate::execution::store::{Change, StoreError, now};

/// How often a script is begun at the most: it may be what ends the service.
const TRIES: u32 = 3;

impl Executions {
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), StoreError> {
        let pending = self.keeper.read(|store| store.pending()).await?;
        let mut ended = Vec::new();
        let mut again = 0;
        for id in pending {
            match self.left(id).await? {
                Left::Nothing => {}
                Left::ToRun(left) => {
                    again += 1;
                    let (head, execution, caller) = *left;
                    let task = Arc::new(Task::new(head, size(&execution)));
                    self.tasks().insert(id, Arc::clone(&task));
                    let executions = Arc::clone(self);
                    let run = async move { executions.run(&task, execution, caller).await };
                    self.runs.spawn_on(run, &self.runtime);
                }
                Left::Interrupted(head) => {
                    let failure = Some((&Failure::Interrupted).into());
                    let webhook = head.webhook.clone().map(due_now);
                    let head = Head { ended: Some(now()), failure, webhook, ..*head };
                    ended.push(self.keeper.commit(Change::End { head, body: None }));
                }
            }
        }
        let interrupted = ended.len();
        for written in ended {
            written.await?;
        }
        if interrupted + again > 0 {
            info!(interrupted, again, "executions were left by an earlier start");
        }
        Ok(())
    }

    async fn left(&self, id: Uuid) -> Result<Left, StoreError> {
        let read = self.keeper.read(move |store| Ok((store.head(id)?, store.request(id)?)));
        let (head, request) = read.await?;
        let Some(head) = head else { return Ok(Left::Nothing) };
        let request = request.filter(|_| head.retry && head.tries < TRIES);
        let execution = request.map(|request| unpack_request(id, &request)).transpose();
        let execution = execution.unwrap_or_else(|error| {
            warn!(%id, %error, "an execution can't be run again");
            None
        });
        Ok(match (execution, caller(&head)) {
            (Some(execution), Some(caller)) => Left::ToRun(Box::new((head, execution, caller))),
            _ => Left::Interrupted(Box::new(head)),
        })
    }
}

enum Left {
    Nothing,
    ToRun(Box<(Head, Execution, Caller)>),
    Interrupted(Box<Head>),
}

/// Its owner, who was held to everything else when it was accepted.
fn caller(head: &Head) -> Option<Caller> {
    let who = head.owner.parse::<Who>().ok()?;
    let allowance = Allowance { concurrency: head.concurrency, ..Allowance::default() };
    Some(Caller { who, allowance: Some(Arc::new(allowance)), ..Caller::SERVICE }.in_background())
}
