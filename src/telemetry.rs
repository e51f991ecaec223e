//! Logs: one line per event, one name per thing, never a script's contents. Metrics are in
//! [`metrics`].

pub mod metrics;

use std::any::Any;
use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

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
