//! One request that others take for two (W16).

use serde_json::json;

use super::executions;
use crate::support::raw::EXECUTE;
use crate::support::{Engine, Raw, Service, host};

const BODY: &str = r#"{"script":"echo seen"}"#;

/// A whole request, to be hidden in another one.
fn hidden() -> String {
    format!("{EXECUTE}Content-Length: {}\r\n\r\n{BODY}", BODY.len())
}

/// What each is called, and the text up to the hidden request.
fn tries() -> Vec<(&'static str, String)> {
    let with = |headers: &str, rest: &str| format!("{EXECUTE}{headers}\r\n\r\n{rest}");
    let whole = format!("Content-Length: {}", BODY.len());
    let mut tries: Vec<_> = [
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("two encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("a list of encodings", "Transfer-Encoding: identity, chunked"),
        ("an unknown encoding", "Transfer-Encoding: xchunked"),
        ("an encoding behind a control character", "Transfer-Encoding: \u{b}chunked"),
        ("a header folded", "Transfer-Encoding:\r\n chunked"),
        ("a header folded by a tab", "X: y\r\n\tTransfer-Encoding: chunked"),
        ("a space before the colon", "Transfer-Encoding : chunked"),
        ("no encoding", "Transfer-Encoding: identity"),
    ]
    .map(|(name, headers)| (name, with(headers, "0\r\n\r\n")))
    .into();
    tries.extend(
        [
            ("a sign", "Content-Length: +5"),
            ("a negative length", "Content-Length: -5"),
            ("an exponent", "Content-Length: 5e0"),
            ("a hexadecimal length", "Content-Length: 0x5"),
            ("no length", "Content-Length: "),
            ("two lengths", "Content-Length: 5\r\nContent-Length: 5"),
            ("two lengths that differ", "Content-Length: 5\r\nContent-Length: 6"),
            ("a list of lengths", "Content-Length: 5, 5"),
            ("a length too large to count", "Content-Length: 18446744073709551616"),
        ]
        .map(|(name, headers)| (name, with(headers, "12345"))),
    );
    let line_feeds = with(&whole, BODY).replace("\r\n", "\n");
    let one = with(&format!("X: y\n{whole}"), BODY);
    let absolute = with(&whole, BODY).replace(" /execute", " http://elsewhere/execute");
    let old = with("Transfer-Encoding: chunked", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0");
    tries.extend([
        ("line feeds alone", line_feeds),
        ("one line feed alone", one),
        ("an absolute address", absolute),
        ("two hosts", with(&format!("Host: y\r\n{whole}"), BODY)),
        ("no host", with(&whole, BODY).replace("Host: x\r\n", "")),
        ("chunks in HTTP/1.0", old),
        ("a version that there is not", with(&whole, BODY).replace("HTTP/1.1", "HTTP/1.2")),
        ("a carriage return in a header", with(&format!("X: a\rb\r\n{whole}"), BODY)),
        ("a NUL in a header", with(&format!("X: a\0b\r\n{whole}"), BODY)),
    ]);
    tries
}

fn w16_what_others_read_differently_is_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    for (name, text) in tries() {
        let mut raw = Raw::to(&service);
        let answer = raw.say(text + &hidden()).answer();
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
        let problem = answer.refused();
        assert_eq!((problem.http(), problem.code()), (400, "malformed_request"), "{name}");
        assert_eq!(raw.end(), b"", "{name}: a second answer");
    }
    assert_eq!(executions(&service), before);
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}

/// A body that can't be read ends its request and its connection, and what follows is nobody's.
fn w16_broken_chunks_are_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    let size = format!("{:x}", BODY.len());
    for (name, chunks) in [
        ("no size", "zz\r\n".to_owned()),
        ("a sign", format!("+{size}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a prefix", format!("0x{size}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size too large to count", "ffffffffffffffff0\r\n".to_owned()),
        ("line feeds alone", format!("{size}\n{BODY}\n0\n\n")),
        ("a chunk longer than it says", format!("1\r\n{BODY}\r\n0\r\n\r\n")),
        ("a line feed in an extension", format!("{size};a\nb\r\n{BODY}\r\n0\r\n\r\n")),
    ] {
        let mut raw = Raw::to(&service);
        raw.say(format!("{EXECUTE}Transfer-Encoding: chunked\r\n\r\n{chunks}{}", hidden()));
        let problem = raw.answer().refused();
        assert_eq!((problem.http(), problem.code()), (400, "broken_body"), "{name}");
        assert_eq!(raw.end(), b"", "{name}: a second answer");
    }
    assert_eq!(executions(&service), before);
}

/// Without end there would be nothing that the cap on bodies counts.
fn w16_a_flood_around_a_body_is_cut_off(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    let extension = format!("1;{}", "x".repeat(1 << 20));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(1 << 17));
    let tiny = format!("{}0\r\n\r\n", "1;xxxxxxxxxxxxxxxxxxxxxxxx\r\n \r\n".repeat(1 << 15));
    for flood in [extension, trailers, tiny] {
        let mut raw = Raw::to(&service);
        raw.say(format!("{EXECUTE}Transfer-Encoding: chunked\r\n\r\n{flood}"));
        let problem = raw.answer().refused();
        assert_eq!((problem.http(), problem.code()), (400, "malformed_request"));
        assert_eq!(raw.end(), b"");
    }
    assert_eq!(executions(&service), before);
}

/// A body in a place where nobody expects one is a body all the same.
fn w16_a_body_is_never_a_request(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    let hidden = hidden();
    for (method, path, status) in
        [("GET", "/health", 200), ("POST", "/nowhere", 404), ("DELETE", "/execute", 405)]
    {
        let mut raw = Raw::to(&service);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
        raw.say(format!("{head}Content-Length: {}\r\n\r\n{hidden}", hidden.len()));
        assert_eq!(raw.answer().status, status, "{method} {path}");
        assert_eq!(raw.end(), b"", "{method} {path}");
        let mut raw = Raw::to(&service);
        let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        raw.say(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        assert_eq!(raw.answer().status, status, "{method} {path}");
        raw.leave();
    }
    // An upgrade that nobody here knows has no end but the connection's.
    let mut raw = Raw::to(&service);
    raw.say(format!("{EXECUTE}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n{hidden}"));
    raw.leave();
    assert_eq!(executions(&service), before);
}

/// Requests one behind the other on a connection are answered in their order.
fn pipelined_requests_are_answered_in_order(engine: Engine) {
    let service = Service::start(engine, &[]);
    let mut raw = Raw::to(&service);
    let scripts = ["sleep 0.2; printf 0", "printf 1", "printf 2"];
    for script in scripts {
        raw.execute("", json!({ "script": script }).to_string().as_bytes());
    }
    for number in 0..scripts.len() {
        assert_eq!(raw.answer().json()["stdout"], number.to_string());
    }
}

/// So many of them that the server's buffer is full would keep a processor busy until the first one
/// is answered.
fn a_flood_behind_a_request_is_cut_off(engine: Engine) {
    let service = Service::start(engine, &[]);
    let mut raw = Raw::to(&service);
    let mark = host::mark("30.");
    raw.execute("", json!({"script": format!("exec sleep {mark}")}).to_string().as_bytes());
    host::await_argument(&mark);
    raw.say("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8000));
    assert_eq!(raw.end(), b"");
}

on_one_engine! {
    together: w16_what_others_read_differently_is_refused, w16_broken_chunks_are_refused,
        w16_a_flood_around_a_body_is_cut_off, w16_a_body_is_never_a_request,
        pipelined_requests_are_answered_in_order, a_flood_behind_a_request_is_cut_off
}
