//! `GET /health`, `GET /ready` and `GET /metrics`.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Door, Problem};
use crate::execution::Failure;
use crate::pool::Waiting;
use crate::telemetry::metrics::CONTENT_TYPE;

/// The process answers; nothing more.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "alive" })
}

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// What makes the containers, and the proof that it does: 200 from when the pool was first full
/// until the service stops, else 503, and also as long as the engine does not answer.
pub(super) async fn ready(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    if door.is_draining() {
        return Err(Problem::draining());
    }
    let Waiting { containers: waiting, full, ready } = door.executor.pool().waiting();
    if !ready {
        return Err(Problem::pool_filling());
    }
    door.executor.engine().answers().await.map_err(Failure::from)?;
    let pool = PoolNow { waiting, full };
    let missing = door.executor.registry().missing().into_iter();
    let missing = missing.map(|(image, reason)| Missing { image: image.to_string(), reason });
    let images = ImagesNow { missing: missing.collect() };
    Ok(HttpResponse::Ok().json(Ready { readiness: &door.readiness, pool, images }))
}

/// Everything that is counted and measured, for Prometheus.
pub(super) async fn metrics(door: web::Data<Door>) -> HttpResponse {
    let metrics = door.executor.metrics();
    door.executions.measure(metrics);
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(metrics.encode())
}

/// The body of `GET /ready`.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready<'a> {
    #[serde(flatten)]
    readiness: &'a Readiness,
    pool: PoolNow,
    images: ImagesNow,
}

/// Containers made ahead.
#[derive(Serialize, ToSchema)]
struct PoolNow {
    waiting: usize,
    /// As many as the operator asked for, of every image.
    full: bool,
}

/// Images that the operator names.
#[derive(Serialize, ToSchema)]
struct ImagesNow {
    missing: Vec<Missing>,
}

/// One that is not here, or not yet; it holds nothing up.
#[derive(Serialize, ToSchema)]
struct Missing {
    image: String,
    reason: String,
}

/// What of `GET /ready` stays the same.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Readiness {
    /// `docker` or `native`.
    pub engine: String,
    /// Why this engine.
    pub reason: String,
    /// The image of a request that names none.
    pub image: String,
    pub canary: Canary,
}

/// A script that really ran on this engine when the service started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Canary {
    pub passed: bool,
    /// From the request for a permit to the answer.
    pub seconds: f64,
}
