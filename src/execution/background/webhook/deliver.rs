//! When webhooks are sent, and sent again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::execution::background::{Executions, Found};
use crate::execution::store::kept::{Head, Webhook};
use crate::execution::store::{Change, StoreError, now};
use crate::internet::jittered;
use crate::telemetry::metrics::Delivery;
use crate::telemetry::{Trace, clean};

/// How many are sent at once.
const AT_ONCE: usize = 16;
/// After the first failure; three times as long with each.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20 * 60);
/// From the end of an execution to the last try.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two looks at the store, at most.
const LOOK: Duration = Duration::from_secs(60);
/// For a store that could not write down what was sent: it would be sent again and again.
const TROUBLE: Duration = Duration::from_secs(30);

/// Those that are on their way.
type Flying = Arc<Mutex<HashSet<Uuid>>>;

/// Sends what is due, until the service stops. What is on its way then is sent again by the next
/// start.
pub(in super::super) async fn deliver(executions: Arc<Executions>) {
    let Some(webhooks) = executions.webhooks.as_ref() else { return };
    let flying = Flying::default();
    loop {
        let pause = match start(&executions, &flying).await {
            Ok(next) => next.map_or(LOOK, |next| {
                Duration::from_millis(next.saturating_sub(now()).saturating_add(1)).min(LOOK)
            }),
            Err(error) => {
                warn!(%error, "the webhooks that are due are not known");
                LOOK
            }
        };
        tokio::select! {
            () = executions.closing.cancelled() => return,
            () = webhooks.news.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Starts those that are due; when the next one is.
async fn start(executions: &Arc<Executions>, flying: &Flying) -> Result<Option<u64>, StoreError> {
    let due = executions.keeper.read(|store| store.due(2 * AT_ONCE)).await?;
    for (time, id) in due {
        if time > now() {
            return Ok(Some(time));
        }
        {
            let mut flying = flying.lock().unwrap_or_else(PoisonError::into_inner);
            if flying.len() >= AT_ONCE {
                // One that arrives makes news.
                return Ok(None);
            }
            if !flying.insert(id) {
                continue;
            }
        }
        let (executions, landing) = (Arc::clone(executions), Landing(Arc::clone(flying), id));
        tokio::spawn(async move {
            let closing = executions.closing.clone();
            closing.run_until_cancelled(one(&executions, id)).await;
            drop(landing);
            if let Some(webhooks) = &executions.webhooks {
                webhooks.news();
            }
        });
    }
    Ok(None)
}

/// One of those that are on their way.
struct Landing(Flying, Uuid);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

async fn one(executions: &Executions, id: Uuid) {
    if let Err(error) = try_once(executions, id).await {
        warn!(%id, %error, "a webhook could not be looked after");
        sleep(TROUBLE).await;
    }
}

async fn try_once(executions: &Executions, id: Uuid) -> Result<(), StoreError> {
    let head = executions.keeper.read(move |store| store.head(id)).await?;
    let (Some(webhooks), Some(head)) = (&executions.webhooks, head) else {
        // It has become too old meanwhile.
        return executions.keeper.commit(Change::Forget(id)).await;
    };
    let Some(Webhook { url, tries, .. }) = head.webhook.clone() else { return Ok(()) };
    let tries = tries.saturating_add(1);
    let sent = match document(executions, &head).await {
        Ok(document) => {
            let trace = head.trace.as_deref().and_then(Trace::read);
            let traceparent = trace.map(|trace| trace.header());
            webhooks.send(&url, id, traceparent.as_deref(), document).await
        }
        Err(why) => Err(why),
    };
    let due = match &sent {
        Ok(()) => None,
        Err(_) => again(head.ended.unwrap_or_default(), tries, now()),
    };
    let delivery = match (&sent, due) {
        (Ok(()), _) => Delivery::Delivered,
        (Err(_), Some(_)) => Delivery::Failed,
        (Err(_), None) => Delivery::GivenUp,
    };
    match &sent {
        Ok(()) => debug!(%id, tries, "webhook delivered"),
        Err(why) => warn!(%id, tries, cause = clean(why), "webhook not delivered"),
    }
    executions.executor.metrics().background().webhook(delivery);
    executions.keeper.commit(Change::Tried(id, Webhook { url, tries, due })).await
}

async fn document(executions: &Executions, head: &Head) -> Result<Vec<u8>, String> {
    let live = executions.live(&Found::Kept(Box::new(head.clone()))).await;
    let end = live.map_err(|e| e.to_string())?.ended().await;
    executions.reporter.document(head, &end)
}

/// When to try again after so many failures; `None` when it is time to give up.
pub(super) fn again(ended: u64, tries: u32, now: u64) -> Option<u64> {
    let pause = PAUSE.saturating_mul(3_u32.saturating_pow(tries.saturating_sub(1)));
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let due = now.saturating_add(millis(jittered(pause.min(LONGEST_PAUSE))));
    (due < ended.saturating_add(millis(PATIENCE))).then_some(due)
}
