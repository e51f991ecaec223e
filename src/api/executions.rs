//! `POST` and `GET /executions`, `GET` and `DELETE /executions/{id}`, its events.

mod accept;
mod document;
mod keyed;
mod report;

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::events::{self, Resume};
use super::follow::Follower;
use super::large::{self, Pieces};
use super::request_id::RequestId;
use super::{Code, Door, Problem, access};
use crate::execution::background::Found;
use crate::execution::live::End;
use crate::execution::store::StoreError;
use crate::execution::store::kept::AskedBy;
use document::{ExecutionDocument, Page};

pub(super) use accept::Asks;
pub(super) use keyed::execute;
pub use report::Reports;

/// For one that is cancelled to end, so that the answer can say how.
const ENDING: Duration = Duration::from_secs(2);
/// Executions on a page.
const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;
/// Where the id stands in an address.
const PREFIX: &str = "/executions/";

/// Says that the answer is the one to an earlier request.
const REPLAYED: (&str, &str) = ("idempotent-replayed", "true");

pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let _inside = door.enter()?;
    let asks = Asks::read(&request, payload, &door, AskedBy::Executions).await?;
    let accepted = asks.accept(&door).await?;
    let id = accepted.execution.head().id;
    let body = document(&door, &accepted.execution).await?;
    let mut response = HttpResponse::Accepted();
    response.content_type("application/json").insert_header((LOCATION, format!("{PREFIX}{id}")));
    if accepted.replayed {
        response.insert_header(REPLAYED);
    }
    Ok(response.body(Pieces::of(body)))
}

pub(super) async fn describe(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let found = addressed(&request, &door).await?;
    answer(&door, &found).await
}

pub(super) async fn cancel(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let found = addressed(&request, &door).await?;
    door.executions.cancel(&found);
    if let Found::Live(_) = &found {
        let live = door.executions.live(&found).await?;
        let _ = timeout(ENDING, live.ended()).await;
    }
    answer(&door, &found).await
}

pub(super) async fn list(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let Asked { limit, after } = Asked::of(&request)?;
    let who = access::caller(&request).who;
    let (found, more) = door.executions.list(&who, after, limit).await?;
    let next = found.last().filter(|_| more).map(|last| last.head().id.to_string());
    let mut executions = Vec::with_capacity(found.len());
    for found in &found {
        executions.push(ExecutionDocument::without_result(found, ended(&door, found).await));
    }
    Ok(HttpResponse::Ok().json(Page { executions, next }))
}

pub(super) async fn events(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let inside = door.enter()?;
    let found = addressed(&request, &door).await?;
    let resume = Resume::asked(&request)?;
    if resume == Resume::Over {
        return Ok(HttpResponse::NoContent().finish());
    }
    let head = found.head();
    let live = door.executions.live(&found).await?;
    let request_id = RequestId::accept(&head.request_id).unwrap_or_default();
    let follower = Follower::new(head.id, live, resume, door, request_id, inside);
    Ok(events::response(follower.events()))
}

/// What the query says of a page.
struct Asked {
    limit: usize,
    after: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    limit: Option<String>,
    after: Option<String>,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let refused = |field, rule: String| Problem::field(Code::InvalidRequest, field, rule);
        let query = web::Query::<Query>::from_query(request.query_string()).map_err(|_| {
            let detail = "the query takes limit and after, each at most once";
            Problem::new(Code::InvalidRequest, detail)
        })?;
        let limit = query.limit.as_ref().map_or(Ok(USUAL_PAGE), |text| {
            let number = text.parse().ok().filter(|n| (1..=LARGEST_PAGE).contains(n));
            number.ok_or_else(|| {
                refused("limit", format!("write a whole number from 1 to {LARGEST_PAGE}"))
            })
        })?;
        let after = query.after.as_deref().map(|text| {
            id(text).ok_or_else(|| refused("after", "write the id of an execution".to_owned()))
        });
        Ok(Self { limit, after: after.transpose()? })
    }
}

/// An id just as we write it.
fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.to_string() == text)
}

/// The execution that the address names. Somebody else's is none.
async fn addressed(request: &HttpRequest, door: &Door) -> Result<Found, Problem> {
    let none =
        || Problem::new(Code::ExecutionNotFound, "there is no such execution, or it is not yours");
    let id = request.match_info().get("id").and_then(id).ok_or_else(none)?;
    let who = access::caller(request).who;
    door.executions.find(&who, id).await?.ok_or_else(none)
}

async fn answer(door: &Door, found: &Found) -> Result<HttpResponse, Problem> {
    let body = document(door, found).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(Pieces::of(body)))
}

/// All there is to say of it.
async fn document(door: &Door, found: &Found) -> Result<Vec<u8>, Problem> {
    let live = door.executions.live(found).await?;
    let end = live.look(|state| state.stage.end().cloned());
    let size = end.as_ref().and_then(|end| end.as_ref().as_ref().ok()).map_or(0, |o| o.size());
    let found = found.clone();
    let work = move || ExecutionDocument::whole(&found, end.as_deref()).into_json();
    large::work(size, work).await?.map_err(|e| Problem::internal(format!("the answer: {e}")))
}

/// How one ended of which that is known without reading it.
async fn ended(door: &Door, found: &Found) -> Option<End> {
    match found {
        Found::Live(_) => {
            let live = door.executions.live(found).await.ok()?;
            live.look(|state| state.stage.end().cloned())
        }
        Found::Kept(_) => None,
    }
}

fn request_id(request: &HttpRequest) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_default()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoRoom => {
                let detail = "there is no room to keep an execution; the operator's \
                              RESULT_STORE_SIZE or the disk sets that";
                Self::new(Code::NoSpace, detail)
            }
            StoreError::Failed(_) => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
