//! `POST /execute`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::answer::Answer;
use super::dto::{Beyond, ExecuteRequest};
use super::events::Resume;
use super::executions::{self, Asks};
use super::follow::{Follower, begun};
use super::large::Pieces;
use super::problem::Problem;
use super::record::Watched;
use super::request_id::RequestId;
use super::{Door, access, body, events, large, multipart};
use crate::execution::Failure;
use crate::execution::admission::{BusyCode, Caller};
use crate::execution::live::Live;
use crate::execution::outcome::Outcome;
use crate::execution::request::Execution;
use crate::execution::runtime::Names;
use crate::execution::store::kept::AskedBy;
use crate::telemetry::{Trace, said};

/// Runs one script, and answers when it has ended or with its events. Dropped when the client
/// leaves, and the container is killed with it.
pub(super) async fn execute(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let inside = door.enter()?;
    let asks = Asks::read(&request, payload, &door, AskedBy::Execute).await?;
    if asks.is_keyed() {
        return executions::execute(&request, asks, door, inside).await;
    }
    let (execution, names) = asks.into_execution();
    let execution = door.executor.catalogue().resolve(&names, execution)?;
    let caller = access::caller(&request);
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let trace = request.extensions().get::<Trace>().copied().unwrap_or_default();
    let watched = Watched::begin(&door.executor, &execution, &caller, trace, request_id.clone());
    if events::wanted(&request) {
        return follow(execution, caller, door, request_id, watched, inside).await;
    }
    match door.executor.run(execution, &caller, &(), &door.cancel).await {
        Ok(outcome) => {
            watched.ended(&outcome).behind_the_answer();
            answer(outcome).await
        }
        Err(failure) => Err(watched.failed(told(failure))),
    }
}

/// Runs one script beside its events, so that a client that reads slowly holds nothing up but
/// itself.
async fn follow(
    execution: Execution,
    caller: Caller,
    door: web::Data<Door>,
    request_id: RequestId,
    watched: Watched,
    inside: TaskTrackerToken,
) -> Result<HttpResponse, Problem> {
    let (id, live) = (execution.id, Arc::new(Live::default()));
    let run = {
        let (door, live) = (door.clone(), Arc::clone(&live));
        async move {
            let _inside = inside;
            let run = door.executor.run(execution, &caller, &*live, &door.cancel);
            let ended = AssertUnwindSafe(run).catch_unwind().await;
            let ended = ended.unwrap_or_else(|panic| Err(Failure::Internal(said(&*panic))));
            let ended = ended.map_err(told);
            let line = match &ended {
                Ok(outcome) => Some(watched.ended(outcome)),
                Err(failure) => {
                    watched.failed(failure.clone());
                    None
                }
            };
            live.end(Arc::new(ended));
            drop(line);
        }
    };
    let run = AbortOnDropHandle::new(actix_web::rt::spawn(run));
    if let Some(Err(failure)) = begun(&live).await.as_deref() {
        return Err(Problem { logged: true, ..failure.clone().into() });
    }
    let follower = Follower::new(id, live, Resume::Start, door, request_id, run);
    Ok(events::response(follower.events()))
}

/// What ends an execution before its script runs, as long as its client waits, is the service's own
/// end.
fn told(failure: Failure) -> Failure {
    match failure {
        Failure::Cancelled => {
            Failure::Busy { code: BusyCode::Draining, retry_after: Duration::ZERO }
        }
        other => other,
    }
}

/// Reads what is to be run. The body itself is gone when this returns: an execution may wait long.
pub(super) async fn asked(
    request: &HttpRequest,
    payload: web::Payload,
    max_body: usize,
) -> Result<(Execution, Names, Beyond), Problem> {
    let encoding = Encoding::of(request)?;
    let body = body::read(request, payload, max_body).await?;
    match encoding {
        Encoding::Json => {
            let bytes = body.len();
            let read = move || ExecuteRequest::from_json(&body).and_then(ExecuteRequest::valid);
            large::work(bytes, read).await?
        }
        Encoding::Form => multipart::read(request.headers(), body).await?.valid(),
    }
}

pub(super) async fn answer(outcome: Outcome) -> Result<HttpResponse, Problem> {
    let json = large::work(outcome.size(), move || Answer::from(outcome).into_json()).await?;
    let json = json.map_err(|e| Problem::internal(format!("the answer: {e}")))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(Pieces::of(json)))
}

/// How the request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Json,
    Form,
}

impl Encoding {
    fn of(request: &impl HttpMessage) -> Result<Self, Problem> {
        let mime = request.mime_type().ok().flatten();
        let (essence, utf8) = mime.as_ref().map_or(("", false), |mime| {
            (mime.essence_str(), mime.get_param("charset").is_none_or(|charset| charset == "utf-8"))
        });
        match essence {
            "application/json" if utf8 => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Form),
            _ => Err(Problem::unsupported_media_type(
                "send application/json in UTF-8, or multipart/form-data",
            )),
        }
    }
}

/// The body of a request that takes nothing but JSON.
pub(super) async fn json_body(
    request: &HttpRequest,
    payload: web::Payload,
    max_body: usize,
) -> Result<Bytes, Problem> {
    if Encoding::of(request)? != Encoding::Json {
        return Err(Problem::unsupported_media_type("send application/json in UTF-8"));
    }
    body::read(request, payload, max_body).await
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn check(content_type: Option<&'static str>) -> Option<Encoding> {
        let mut request = TestRequest::post();
        if let Some(text) = content_type {
            request = request.insert_header(("content-type", text));
        }
        Encoding::of(&request.to_http_request()).ok()
    }

    #[test]
    fn only_the_two_encodings_are_read() {
        assert_eq!(check(Some("application/json")), Some(Encoding::Json));
        assert_eq!(check(Some("application/json; charset=UTF-8")), Some(Encoding::Json));
        assert_eq!(check(Some("multipart/form-data; boundary=x")), Some(Encoding::Form));
        for other in ["text/plain", "application/json; charset=utf-16", "json", "application/jsonx"]
        {
            assert_eq!(check(Some(other)), None, "{other}");
        }
        assert_eq!(check(None), None);
    }
}
