use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tracing::Level;
use tracing::dispatcher::with_default;

use super::*;
use crate::api::testing::{Stage, executor};
use crate::config::LogFormat;
use crate::engine::{EngineError, ResultContent, ResultFile};
use crate::execution::admission::Allowance;
use crate::execution::language::Language;
use crate::execution::outcome::Usage;
use crate::execution::output::Captured;
use crate::execution::testing::{execution, file};
use crate::execution::{Failure, Rejection, RejectionCode};
use crate::telemetry::lines;

/// What must never be in a log: as script, stdin, value of the environment, arg, file and output.
const CANARY: &str = "canary-5b1e\r\n{\"level\":\"ERROR\"}\u{1b}[31m";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, at the most detailed level.
fn logged(format: LogFormat, act: impl FnOnce()) -> String {
    let log = Log::default();
    let to = log.clone();
    with_default(&lines(Level::TRACE, format, false, move || to.clone()), act);
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

/// The one line that an end makes, as JSON.
fn line(end: impl FnOnce(Watched)) -> Map<String, Value> {
    let watched = watched("ci");
    let text = logged(LogFormat::Json, || end(watched));
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {text}") };
    let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
    for changing in ["timestamp", "id"] {
        assert!(line.insert(changing.into(), json!("…")).is_some(), "{changing}");
    }
    line
}

fn watched(key: &str) -> Watched {
    let (stage, _running) = Stage::new();
    let mut asked = execution(CANARY);
    asked.stdin = Some(Bytes::from(CANARY));
    asked.files = vec![file("a", CANARY), file("b", CANARY)];
    asked.env = vec![("A".to_owned().try_into().unwrap(), CANARY.to_owned().try_into().unwrap())];
    asked.args = vec![CANARY.to_owned().try_into().unwrap()];
    asked.language = Some(Language::find("python").unwrap());
    let caller = Caller::with_key(key.into(), Arc::new(Allowance::default()));
    let trace = Trace::accept(TRACEPARENT).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let executor = executor(stage);
    let request_id = RequestId::accept("req-1").unwrap();
    Watched::begin(&executor, &asked, &caller, trace, request_id)
}

fn outcome() -> Outcome {
    let kept = ResultContent { bytes: CANARY.into(), executable: false };
    let millis = Duration::from_millis;
    Outcome {
        id: Uuid::nil(),
        status: Status::OutOfMemory,
        exit_code: 137,
        signal: Some("SIGKILL".into()),
        error: Some("The script needed more memory.".into()),
        stdout: Captured { bytes: CANARY.into(), total: 1 << 20 },
        stderr: Captured { bytes: CANARY.into(), total: 7 },
        execution_time: millis(40),
        image: "docker.io/library/python:3".into(),
        image_digest: Some("sha256:00".into()),
        runtime: None,
        limits_hit: vec![LimitHit::Memory, LimitHit::Output],
        usage: Usage::default(),
        timings: Timings { queued: millis(1), prepared: millis(2), ran: millis(40) },
        files: vec![ResultFile { path: CANARY.into(), content: Ok(kept) }],
    }
}

#[test]
fn the_line_of_an_execution_has_these_fields() {
    insta::assert_json_snapshot!(line(|watched| drop(watched.ended(&outcome()))));
}

#[test]
fn what_is_not_there_has_no_field() {
    let usual = Outcome {
        status: Status::Completed,
        signal: None,
        image_digest: None,
        limits_hit: vec![],
        files: vec![],
        ..outcome()
    };
    let line = line(|watched| drop(watched.ended(&usual)));
    for absent in ["signal", "digest", "limits_hit", "code", "fault"] {
        assert!(!line.contains_key(absent), "{absent} in {line:?}");
    }
    assert_eq!(line["files_out"], 0);
}

#[test]
fn a_script_that_did_not_run_has_a_line_as_well() {
    let lost = Failure::Engine(EngineError::Lost("daemon says no".into()));
    insta::assert_json_snapshot!(line(|watched| assert!(watched.failed(lost).logged)));
    let detail = "600 s is more than 300 s".to_owned();
    let code = RejectionCode::LimitExceeded;
    let refused = Failure::Rejected(Rejection { code, field: "timeout", detail });
    let line = line(|watched| drop(watched.failed(refused)));
    let [level, status, code] = ["level", "status", "code"].map(|name| &line[name]);
    assert_eq!([level, status, code], ["INFO", "refused", "limit_exceeded"]);
}

#[test]
fn a_client_that_leaves_is_in_the_log() {
    let line = line(drop);
    assert_eq!((&line["status"], &line["key"]), (&json!("cancelled"), &json!("ci")));
    assert!(!line.contains_key("exit_code"));
}

/// Ends of all kinds, with the worst of texts wherever there is one.
fn hostile() {
    let long = format!("{CANARY}{}", "\u{1b}x\r\n".repeat(1 << 18));
    let bad = long.replace("canary-5b1e", "worst");
    drop(watched(&bad).ended(&Outcome { image: bad.clone(), ..outcome() }));
    let lost = |watched: Watched| watched.failed(Failure::Engine(EngineError::Lost(bad.clone())));
    let lost = lost(watched(&bad));
    problem("req-2", &lost);
    drop(watched(&bad));
}

#[test]
fn w25_each_event_is_one_bounded_line_whatever_is_in_it() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let text = logged(format, hostile);
        // The lines of three executions' begin among them.
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("asked for")).collect();
        assert_eq!(lines.len(), 4, "{format:?}: {text}");
        for line in lines {
            assert!(line.len() < 32 * 1024, "{} bytes", line.len());
            assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
            if format == LogFormat::Json {
                let line: Map<String, Value> = serde_json::from_str(line).unwrap();
                assert!(line.contains_key("request_id"), "{line:?}");
            }
        }
    }
}

#[test]
fn i19_no_contents_are_logged_at_any_level() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let text = logged(format, hostile);
        assert!(!text.contains("canary"), "{text}");
    }
}
