//! `POST /execute` with `Accept: text/event-stream`: the same execution, as it goes on.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::events::Event;
use crate::support::{Answer, Engine, Service, Shared, host, until};

/// Bytes of one stream, put together from its events, whose offsets must fit.
fn stream(events: &[Event], name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Event { data, .. } in events.iter().filter(|event| event.name == name) {
        assert_eq!(data["offset"], bytes.len(), "{name}");
        match (data["content"].as_str(), data["content_base64"].as_str()) {
            (Some(text), None) => bytes.extend_from_slice(text.as_bytes()),
            (None, Some(coded)) => bytes.extend(STANDARD.decode(coded).expect("base64")),
            _ => panic!("exactly one content: {data}"),
        }
    }
    bytes
}

fn names(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|event| &*event.name).collect();
    names.dedup();
    names
}

/// The last event, which is the answer as the plain way gives it.
fn answer(events: &[Event]) -> Answer {
    let last = events.last().expect("a last event");
    assert_eq!((&*last.name, &*last.id), ("result", "end"));
    Answer::read(last.data.clone())
}

fn output_comes_in_order_and_the_answer_is_the_same(engine: Engine) {
    let service = Shared::get(engine);
    // The guest reads two pipes, so an order there is only between what it can see apart.
    let script = "for i in 1 2 3; do echo out $i; sleep 0.3; echo err $i >&2; sleep 0.3; done";
    let request = json!({"script": script, "outputs": ["*.sh"]});
    let events: Vec<_> = service.follow(&request).collect();
    let expected =
        ["started", "stdout", "stderr", "stdout", "stderr", "stdout", "stderr", "result"];
    assert_eq!(names(&events), expected);
    let answer = answer(&events);
    assert_eq!(events[0].data, json!({"id": answer.0["id"]}));
    assert_eq!(stream(&events, "stdout"), answer.stdout());
    assert_eq!(answer.text(), "out 1\nout 2\nout 3\n");
    assert_eq!(String::from_utf8_lossy(&stream(&events, "stderr")), answer.stderr());
    let plain = service.run(&request);
    for same in ["stdout", "stderr", "exit_code", "status", "image", "image_digest", "files"] {
        assert_eq!(plain.0[same], answer.0[same], "{same}");
    }
}

/// What a script says is here before it ends.
fn output_is_there_while_the_script_runs(engine: Engine) {
    let service = Shared::get(engine);
    let mark = &host::mark("1618.03");
    let request = json!({"script": format!("echo first; sleep {mark}; echo last")});
    let mut events = service.follow(&request);
    assert_eq!(events.next().expect("an event").name, "started");
    let first = events.next().expect("an event");
    assert_eq!((&*first.name, &first.data["content"]), ("stdout", &json!("first\n")));
    host::signal(host::await_argument(mark), Signal::KILL);
    let rest: Vec<_> = events.collect();
    // The shell says on the other stream that its sleep was killed.
    let last = rest.iter().find(|event| event.name == "stdout").expect("output");
    assert_eq!(last.data, json!({"offset": 6, "content": "last\n"}));
    assert_eq!(answer(&rest).text(), "first\nlast\n");
}

/// Any bytes come as they were written, cut at the cap, and no text is cut within a character
/// otherwise.
fn any_bytes_come_as_they_are_written_up_to_the_cap(engine: Engine) {
    let service = Shared::get(engine);
    let script = r"
import os, sys
text = '\u00e9\u20ac\U0001f980'.encode() * 999
for byte in text[:200]: os.write(1, bytes([byte]))
os.write(1, text[200:])
os.write(2, bytes(range(256)) * 99)
";
    let request = json!({"script": script, "language": "python", "output_limit": 9000});
    let events: Vec<_> = service.follow(&request).collect();
    let answer = answer(&events);
    let text = "\u{e9}\u{20ac}\u{1f980}".repeat(999);
    assert_eq!(stream(&events, "stdout"), &text.as_bytes()[..text.len().min(9000)]);
    assert_eq!(stream(&events, "stderr").len(), 9000);
    assert_eq!(answer.0["stderr_truncated"], true);
    let cut = |event: &&Event| event.name == "stdout" && event.data["content"].is_null();
    assert_eq!(events.iter().filter(cut).count(), 0, "all of it is text");
}

/// Whatever ends a script early, what it said until then is there.
fn every_ending_has_its_answer(engine: Engine) {
    let service = Shared::get(engine);
    for (script, status) in [("echo x; sleep 60", "timed_out"), ("echo x; kill -9 $$", "signaled")]
    {
        let events: Vec<_> = service.follow(&json!({"script": script, "timeout": 1})).collect();
        assert_eq!(stream(&events, "stdout"), b"x\n");
        assert_eq!(answer(&events).status(), status);
    }
}

fn what_never_ran_has_its_status(engine: Engine) {
    let service = Shared::get(engine);
    let post = |request: Value| {
        service.send_events("/execute", &request).expect("an answer").status().as_u16()
    };
    assert_eq!(post(json!({"script": ""})), 400);
    assert_eq!(post(json!({"script": "x", "image": "localhost:1/none"})), 403);
}

/// A client that leaves takes its container along within a second.
fn a_client_that_leaves_cancels_the_run(engine: Engine) {
    let service = Service::start(engine, &[("POOL_SIZE", "0")]);
    let mark = &host::mark("1618.04");
    let mut events = service.follow(&json!({"script": format!("echo up; sleep {mark}")}));
    assert_eq!(events.by_ref().take(2).last().expect("two").name, "stdout");
    let script = host::await_argument(mark);
    let left = Instant::now();
    drop(events);
    until("the script to be gone", Duration::from_secs(20), || {
        host::proc(script, "cmdline").is_none_or(|line| line.is_empty()).then_some(())
    });
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    until("a line in the log", Duration::from_secs(5), || {
        service.log().contains("\"status\":\"cancelled\"").then_some(())
    });
}

/// A client that takes nothing of what it asked for holds no permit.
fn a_client_that_does_not_read_holds_nobody_up(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "0")];
    let service = Service::start(engine, &settings);
    let script = "i=0; while [ $i -lt 16384 ]; do echo 0123456789012345678901234567890123456789012345678901234567890; i=$((i+1)); done";
    let request = json!({"script": script, "output_limit": "16m"});
    let unread = service.send_events("/execute", &request).expect("an answer");
    let next = until("the permit to be free", Duration::from_secs(20), || {
        let reply = service.execute(&json!({"script": "echo next"}));
        (reply.http == 200).then(|| reply.ran())
    });
    assert_eq!(next.text(), "next\n");
    let events: Vec<_> = crate::support::events::Events::of(unread).collect();
    assert_eq!(stream(&events, "stdout"), answer(&events).stdout());
    assert_eq!(stream(&events, "stdout").len(), 16384 * 62);
}

on_both_engines! {
    together:
        output_comes_in_order_and_the_answer_is_the_same,
        output_is_there_while_the_script_runs,
        any_bytes_come_as_they_are_written_up_to_the_cap,
        every_ending_has_its_answer,
        what_never_ran_has_its_status,
        a_client_that_does_not_read_holds_nobody_up;
    alone:
        a_client_that_leaves_cancels_the_run
}
