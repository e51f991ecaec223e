//! What the service answers, checked against the documented shape as it is read.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Every field of an answer, in the order of the alphabet; `stdout` and `stderr` are replaced by
/// `stdout_base64` and `stderr_base64` where the bytes are no UTF-8.
const FIELDS: &[&str] = &[
    "error",
    "execution_time",
    "exit_code",
    "files",
    "id",
    "image",
    "image_digest",
    "limits_hit",
    "signal",
    "status",
    "stderr",
    "stderr_bytes",
    "stderr_truncated",
    "stdout",
    "stdout_bytes",
    "stdout_truncated",
    "success",
    "timings",
    "usage",
];
const USAGE: &[&str] = &["cpu_time", "max_memory_bytes", "max_pids"];
const TIMINGS: &[&str] = &["prepared", "queued", "ran"];
const STATUSES: &[&str] = &["completed", "signaled", "timed_out", "out_of_memory", "cancelled"];
const LIMITS: &[&str] = &["memory", "pids", "tmp", "output"];

/// An answer of any kind, unread.
#[derive(Debug)]
pub struct Reply {
    pub http: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The answer to a script that ran.
    #[track_caller]
    pub fn ran(self) -> Answer {
        assert_eq!(self.http, 200, "{}", String::from_utf8_lossy(&self.body));
        Answer::read(serde_json::from_slice(&self.body).expect("an answer is JSON"))
    }

    /// The answer to a request that did not run.
    #[track_caller]
    pub fn refused(self) -> Problem {
        let body: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)));
        assert!(self.http >= 400, "{body}");
        assert_eq!(self.content_type, "application/problem+json", "{body}");
        assert_eq!(body["status"], self.http, "{body}");
        assert_eq!(body["success"], false, "{body}");
        for field in ["type", "title", "code", "detail", "request_id", "error"] {
            let text = body[field].as_str();
            assert!(text.is_some_and(|t| !t.is_empty()), "{field} is missing in {body}");
        }
        if matches!(self.http, 429 | 503) {
            let seconds = self.retry_after.as_deref().and_then(|s| s.parse::<u32>().ok());
            assert!(seconds.is_some(), "{} without Retry-After: {body}", self.http);
        }
        Problem(body)
    }
}

/// The answer to a script that ran.
#[derive(Debug)]
pub struct Answer(pub Value);

impl Answer {
    /// Reads an answer as documented.
    #[track_caller]
    pub fn read(body: Value) -> Self {
        let keys = keys(&body);
        // It is there where the request has named one.
        let documented: Vec<String> = keys
            .iter()
            .filter(|key| *key != "runtime")
            .map(|k| k.strip_suffix("_base64").unwrap_or(k).to_owned())
            .collect();
        assert_eq!(documented, FIELDS, "{body}");
        assert_eq!(self::keys(&body["usage"]), USAGE, "{body}");
        assert_eq!(self::keys(&body["timings"]), TIMINGS, "{body}");
        let answer = Self(body);
        assert!(STATUSES.contains(&answer.status()), "{}", answer.0);
        assert!(answer.limits_hit().iter().all(|l| LIMITS.contains(l)), "{}", answer.0);
        let success = answer.status() == "completed" && answer.exit_code() == 0;
        assert_eq!(answer.0["success"], success, "{}", answer.0);
        for stream in ["stdout", "stderr"] {
            let shown = answer.stream(stream).len() as u64;
            let total = answer.0[format!("{stream}_bytes")].as_u64().expect("a byte count");
            let truncated = answer.0[format!("{stream}_truncated")].as_bool().expect("a flag");
            assert_eq!(truncated, total > shown, "{stream} in {}", answer.0);
        }
        for time in ["queued", "prepared", "ran"] {
            assert!(answer.0["timings"][time].as_f64().is_some_and(|t| t >= 0.0), "{}", answer.0);
        }
        let id = answer.0["id"].as_str().and_then(|id| uuid::Uuid::parse_str(id).ok());
        assert_eq!(id.map(|id| id.get_version_num()), Some(7), "{}", answer.0);
        answer
    }

    pub fn status(&self) -> &str {
        self.0["status"].as_str().expect("a status")
    }

    pub fn exit_code(&self) -> i64 {
        self.0["exit_code"].as_i64().expect("an exit code")
    }

    pub fn signal(&self) -> Option<&str> {
        self.0["signal"].as_str()
    }

    /// The bytes of stdout, whichever field carries them.
    pub fn stdout(&self) -> Vec<u8> {
        self.stream("stdout")
    }

    /// Stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout()).expect("text")
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stream("stderr")).into_owned()
    }

    fn stream(&self, name: &str) -> Vec<u8> {
        match (self.0[name].as_str(), self.0[format!("{name}_base64")].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(coded)) => {
                let bytes = STANDARD.decode(coded).expect("base64");
                assert!(std::str::from_utf8(&bytes).is_err(), "base64 for what is UTF-8: {name}");
                bytes
            }
            _ => panic!("exactly one of {name} and {name}_base64: {}", self.0),
        }
    }

    pub fn limits_hit(&self) -> Vec<&str> {
        let hit = self.0["limits_hit"].as_array().expect("a list");
        hit.iter().map(|l| l.as_str().expect("a word")).collect()
    }

    /// Seconds from the script's start to its end.
    pub fn execution_time(&self) -> Duration {
        Duration::from_secs_f64(self.0["execution_time"].as_f64().expect("seconds"))
    }

    /// Seconds before the script was started.
    pub fn waited(&self) -> Duration {
        ["queued", "prepared"]
            .map(|t| Duration::from_secs_f64(self.0["timings"][t].as_f64().expect("seconds")))
            .iter()
            .sum()
    }
}

/// A problem document (RFC 9457).
#[derive(Debug)]
pub struct Problem(pub Value);

impl Problem {
    pub fn http(&self) -> u64 {
        self.0["status"].as_u64().expect("a status")
    }

    pub fn code(&self) -> &str {
        self.0["code"].as_str().expect("a code")
    }

    /// The path of the field that must change.
    pub fn field(&self) -> &str {
        self.0["field"].as_str().unwrap_or_default()
    }

    pub fn detail(&self) -> &str {
        self.0["detail"].as_str().expect("a sentence")
    }
}

fn keys(object: &Value) -> Vec<String> {
    let mut keys: Vec<String> = object.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    keys
}
