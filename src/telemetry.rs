//! Logs: one line per event, one name per thing, never a script's contents.

use std::io::IsTerminal;
use std::time::Duration;

use tracing::{Level, debug, error, info};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::api::Problem;
use crate::config::LogFormat;
use crate::execution::outcome::Outcome;

/// Longest text of others' in a log line, in characters.
const MAX_TEXT: usize = 1000;

/// Starts logging to stderr. Later calls change nothing.
pub fn start(level: Level, format: LogFormat) {
    // The crates below us say at most what is wrong.
    let others = level.min(Level::WARN);
    let filter = EnvFilter::new(format!("{others},oncebox={level}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start happens only where tests share a process.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Text of others on its way into a log line: one line, and not endless.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut clean: String = text.chars().take(MAX_TEXT).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        clean.push('…');
    }
    clean
}

/// With three digits after the point: finer ones would be noise.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A request that got no answer: loud where the fault is ours.
pub fn problem(request_id: &str, problem: &Problem) {
    let Problem { status, code, fault, .. } = problem;
    let status = status.as_u16();
    match fault {
        Some(fault) => error!(request_id, status, code, fault = clean(fault), "request failed"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_a_line_or_fills_the_disk() {
        assert_eq!(clean("a\r\nb\x1b[31m\"\0"), r#"a\r\nb\u{1b}[31m\"\0"#);
        assert_eq!(clean("plain"), "plain");
        let long = clean(&"x".repeat(1 << 20));
        assert_eq!(long.chars().count(), MAX_TEXT + 1);
    }
}
