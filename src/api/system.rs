//! `GET /health`, `GET /ready` and `GET /metrics`.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{Door, Problem};
use crate::telemetry::metrics::CONTENT_TYPE;

/// The process answers; nothing more.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "alive" })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// What makes the containers, and the proof that it does: 200 while requests are taken, 503 once
/// the service stops.
pub(super) async fn ready(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    if door.is_draining() {
        return Err(Problem::draining());
    }
    Ok(HttpResponse::Ok().json(&door.readiness))
}

/// Everything that is counted and measured, for Prometheus.
pub(super) async fn metrics(door: web::Data<Door>) -> HttpResponse {
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(door.executor.metrics().encode())
}

/// The body of `GET /ready`.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
pub struct Canary {
    pub passed: bool,
    /// From the request for a permit to the answer.
    pub seconds: f64,
}
