//! Clients that leave, at every stage of their request (W21).

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::{executions, sample};
use crate::support::{Engine, Raw, Service, host, until};

const AT_ONCE: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);

/// The log's line of a request whose client has left.
fn await_line(service: &Service, request_id: &str) {
    until("the line of a client that left", SOON, || {
        let log = service.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut own = lines.filter(|line| line["request_id"] == request_id);
        own.any(|line| line["status"] == "cancelled").then_some(())
    });
}

fn send(service: &Service, request_id: &str, request: &Value) -> Raw {
    let mut raw = Raw::to(service);
    raw.execute(&format!("X-Request-Id: {request_id}\r\n"), request.to_string().as_bytes());
    raw
}

/// It never runs, and its place in the queue is free.
fn w21_gone_while_it_waits(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "1"), ("QUEUE_TIMEOUT", "60")];
    let service = Service::start(engine, &settings);
    let mark = host::mark("21");
    let mut first = send(&service, "first", &json!({"script": format!("sleep {mark}")}));
    let held = host::await_argument(&mark);
    let before = executions(&service);
    for turn in ["second", "third"] {
        let waiting = send(&service, turn, &json!({"script": "echo never"}));
        until("it to wait", SOON, || {
            (sample(&service, "oncebox_queue_length") == 1.0).then_some(())
        });
        waiting.leave();
        until("its place to be free", AT_ONCE, || {
            (sample(&service, "oncebox_queue_length") == 0.0).then_some(())
        });
        await_line(&service, turn);
    }
    host::signal(held, rustix::process::Signal::KILL);
    assert_eq!(first.answer().json()["exit_code"], 137);
    assert_eq!(executions(&service), before + 1.0);
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}

/// A registry that never answers does not hold a place for somebody who has left.
fn w21_gone_while_its_image_is_pulled(engine: Engine) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let registry = silent.local_addr().expect("its address").to_string();
    let settings = [
        ("MAX_CONCURRENT", "1"),
        ("QUEUE_LIMIT", "0"),
        ("INSECURE_REGISTRIES", &*registry),
        ("CUSTOM_IMAGE_PULL_TIMEOUT", "60"),
    ];
    let service = Service::start(engine, &settings);
    let before = executions(&service);
    let pulling = send(
        &service,
        "pulling",
        &json!({"script": "echo never", "image": format!("{registry}/x")}),
    );
    // The registry is being asked.
    let (_asked, _) = silent.accept().expect("a question");
    pulling.leave();
    await_line(&service, "pulling");
    let next = service.run(&json!({"script": "echo next"}));
    assert_eq!(next.text(), "next\n");
    until("one execution", SOON, || (executions(&service) == before + 1.0).then_some(()));
}

/// Its container is gone within a second, and its permit is free.
fn w21_gone_while_it_runs(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "0")];
    let service = Service::start(engine, &settings);
    for (turn, leave) in [("killed", Raw::leave as fn(Raw)), ("dropped", drop)] {
        let mark = host::mark("21");
        let running = send(&service, turn, &json!({"script": format!("sleep {mark}")}));
        host::await_argument(&mark);
        leave(running);
        until("the end of the script nobody waits for", AT_ONCE, || {
            host::with_argument(&mark).is_empty().then_some(())
        });
        await_line(&service, turn);
        until("the permit", AT_ONCE, || {
            (service.execute(&json!({"script": "echo next"})).http == 200).then_some(())
        });
    }
    let cancelled = r#"oncebox_executions_total{status="cancelled"}"#;
    assert_eq!(sample(&service, cancelled), 2.0);
}

on_both_engines! {
    together: w21_gone_while_it_waits, w21_gone_while_its_image_is_pulled;
    alone: w21_gone_while_it_runs
}
