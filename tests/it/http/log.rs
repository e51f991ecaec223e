//! What strangers can do to the log (W25, I19), where the tests of [`observed`](crate::observed) do
//! not look: in the form for people, at the finest level, with what no HTTP client would send.

use std::time::Duration;

use serde_json::json;

use crate::support::{Engine, Raw, Service, until};

fn w25_every_event_is_one_line_for_people_too(engine: Engine) {
    let service = Service::start(engine, &[("LOG_FORMAT", "text"), ("LOG_LEVEL", "debug")]);
    let evil = "evil\u{1b}[31m\u{9b}2J\u{202e}\r\n2026-01-01T00:00:00Z ERROR forged";
    let long = "x".repeat(1 << 20);
    for text in [evil, &*long] {
        for (field, value) in [
            ("image", json!(text)),
            ("language", json!(text)),
            ("files", json!([{"path": text, "content": ""}])),
            (text, json!(1)),
        ] {
            service.refuse(&json!({"script": "x", field: value}));
        }
    }
    for bytes in [
        &b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"GET /evil\x9b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: evil\x9b31m\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nTraceparent: evil\x9b31m\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nUser-Agent: evil\x1b[31m\r\n\r\n",
        b"\x1b[31mevil\r\n\r\n",
        b"evil / HTTP/1.1\r\nHost: evil\x9b\r\n\r\n",
    ] {
        Raw::to(&service).say(bytes).answer();
    }
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
    let log = until("the last line", Duration::from_secs(5), || {
        Some(service.log()).filter(|log| log.contains("execution ended"))
    });
    for line in log.lines() {
        assert!(line.len() < 8 * 1024, "{} bytes: {line:.200}", line.len());
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        let (time, _) = line.split_once(' ').expect("a time and an event");
        let own = time.ends_with('Z') && !line.contains("ERROR");
        assert!(own, "not a line of the service's own: {line}");
    }
}

/// Whoever debugs a service does not learn what its callers run.
fn i19_no_contents_reach_the_finest_log(engine: Engine) {
    let canary = "canary-9e41c7";
    let service = Service::start(engine, &[("LOG_LEVEL", "trace")]);
    let body = json!({
        "script": format!("echo {canary}; cat; echo {canary} >&2; echo {canary} > out"),
        "stdin": canary, "args": [canary], "env": {"A": canary},
        "files": [{"path": canary, "content": canary}], "outputs": ["out"]
    });
    let headers = format!("Authorization: Bearer obx_{canary}\r\nCookie: {canary}\r\n");
    let mut raw = Raw::to(&service);
    assert_eq!(raw.execute(&headers, body.to_string().as_bytes()).answer().status, 200);
    let form = reqwest::blocking::multipart::Form::new()
        .text("script", format!("echo {canary}"))
        .text("env", format!("A={canary}"));
    assert_eq!(service.execute_form(form).http, 200);
    for wrong in [
        format!(r#"{{"script":"{canary}""#),
        format!(r#"{{"script":["{canary}"]}}"#),
        format!(r#"{{"script":"x","timeout":"{canary}"}}"#),
        format!(r#"{{"script_base64":"{canary}"}}"#),
        format!(r#"{{"script":"x","env":{{"A":"{canary}\u0000"}}}}"#),
    ] {
        let problem = Raw::to(&service).execute(&headers, wrong.as_bytes()).answer().refused();
        assert_eq!(problem.http(), 400);
        assert!(!problem.0.to_string().contains(canary), "{}", problem.0);
    }
    until("the lines of both", Duration::from_secs(5), || {
        (service.log().matches("execution ended").count() == 2).then_some(())
    });
    assert!(!service.log().contains(canary), "{}", service.log());
}

on_one_engine! {
    together: w25_every_event_is_one_line_for_people_too, i19_no_contents_reach_the_finest_log
}
