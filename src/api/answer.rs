//! The answer of `POST /execute`: everything there is to say about a script that ran.

use std::borrow::Cow;
use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use oncebox_guest::wire::SkipReason;
use serde::{Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::openapi::fields as schema;
use crate::engine::ResultFile;
use crate::execution::outcome::{LimitHit, Outcome};

/// The JSON document. Times are in seconds, sizes in bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    description = "What is to say about a script that ran. Times are in seconds, sizes in bytes."
)]
pub(crate) struct Answer {
    /// UUIDv7 (RFC 9562).
    #[schema(format = Uuid)]
    id: String,
    #[schema(schema_with = schema::status)]
    status: &'static str,
    /// It exited by itself with code 0.
    success: bool,
    /// The exit code, or 128 + signal.
    exit_code: u16,
    /// `SIGKILL` and the like; `null` where it exited.
    #[schema(required = true)]
    signal: Option<String>,
    #[serde(flatten)]
    stdout: Stdout,
    #[serde(flatten)]
    stderr: Stderr,
    /// Bytes written, those past the cap included.
    stdout_bytes: u64,
    /// As `stdout_bytes`.
    stderr_bytes: u64,
    /// Output past `output_limit` was cut off; the script went on.
    stdout_truncated: bool,
    /// As `stdout_truncated`.
    stderr_truncated: bool,
    /// From the script's start to its end.
    #[schema(minimum = 0)]
    execution_time: f64,
    /// One sentence where the script did not end by itself.
    #[schema(required = true)]
    error: Option<String>,
    /// What it ran in.
    image: String,
    /// `null` for the image `host`.
    #[schema(required = true)]
    image_digest: Option<String>,
    /// The runtime that the request has named; absent where it has named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    runtime: Option<String>,
    #[schema(schema_with = schema::limits_hit)]
    limits_hit: Vec<&'static str>,
    usage: Usage,
    timings: Timings,
    /// What `outputs` asked for.
    files: Vec<File>,
}

/// Text, or base64 where the bytes are not UTF-8.
#[derive(Debug, Serialize, ToSchema)]
enum Stdout {
    #[serde(rename = "stdout")]
    Text(String),
    #[serde(rename = "stdout_base64")]
    Base64(#[schema(inline)] Base64<'static>),
}

/// Text, or base64 where the bytes are not UTF-8.
#[derive(Debug, Serialize, ToSchema)]
enum Stderr {
    #[serde(rename = "stderr")]
    Text(String),
    #[serde(rename = "stderr_base64")]
    Base64(#[schema(inline)] Base64<'static>),
}

/// What it used; `null` where the kernel has no such counter.
#[derive(Debug, Serialize, ToSchema)]
struct Usage {
    #[schema(required = true, minimum = 0)]
    cpu_time: Option<f64>,
    #[schema(required = true)]
    max_memory_bytes: Option<u64>,
    #[schema(required = true)]
    max_pids: Option<u64>,
}

/// Where the time went.
#[derive(Debug, Serialize, ToSchema)]
struct Timings {
    /// Until it might run.
    #[schema(minimum = 0)]
    queued: f64,
    /// Until its container was ready.
    #[schema(minimum = 0)]
    prepared: f64,
    /// Until it had ended.
    #[schema(minimum = 0)]
    ran: f64,
}

/// A file that matched one of `outputs`: with its content, or with the reason why not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResultFile)]
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
        #[schema(schema_with = schema::skipped)]
        skipped: &'static str,
    },
}

/// Text, or base64 where the bytes are not UTF-8.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResultContent)]
enum Content {
    #[serde(rename = "content")]
    Text(String),
    #[serde(rename = "content_base64")]
    Base64(#[schema(inline)] Base64<'static>),
}

/// Any bytes; they become base64 only on their way into the document.
#[derive(Debug)]
pub(super) struct Base64<'a>(pub(super) Cow<'a, [u8]>);

impl PartialSchema for Base64<'_> {
    fn schema() -> RefOr<Schema> {
        schema::base64().into()
    }
}

impl ToSchema for Base64<'_> {}

impl Serialize for Base64<'_> {
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
    pub(crate) fn into_json(self) -> Result<Vec<u8>, serde_json::Error> {
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
                .map_or_else(|bytes| Stdout::Base64(Base64(bytes.into())), Stdout::Text),
            stderr: outcome
                .stderr
                .into_text()
                .map_or_else(|bytes| Stderr::Base64(Base64(bytes.into())), Stderr::Text),
            execution_time: seconds(outcome.execution_time),
            error: outcome.error,
            image: outcome.image,
            image_digest: outcome.image_digest,
            runtime: outcome.runtime,
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
                .map_or_else(|e| Content::Base64(Base64(e.into_bytes().into())), Content::Text),
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
            runtime: None,
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
            runtime: None,
            files: vec![],
            ..example()
        }));
    }
}
