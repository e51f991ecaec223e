//! The answer of `POST /execute`: everything there is to say about a script that ran.

use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use oncebox_guest::wire::SkipReason;
use serde::{Serialize, Serializer};

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
    Base64(Base64),
}

#[derive(Debug, Serialize)]
enum Stderr {
    #[serde(rename = "stderr")]
    Text(String),
    #[serde(rename = "stderr_base64")]
    Base64(Base64),
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
    Base64(Base64),
}

/// Any bytes; they become base64 only on their way into the document.
#[derive(Debug)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

/// Room for everything in the document but contents.
const HEAD: usize = 1024;
/// The same for each file.
const FILE_HEAD: usize = 128;

impl Answer {
    /// The document, written once, into room that was made before.
    ///
    /// # Errors
    /// None that is known: the document is made of texts and numbers.
    pub(super) fn into_json(self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = Vec::with_capacity(self.room());
        serde_json::to_writer(&mut json, &self)?;
        Ok(json)
    }

    /// Bytes of the document. Texts take an eighth more than they are long, which is more than line
    /// ends need; one with more to escape makes the room grow.
    pub(super) fn room(&self) -> usize {
        let text = |text: &str| text.len() + text.len() / 8;
        let base64 = |Base64(bytes): &Base64| bytes.len().div_ceil(3) * 4;
        let file = |file: &File| match file {
            File::Kept { path, content: Content::Text(content), .. } => text(path) + text(content),
            File::Kept { path, content: Content::Base64(content), .. } => {
                text(path) + base64(content)
            }
            File::Skipped { path, .. } => text(path),
        };
        let stdout = match &self.stdout {
            Stdout::Text(stdout) => text(stdout),
            Stdout::Base64(stdout) => base64(stdout),
        };
        let stderr = match &self.stderr {
            Stderr::Text(stderr) => text(stderr),
            Stderr::Base64(stderr) => base64(stderr),
        };
        let files = self.files.iter().map(|f| FILE_HEAD + file(f)).sum::<usize>();
        HEAD + stdout + stderr + files
    }
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
            stdout: outcome
                .stdout
                .into_text()
                .map_or_else(|bytes| Stdout::Base64(Base64(bytes)), Stdout::Text),
            stderr: outcome
                .stderr
                .into_text()
                .map_or_else(|bytes| Stderr::Base64(Base64(bytes)), Stderr::Text),
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
                .map_or_else(|e| Content::Base64(Base64(e.into_bytes())), Content::Text),
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
    use base64::Engine as _;
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
    fn the_document_fits_into_the_room_made_for_it() {
        let lines = b"a line of text\n".repeat(10_000);
        let bytes = vec![0xff; 100_000];
        let kept = |bytes: &[u8]| Ok(ResultContent { bytes: bytes.to_vec(), executable: false });
        let file = |content| ResultFile { path: "a/path/of/usual/length.txt".into(), content };
        let answer = Answer::from(Outcome {
            stdout: captured(&lines, 1 << 30),
            stderr: captured(&bytes, 1 << 30),
            files: vec![file(kept(&lines)), file(kept(&bytes)), file(Err(SkipReason::TooLarge))],
            ..example()
        });
        let room = answer.room();
        let json = answer.into_json().expect("a document");
        assert_eq!(json.capacity(), room);
        assert!(json.len() > room * 9 / 10, "{} of {room}", json.len());
        let read: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(read["stdout"].as_str().map(str::as_bytes), Some(&*lines));
        assert_eq!(read["stderr_base64"], STANDARD.encode(&bytes));
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
