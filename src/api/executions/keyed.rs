//! `POST /execute` with an idempotency key: the same answer however often it is asked for.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Asks, REPLAYED, request_id};
use crate::api::events::Resume;
use crate::api::execute::answer;
use crate::api::follow::{Follower, begun};
use crate::api::{Door, Problem, events};
use crate::execution::live::End;

/// Waits with all others for the one execution. When the last of them has left, it is cancelled.
pub(in crate::api) async fn execute(
    request: &HttpRequest,
    asks: Asks,
    door: web::Data<Door>,
    inside: TaskTrackerToken,
) -> Result<HttpResponse, Problem> {
    let accepted = asks.accept(&door).await?;
    let (waiter, replayed) = (accepted.waiter, accepted.replayed);
    let request_id = request_id(request);
    let live = door.executions.live(&accepted.execution).await?;
    let ended = match events::wanted(request) {
        true => begun(&live).await,
        false => Some(live.ended().await),
    };
    let mut response = match ended.as_deref() {
        None => {
            let id = accepted.execution.head().id;
            let held = (inside, waiter);
            let follower = Follower::new(id, live, Resume::Start, door, request_id, held);
            events::response(follower.events())
        }
        Some(Ok(_)) => answer(outcome(ended)?).await?,
        // The log has had it once.
        Some(Err(failure)) if replayed => Problem::from(failure.clone()).respond(&request_id),
        // And so has the line of the execution.
        Some(Err(failure)) => {
            return Err(Problem { logged: true, ..failure.clone().into() });
        }
    };
    if replayed {
        let (name, value) = REPLAYED;
        let name = actix_web::http::header::HeaderName::from_static(name);
        let value = actix_web::http::header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Without copying it, where nobody else has it.
fn outcome(end: Option<End>) -> Result<crate::execution::outcome::Outcome, Problem> {
    let end = end.ok_or_else(|| Problem::internal("no end"))?;
    Ok(Arc::unwrap_or_clone(end)?)
}
