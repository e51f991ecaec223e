//! Heads of requests that no honest client sends (W17, W26, W27).

use std::time::{Duration, Instant};

use super::executions;
use crate::support::{Engine, Raw, Service, Shared};

/// In how long such a head is refused, at best: the tests beside this one use the machine as well.
fn refused_in(service: &Service, head: &str) -> (u16, Duration) {
    let once = || {
        let began = Instant::now();
        let mut raw = Raw::to(service);
        let http = raw.say(head).answer().refused().http();
        (u16::try_from(http).expect("a status"), began.elapsed())
    };
    [once(), once(), once()].into_iter().min_by_key(|(_, took)| *took).expect("three")
}

fn w17_a_large_head_is_refused(engine: Engine) {
    let service = Shared::get(engine);
    let head = |line: &str| format!("GET /health HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n");
    let many: Vec<_> = (0..1000).map(|n| format!("x-{n}: y")).collect();
    let uri = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(bytes));
    for (name, head, status) in [
        ("a header of 64 KiB", head(&format!("x: {}", "y".repeat(64 << 10))), 431),
        ("a header of 1 MiB", head(&format!("x: {}", "y".repeat(1 << 20))), 431),
        ("1,000 headers", head(&many.join("\r\n")), 431),
        ("a name of 64 KiB", head(&format!("{}: x", "y".repeat(64 << 10))), 431),
        ("an address of 16 KiB", uri(16 << 10), 414),
        ("an address of 64 KiB", uri(64 << 10), 431),
    ] {
        let (got, took) = refused_in(&service, &head);
        assert_eq!(got, status, "{name}");
        assert!(took <= Duration::from_millis(100), "{name}: {took:?}");
    }
    assert_eq!(Raw::to(&service).say(uri(8000)).answer().status, 404);
}

/// An id that is not harmless is replaced, and none stands twice in an answer.
fn w26_an_id_is_repeated_only_if_it_is_harmless(engine: Engine) {
    let service = Shared::get(engine);
    let long = "x".repeat(10 << 10);
    for id in [
        "a b",
        "a\tb",
        "%0d%0aX-Evil: 1",
        "\u{e9}",
        "\u{feff}a",
        "<script>",
        "'\"",
        "a;b",
        "a,b",
        "../a",
        "",
        &long,
        &"x".repeat(129),
    ] {
        let mut raw = Raw::to(&service);
        raw.say(format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n\r\n"));
        let answer = raw.answer();
        let given = answer.header("x-request-id").expect("an id");
        assert_ne!(given, id);
        let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!((1..=128).contains(&given.len()) && given.chars().all(harmless), "{given}");
        assert_eq!(answer.header("x-evil"), None);
    }
    let mut raw = Raw::to(&service);
    raw.say("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: Mine-1.2_3\r\n\r\n");
    assert_eq!(raw.answer().header("x-request-id"), Some("Mine-1.2_3"));
    // A line end in it is the end of the header, and what follows is another one, or nothing.
    let mut raw = Raw::to(&service);
    raw.say("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n\tb\r\n\r\n");
    assert_eq!(raw.answer().refused().http(), 400);
}

/// Only what is written as documented is there; nothing is put in order for the caller.
fn w27_other_methods_and_addresses_are_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    for (method, path, status) in [
        ("TRACE", "/execute", 405),
        ("TRACE", "/health", 405),
        ("CONNECT", "/execute", 405),
        ("CONNECT", "x:443", 404),
        ("GET", "/execute", 405),
        ("PUT", "/execute", 405),
        ("PATCH", "/execute", 405),
        ("DELETE", "/execute", 405),
        ("OPTIONS", "/execute", 405),
        ("post", "/execute", 405),
        ("POSTX", "/execute", 405),
        ("POST", "/health", 405),
        ("POST", "/metrics", 405),
        ("OPTIONS", "*", 404),
        ("POST", "//execute", 404),
        ("POST", "/execute/", 404),
        ("POST", "/EXECUTE", 404),
        ("POST", "/execute%2f", 404),
        ("POST", "/%2fexecute", 404),
        ("POST", "/execute%00", 404),
        ("POST", "/./execute", 404),
        ("POST", "/x/../execute", 404),
        ("POST", "/..%2fexecute", 404),
        ("POST", "/execute;x=1", 404),
        ("POST", "/execute.json", 404),
    ] {
        let mut raw = Raw::to(&service);
        raw.say(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        let answer = raw.answer();
        assert_eq!(answer.status, status, "{method} {path}");
        let allow = answer.header("allow");
        assert_eq!(allow.is_some(), status == 405, "{method} {path}: {allow:?}");
        if path == "/execute" {
            assert_eq!(allow, Some("POST"));
        }
    }
    assert_eq!(executions(&service), before);
}

on_one_engine! {
    together: w17_a_large_head_is_refused, w26_an_id_is_repeated_only_if_it_is_harmless,
        w27_other_methods_and_addresses_are_refused
}
