//! What the log says of a real service's requests: everything there is to know, and no contents.

use std::time::Duration;

use reqwest::blocking::RequestBuilder;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};

use crate::support::service::client;
use crate::support::{Engine, Service, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Every line of the log. The service writes nothing to it but JSON.
fn lines(service: &Service) -> Vec<Map<String, Value>> {
    let log = service.log();
    // A line that is just being written has no end yet.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    whole.lines().map(parse).collect()
}

/// The lines of executions, as soon as there are so many.
fn executions(service: &Service, count: usize) -> Vec<Map<String, Value>> {
    until("the lines of the executions", Duration::from_secs(10), || {
        let mut lines = lines(service);
        lines.retain(|line| line.contains_key("script_bytes"));
        assert!(lines.len() <= count, "{lines:?}");
        (lines.len() == count).then_some(lines)
    })
}

fn post(service: &Service, body: &Value) -> RequestBuilder {
    let client = client().build().expect("a client");
    client.post(format!("http://{}/execute", service.address())).json(body)
}

fn each_execution_is_one_line_of_the_log(engine: Engine) {
    let service = Service::start(engine, &[]);
    let body = json!({
        "script": "import sys; print(len(sys.stdin.read())); open('x', 'w').write('four')",
        "language": "python", "stdin": "123", "outputs": ["x"], "timeout": 20,
        "files": [{"path": "a", "content": "12345"}, {"path": "b", "content": ""}]
    });
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let request = post(&service, &body).header("traceparent", traceparent);
    let reply = request.header("x-request-id", "mine").send().expect("an answer");
    assert_eq!(reply.status().as_u16(), 200);
    let answer: Value = reply.json().expect("an answer");
    let [line] = &executions(&service, 1)[..] else { panic!("one line") };
    for (field, value) in [
        ("id", answer["id"].clone()),
        ("request_id", json!("mine")),
        ("trace_id", json!(TRACE)),
        ("image", answer["image"].clone()),
        ("language", json!("python")),
        ("timeout", json!(20.0)),
        ("status", json!("completed")),
        ("exit_code", json!(0)),
        ("script_bytes", json!(body["script"].as_str().map(str::len))),
        ("stdin_bytes", json!(3)),
        ("files_in", json!(2)),
        ("files_in_bytes", json!(5)),
        ("stdout_bytes", json!(2)),
        ("files_out", json!(1)),
        ("files_out_bytes", json!(4)),
    ] {
        assert_eq!(line.get(field), Some(&value), "{field} of {line:?}");
    }
    assert_eq!(line.get("digest"), answer.get("image_digest").filter(|digest| !digest.is_null()));
    assert!(!line.contains_key("key"), "{line:?}");

    service.refuse(&json!({"script": "x", "timeout": 1e6}));
    service.abandon(&json!({"script": "sleep 60"}), Duration::from_secs(1));
    let lines = executions(&service, 3);
    let status = |line: &Map<String, Value>| line["status"].as_str().map(str::to_owned);
    let statuses: Vec<_> = lines.iter().filter_map(status).collect();
    assert_eq!(statuses, ["completed", "refused", "cancelled"]);
    // Each in a trace of its own.
    assert_ne!(lines[1]["trace_id"], lines[2]["trace_id"]);
}

/// Canaries wherever a request has contents; its refusals must not repeat them either.
fn i19_no_contents_reach_the_log(engine: Engine) {
    let canary = "canary-2b9d14";
    let service = Service::start(engine, &[]);
    let body = json!({
        "script": format!("echo {canary}; echo {canary} >&2; echo {canary} > out-{canary}; exit 3"),
        "stdin": canary, "args": [canary], "env": {(canary.replace('-', "_")): canary},
        "files": [{"path": format!("{canary}.txt"), "content": canary}],
        "outputs": ["out-*"]
    });
    let authorized = |body: &Value| {
        let key = format!("Bearer obx_{canary}");
        post(&service, body).header("authorization", key).send().expect("an answer").status()
    };
    assert_eq!(authorized(&body).as_u16(), 200);
    for (field, value) in [
        ("env", json!({"A=B": canary})),
        ("files", json!([{"path": "../x", "content": canary}])),
        ("timeout", json!(1e6)),
        (canary, json!(canary)),
        ("script", json!([canary])),
    ] {
        let mut body = body.clone();
        body[field] = value;
        assert_eq!(authorized(&body).as_u16(), 400, "{field}");
    }
    service.execute_raw(format!("{{\"script\": \"{canary}\"")).refused();
    executions(&service, 2);
    assert!(!service.log().contains(canary), "{}", service.log());
    let text = service.get("/metrics").expect("an answer").body;
    assert!(!String::from_utf8(text).expect("text").contains(canary));
}

/// CR/LF, ANSI, quotes and a MiB, wherever a name of the caller's might be logged.
fn w25_every_event_is_one_bounded_line(engine: Engine) {
    let service = Service::start(engine, &[]);
    let evil = "evil\r\n{\"level\":\"ERROR\"}\u{1b}[31m\"";
    let long = evil.repeat(1 << 15);
    let header = |text: &str| {
        let text = text.replace(['\r', '\n'], " ");
        HeaderValue::from_bytes(&text.as_bytes()[..text.len().min(16 * 1024)]).ok()
    };
    for text in [evil, &long] {
        for (field, value) in [
            ("image", json!(text)),
            ("language", json!(text)),
            ("env", json!({(text): "x"})),
            ("files", json!([{"path": text, "content": ""}])),
            ("outputs", json!([text])),
            (text, json!(1)),
        ] {
            let body = json!({"script": "x", field: value});
            let mut request = post(&service, &body);
            for name in ["x-request-id", "user-agent", "traceparent", "x-forwarded-for"] {
                // What no HTTP client could send is tried by the tests of the door itself.
                if let Some(value) = header(&text.replace('\u{1b}', "")) {
                    request = request.header(name, value);
                }
            }
            let status = request.send().expect("an answer").status().as_u16();
            assert!((200..500).contains(&status), "{field:.20}: {status}");
        }
    }
    service.run(&json!({"script": "echo still well"}));
    executions(&service, 1).first().expect("a line");
    for line in service.log().lines() {
        assert!(line.len() < 32 * 1024, "{} bytes", line.len());
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
    lines(&service);
}

on_both_engines! {
    together: ; native: each_execution_is_one_line_of_the_log, i19_no_contents_reach_the_log,
        w25_every_event_is_one_bounded_line
}
