//! The door: translates HTTP, decides nothing about execution.

pub mod access;
mod answer;
mod body;
mod code;
pub(crate) mod connection;
mod docs;
pub(crate) mod dto;
pub(crate) mod events;
mod execute;
mod executions;
mod fields;
mod follow;
pub(crate) mod images;
mod languages;
mod large;
mod measure;
mod multipart;
mod openapi;
mod problem;
mod record;
mod request_id;
pub(crate) mod runtimes;
mod system;
mod watch;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, web};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use answer::Answer;
pub use code::Code;
pub use connection::serve;
pub use executions::Reports;
pub(crate) use languages::Languages;
pub use measure::measure;
pub use problem::Problem;
pub use request_id::{RequestId, middleware};
pub use system::{Canary, Readiness};
pub(crate) use watch::watch;

use access::Access;

use crate::config::Naming;
use crate::execution::Executor;
use crate::execution::background::Executions;
use crate::execution::runtime::Runtimes;
use crate::telemetry::said;

/// What the handlers share.
pub struct Door {
    /// Who may come in.
    pub access: Arc<Access>,
    pub executor: Arc<Executor>,
    pub executions: Arc<Executions>,
    pub runtimes: Arc<Runtimes>,
    pub readiness: Readiness,
    /// What the names of images in addresses mean.
    pub naming: Naming,
    /// A place for each client that waits for a pull.
    pub pulls: Arc<Semaphore>,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Ends every running execution, for those still running at the drain deadline.
    pub cancel: CancellationToken,
    /// Counts the requests inside; closed once no more are taken.
    pub inside: TaskTracker,
}

impl Door {
    /// Counts a request in, until the token is dropped.
    ///
    /// # Errors
    /// 503 once the service stops.
    fn enter(&self) -> Result<TaskTrackerToken, Problem> {
        let token = self.inside.token();
        // Asked after the count, so that whoever closes and then waits can't miss a request.
        if self.is_draining() { Err(Problem::draining()) } else { Ok(token) }
    }

    fn is_draining(&self) -> bool {
        self.inside.is_closed()
    }
}

/// Every address there is.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/execute")
                .route(web::post().to(async |request, payload, door| {
                    guarded(execute::execute(request, payload, door)).await
                }))
                .default_service(web::to(post_only)),
        )
        .service(get("/languages", languages::list))
        .service(
            web::resource("/executions")
                .route(web::post().to(async |request, payload, door| {
                    guarded(executions::create(request, payload, door)).await
                }))
                .route(web::get().to(guarded_executions))
                .route(web::head().to(guarded_executions))
                .default_service(web::to(list_or_post)),
        )
        .service(execution("/executions/{id}"))
        .service(
            web::resource("/executions/{id}/events")
                .route(
                    web::get()
                        .to(async |request, door| guarded(executions::events(request, door)).await),
                )
                .default_service(web::to(events_only)),
        )
        .service(get("/images", guarded_list))
        .service(
            // `pull` is also a name that an image may have.
            image("/images/pull").route(web::post().to(async |request, payload, door| {
                guarded(images::pull(request, payload, door)).await
            })),
        )
        .service(image("/images/{reference:.+}"))
        .service(
            web::resource("/runtimes")
                .route(web::post().to(async |request, payload, door| {
                    guarded(runtimes::register(request, payload, door)).await
                }))
                .route(web::get().to(runtimes::list))
                .route(web::head().to(runtimes::list))
                .default_service(web::to(list_or_post)),
        )
        .service(runtime("/runtimes/{name}"))
        .service(get("/health", system::health))
        .service(get("/ready", system::ready))
        .service(get("/metrics", system::metrics))
        .service(get("/openapi.json", openapi::get))
        .service(get("/docs", docs::page))
        .service(get("/docs/{file}", docs::file))
        .default_service(web::to(nowhere));
}

/// What can only be got.
fn get<Args: FromRequest + 'static>(
    path: &str,
    handler: impl Handler<Args, Output: Responder + 'static>,
) -> Resource {
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(get_only))
}

/// What any image's address knows.
fn image(path: &str) -> Resource {
    let describe = async |request, door| guarded(images::describe(request, door)).await;
    let remove = async |request, door| guarded(images::remove(request, door)).await;
    web::resource(path)
        .route(web::get().to(describe))
        .route(web::head().to(describe))
        .route(web::delete().to(remove))
        .default_service(web::to(image_only))
}

/// What any execution's address knows.
fn execution(path: &str) -> Resource {
    let describe = async |request, door| guarded(executions::describe(request, door)).await;
    let cancel = async |request, door| guarded(executions::cancel(request, door)).await;
    web::resource(path)
        .route(web::get().to(describe))
        .route(web::head().to(describe))
        .route(web::delete().to(cancel))
        .default_service(web::to(get_or_delete))
}

/// What any runtime's address knows.
fn runtime(path: &str) -> Resource {
    let describe = async |request, door| guarded(runtimes::describe(request, door)).await;
    let remove = async |request, door| guarded(runtimes::remove(request, door)).await;
    web::resource(path)
        .route(web::get().to(describe))
        .route(web::head().to(describe))
        .route(web::delete().to(remove))
        .default_service(web::to(get_or_delete))
}

async fn guarded_executions(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    guarded(executions::list(request, door)).await
}

async fn guarded_list(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    guarded(images::list(door)).await
}

/// A panic ends its own request and nothing else.
async fn guarded(
    handler: impl Future<Output = Result<HttpResponse, Problem>>,
) -> Result<HttpResponse, Problem> {
    let ended = AssertUnwindSafe(handler).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(Problem::internal(format!("a handler {}", said(&*panic)))))
}

async fn post_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method(), "POST"))
}

async fn get_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method(), "GET, HEAD"))
}

async fn list_or_post(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method(), "GET, HEAD, POST"))
}

async fn get_or_delete(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method(), "GET, HEAD, DELETE"))
}

async fn events_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(request.method(), "GET"))
}

async fn image_only(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let allow = match request.path() {
        "/images/pull" => "POST, GET, HEAD, DELETE",
        _ => "GET, HEAD, DELETE",
    };
    Err(Problem::method_not_allowed(request.method(), allow))
}

async fn nowhere() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}

/// What is read of a body with these headers, for those who write one.
#[cfg(test)]
pub(crate) async fn reading(
    headers: &actix_web::http::header::HeaderMap,
    body: bytes::Bytes,
) -> Result<(crate::execution::request::Execution, crate::execution::runtime::Names), Problem> {
    let content_type = headers.get(actix_web::http::header::CONTENT_TYPE);
    match content_type.is_some_and(|value| value.as_bytes().starts_with(b"multipart/")) {
        true => multipart::read(headers, body).await?.valid(),
        false => dto::ExecuteRequest::from_json(&body)?.valid(),
    }
    .map(|(execution, names, _)| (execution, names))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
