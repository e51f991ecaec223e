//! The answer of `POST /execute`: everything there is to say about a script that ran.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oncebox_guest::wire::SkipReason;
use serde::Serialize;

use crate::engine::ResultFile;
use crate::execution::outcome::{LimitHit, Outcome};

/// The JSON document. Times are in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// UUIDv7 (RFC 9562).
    id: String,
    /// `completed`, `signaled`, `timed_out`, `out_of_memory` or `cancelled`.
    status: &'static str,
    /// It exited by itself with code 0.
    success: bool,
    /// The exit code, or 128 + signal.
    exit_code: u16,
    signal: Option<String>,
    #[serde(flatten)]
    stdout: Stdout,
    #[serde(flatten)]
    stderr: Stderr,
    /// Bytes written, those past the cap included.
    stdout_bytes: u64,
    stderr_bytes: u64,
    stdout_truncated: bool,
    stderr_truncated: bool,
    execution_time: f64,
    /// One sentence where the script did not end by itself.
    error: Option<String>,
    image: String,
    /// `null` for the image `host`.
    image_digest: Option<String>,
    limits_hit: Vec<&'static str>,
    usage: Usage,
    timings: Timings,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
enum Stdout {
    #[serde(rename = "stdout")]
    Text(String),
    #[serde(rename = "stdout_base64")]
    Base64(String),
}

#[derive(Debug, Serialize)]
enum Stderr {
    #[serde(rename = "stderr")]
    Text(String),
    #[serde(rename = "stderr_base64")]
    Base64(String),
}

/// `null` where the kernel has no such counter.
#[derive(Debug, Serialize)]
struct Usage {
    cpu_time: Option<f64>,
    max_memory_bytes: Option<u64>,
    max_pids: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Timings {
    queued: f64,
    prepared: f64,
    ran: f64,
}

/// A file that matched one of `outputs`: with its content, or with the reason why not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum File {
    Kept {
        path: String,
        size: usize,
        #[serde(flatten)]
        content: Content,
        executable: bool,
    },
    Skipped {
        path: String,
        /// `not_regular`, `too_large`, `too_many` or `unreadable`.
        skipped: &'static str,
    },
}

#[derive(Debug, Serialize)]
enum Content {
    #[serde(rename = "content")]
    Text(String),
    #[serde(rename = "content_base64")]
    Base64(String),
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self {
            id: outcome.id.to_string(),
            status: outcome.status.name(),
            success: outcome.success(),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            stdout_bytes: outcome.stdout.total,
            stderr_bytes: outcome.stderr.total,
            stdout_truncated: outcome.stdout.truncated(),
            stderr_truncated: outcome.stderr.truncated(),
            stdout: match outcome.stdout.text() {
                Some(text) => Stdout::Text(text.to_owned()),
                None => Stdout::Base64(STANDARD.encode(&outcome.stdout.bytes)),
            },
            stderr: match outcome.stderr.text() {
                Some(text) => Stderr::Text(text.to_owned()),
                None => Stderr::Base64(STANDARD.encode(&outcome.stderr.bytes)),
            },
            execution_time: seconds(outcome.execution_time),
            error: outcome.error,
            image: outcome.image,
            image_digest: outcome.image_digest,
            limits_hit: outcome.limits_hit.into_iter().map(LimitHit::name).collect(),
            usage: Usage {
                cpu_time: outcome.usage.cpu_time.map(seconds),
                max_memory_bytes: outcome.usage.max_memory_bytes,
                max_pids: outcome.usage.max_pids,
            },
            timings: Timings {
                queued: seconds(outcome.timings.queued),
                prepared: seconds(outcome.timings.prepared),
                ran: seconds(outcome.timings.ran),
            },
            files: outcome.files.into_iter().map(file).collect(),
        }
    }
}

fn file(ResultFile { path, content }: ResultFile) -> File {
    match content {
        Ok(kept) => File::Kept {
            path,
            size: kept.bytes.len(),
            content: String::from_utf8(kept.bytes)
                .map_or_else(|e| Content::Base64(STANDARD.encode(e.as_bytes())), Content::Text),
            executable: kept.executable,
        },
        Err(reason) => File::Skipped {
            path,
            skipped: match reason {
                SkipReason::NotRegular => "not_regular",
                SkipReason::TooLarge => "too_large",
                SkipReason::TooMany => "too_many",
                SkipReason::Unreadable => "unreadable",
            },
        },
    }
}

/// Whole microseconds: finer digits would be noise.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::ResultContent;
    use crate::execution::outcome::{self, Status};
    use crate::execution::output::Captured;

    fn captured(bytes: &[u8], total: u64) -> Captured {
        Captured { bytes: bytes.to_vec(), total }
    }

    fn example() -> Outcome {
        let kept = |bytes: &[u8]| Ok(ResultContent { bytes: bytes.to_vec(), executable: false });
        let file = |path: &str, content| ResultFile { path: path.into(), content };
        Outcome {
            id: Uuid::nil(),
            status: Status::Completed,
            exit_code: 0,
            signal: None,
            error: None,
            stdout: captured(b"hello\n", 6),
            stderr: captured(b"", 0),
            execution_time: Duration::from_nanos(1_234_567),
            image: "docker.io/library/alpine:latest".into(),
            image_digest: Some("sha256:00".into()),
            limits_hit: vec![],
            usage: outcome::Usage {
                cpu_time: Some(Duration::from_millis(1)),
                max_memory_bytes: Some(4096),
                max_pids: None,
            },
            timings: outcome::Timings::default(),
            files: vec![
                file("a.txt", kept(b"text")),
                file("b.bin", kept(b"\xff\x00")),
                file("c", Err(SkipReason::TooLarge)),
            ],
        }
    }

    #[test]
    fn a_success() {
        insta::assert_json_snapshot!(Answer::from(example()));
    }

    #[test]
    fn a_failure_with_cut_binary_output() {
        insta::assert_json_snapshot!(Answer::from(Outcome {
            status: Status::Signaled,
            exit_code: 139,
            signal: Some("SIGSEGV".into()),
            error: Some("The script was ended by SIGSEGV.".into()),
            stdout: captured(b"\xfe\xff", 4),
            limits_hit: vec![LimitHit::Memory, LimitHit::Pids, LimitHit::Tmp, LimitHit::Output],
            image_digest: None,
            files: vec![],
            ..example()
        }));
    }
}
