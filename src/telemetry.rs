//! Logs: one line per event, one name per thing, never a script's contents. Metrics are in
//! [`metrics`].

pub mod metrics;

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
    // What HTTP's says of what is no HTTP would be a line of an error's for anybody's typing error.
    let filter = EnvFilter::new(format!("{others},actix_http=off,oncebox={level}"));
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
