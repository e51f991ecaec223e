//! Logs: one line per event, one name per thing, never a script's contents. Metrics are in
//! [`metrics`]; which trace a request belongs to, in [`Trace`].

mod log;
pub mod metrics;
#[cfg(feature = "otel")]
pub mod otel;
mod trace;

use std::any::Any;
use std::io::IsTerminal;

use tracing::dispatcher::set_global_default;
use tracing::{Dispatch, Level};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
pub(crate) use log::{lost, stuck};
pub use trace::Trace;

/// Longest text of others' in a log line, in characters.
const MAX_TEXT: usize = 1000;

/// Starts logging to stderr. Later calls change nothing.
pub fn start(level: Level, format: LogFormat) {
    let color = std::io::stderr().is_terminal();
    // A second start happens only where tests share a process.
    let _ = set_global_default(lines(level, format, color, || log::Stderr));
}

/// What makes a line of an event.
pub(crate) fn lines<W>(level: Level, format: LogFormat, color: bool, to: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The crates below us say at most what is wrong.
    let others = level.min(Level::WARN);
    // What HTTP's says of what is no HTTP would be a line of an error's for anybody's typing error.
    let filter = EnvFilter::new(format!("{others},actix_http=off,oncebox={level}"));
    let all = tracing_subscriber::fmt().with_env_filter(filter).with_writer(to).with_target(false);
    match format {
        LogFormat::Text => all.with_ansi(color).finish().into(),
        LogFormat::Json => all.json().flatten_event(true).finish().into(),
    }
}

/// Begins to send spans of executions to the collector that the environment names. It starts
/// threads.
pub fn export() {
    #[cfg(feature = "otel")]
    otel::start();
}

/// Sends the spans that wait, within a few seconds.
pub async fn flush() {
    #[cfg(feature = "otel")]
    let _ = tokio::task::spawn_blocking(otel::stop).await;
}

/// Whether traces that begin here are sent anywhere.
fn keeps_traces() -> bool {
    #[cfg(feature = "otel")]
    return otel::exports();
    #[cfg(not(feature = "otel"))]
    false
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

/// What somebody said who panicked.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("no message"))
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
