//! What the log says of a request: one line each, never its contents.

use std::time::Duration;

use tracing::{debug, error, info};
use uuid::Uuid;

use super::Problem;
use crate::execution::outcome::Outcome;
use crate::telemetry::clean;

/// With three digits after the point: finer ones would be noise.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A request that got no answer: loud where the fault is ours.
pub fn problem(request_id: &str, problem: &Problem) {
    let (status, code) = (problem.status().as_u16(), problem.code.name());
    let ours = problem.status().is_server_error();
    match problem.fault.as_deref().map(clean) {
        Some(fault) if ours => error!(request_id, status, code, fault, "request failed"),
        Some(fault) => info!(request_id, status, code, fault, "request refused"),
        None => info!(request_id, status, code, "request refused"),
    }
}

/// An execution until it has its one line in the log. Dropped without it, the client has left.
pub struct Watched {
    id: Uuid,
    request_id: String,
    open: bool,
}

impl Watched {
    pub fn begin(id: Uuid, request_id: String) -> Self {
        debug!(%id, request_id, "execution asked for");
        Self { id, request_id, open: true }
    }

    pub fn ended(mut self, outcome: &Outcome) {
        self.open = false;
        info!(
            id = %outcome.id,
            request_id = self.request_id,
            image = clean(&outcome.image),
            digest = outcome.image_digest.as_deref().unwrap_or("none"),
            status = outcome.status.name(),
            exit_code = outcome.exit_code,
            stdout_bytes = outcome.stdout.total,
            stderr_bytes = outcome.stderr.total,
            queued_ms = milliseconds(outcome.timings.queued),
            prepared_ms = milliseconds(outcome.timings.prepared),
            ran_ms = milliseconds(outcome.timings.ran),
            "execution ended"
        );
    }

    /// The script did not run; the problem has a line of its own.
    pub fn refused(mut self) {
        self.open = false;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.open {
            info!(
                id = %self.id,
                request_id = self.request_id,
                status = "cancelled",
                "the client left before the execution ended"
            );
        }
    }
}
