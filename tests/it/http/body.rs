//! Bodies that no honest client sends (W07, W08, W10, W11).

use std::time::{Duration, Instant};

use serde_json::json;

use super::executions;
use crate::support::raw::EXECUTE;
use crate::support::{Engine, Problem, Raw, Service};

const MEBIBYTE: usize = 1 << 20;

#[track_caller]
fn refused(service: &Service, body: impl AsRef<[u8]>) -> Problem {
    Raw::to(service).execute("", body.as_ref()).answer().refused()
}

/// The body is refused as soon as it is known to be too large, and not read to its end.
fn w07_a_body_that_is_too_large_is_refused_at_once(engine: Engine) {
    let service = Service::start(engine, &[("MAX_BODY", "1m")]);
    let mut raw = Raw::to(&service);
    let began = Instant::now();
    raw.say(format!("{EXECUTE}Content-Length: {}\r\n\r\n", 1 << 30));
    let answer = raw.answer();
    assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.refused().code(), "body_too_large");

    let mut raw = Raw::to(&service);
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    raw.say(format!("{EXECUTE}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..16 {
        raw.say(&chunk);
    }
    let began = Instant::now();
    let problem = raw.say(&chunk).answer().refused();
    assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!((problem.http(), problem.code()), (413, "body_too_large"));
    // Whoever goes on and on does not keep his connection by it.
    let began = Instant::now();
    while raw.try_say(&chunk) {
        assert!(began.elapsed() < Duration::from_secs(20), "it reads without end");
    }
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}

fn w07_an_encoded_body_is_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    let body = br#"{"script":"echo ran"}"#;
    for encoding in ["gzip", "br", "deflate", "zstd", "x", "identity, gzip", "gzip, identity"] {
        let mut raw = Raw::to(&service);
        let answer = raw.execute(&format!("Content-Encoding: {encoding}\r\n"), body).answer();
        assert_eq!(answer.refused().code(), "unsupported_media_type", "{encoding}");
    }
    assert_eq!(executions(&service), before);
    let answer = Raw::to(&service).execute("Content-Encoding: identity\r\n", body).answer();
    assert_eq!(answer.json()["stdout"], "ran\n");
}

/// Texts of a mebibyte and more that are made to be hard to read.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let arrays = "[".repeat(100_000);
    let objects = r#"{"a":"#.repeat(100_000);
    let members: String = (0..1_000_000).map(|n| format!(r#""k{n:x}":0,"#)).collect();
    let names: String = (0..1_000_000).map(|n| format!(r#""k{n:x}":"","#)).collect();
    let digits = "1".repeat(MEBIBYTE);
    let text = r#"{"script":"true"}"#;
    let utf16: Vec<u16> = text.encode_utf16().collect();
    let be: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let le: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let texts = [
        ("arrays in arrays", arrays.clone()),
        ("arrays in a field", format!(r#"{{"script":{arrays}"#)),
        ("arrays in an unknown field", format!(r#"{{"x":{arrays}"#)),
        ("objects in objects", objects.clone()),
        ("objects in the environment", format!(r#"{{"script":"x","env":{objects}"#)),
        ("deep and closed", format!(r#"{{"args":{arrays}{}}}"#, "]".repeat(100_000))),
        ("a million unknown fields", format!(r#"{{{members}"script":"x"}}"#)),
        ("a million variables", format!(r#"{{"script":"x","env":{{{names}"A":""}}}}"#)),
        ("a long number", format!(r#"{{"script":"x","timeout":{digits}}}"#)),
        ("a long fraction", format!(r#"{{"script":"x","pids_limit":0.{digits}}}"#)),
        ("a long exponent", format!(r#"{{"script":"x","timeout":1e{digits}}}"#)),
        ("a long number without a field", digits),
        ("a field twice", r#"{"script":"true","script":"false"}"#.into()),
        ("a field twice, spelled in two ways", r#"{"script":"x","\u0073cript":"y"}"#.into()),
        ("a variable twice", r#"{"script":"x","env":{"A":"1","A":"2"}}"#.into()),
        (
            "a field of a file twice",
            r#"{"script":"x","files":[{"path":"a","path":"b","content":""}]}"#.into(),
        ),
        ("an unknown field", r#"{"script":"x","sript":"y"}"#.into()),
        ("an unknown field of a file", r#"{"script":"x","files":[{"name":"a"}]}"#.into()),
        ("an unknown prototype", r#"{"script":"x","__proto__":{"timeout":1}}"#.into()),
        ("two documents", format!("{text}{text}")),
        ("a tail", format!("{text}x")),
        ("a NUL behind it", format!("{text}\0")),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("a comment", r#"{"script":"x"/**/}"#.into()),
        ("a comma too many", r#"{"script":"x",}"#.into()),
        ("single quotes", "{'script':'x'}".into()),
        ("a line end in a text", "{\"script\":\"a\nb\"}".into()),
        ("nothing", String::new()),
        ("only spaces", " ".repeat(MEBIBYTE)),
    ];
    let mut all: Vec<_> = texts.map(|(name, text)| (name, text.into_bytes())).into();
    all.extend([("UTF-16, big end first", be.clone()), ("UTF-16, little end first", le.clone())]);
    all.extend([
        ("UTF-16 with a mark", [&[0xfe, 0xff], &*be].concat()),
        ("UTF-16 with the other mark", [&[0xff, 0xfe], &*le].concat()),
    ]);
    all
}

fn w08_hostile_json_is_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    for (name, body) in hostile() {
        // The best of three, since others use the machine; an optimized program takes a fifth.
        let took = (0..3).map(|_| {
            let began = Instant::now();
            let problem = refused(&service, &body);
            assert_eq!(problem.http(), 400, "{name}: {}", problem.0);
            began.elapsed()
        });
        let took = took.min().expect("three");
        let most = Duration::from_millis(if body.len() > 2 * MEBIBYTE { 2000 } else { 250 });
        assert!(took <= most, "{name}: {took:?}");
    }
    assert_eq!(executions(&service), before);
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}

fn w10_a_script_there_must_be(engine: Engine) {
    let service = Service::start(engine, &[("MAX_BODY", "1m")]);
    for (body, code) in [
        (r"{}", "missing_field"),
        (r#"{"script":null}"#, "invalid_request"),
        (r#"{"script":""}"#, "invalid_request"),
        (r#"{"script":"  \t\r\n "}"#, "invalid_request"),
        (r#"{"script_base64":""}"#, "invalid_request"),
        (r#"{"script_base64":"ICAK"}"#, "invalid_request"),
    ] {
        let problem = refused(&service, body);
        let named = problem.field().starts_with("script");
        assert_eq!((problem.http(), problem.code(), named), (400, code, true), "{body}");
    }
    // Any bytes but white space are a script, and what comes of it is its interpreter's word.
    for script in ["\0", "\0\0\0", "printf a\0b"] {
        let answer = service.run(&json!({ "script": script }));
        assert_eq!(answer.status(), "completed", "{script:?}: {}", answer.0);
    }
    // Exactly as large as it may be, and a byte more.
    let body = |bytes: usize| {
        let (head, tail) = (r##"{"script":"echo ran #"##, r#""}"#);
        format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len()))
    };
    for bytes in [MEBIBYTE - 1, MEBIBYTE] {
        let answer = Raw::to(&service).execute("", body(bytes).as_bytes()).answer();
        assert_eq!(answer.json()["stdout"], "ran\n", "{bytes}");
    }
    let problem = refused(&service, body(MEBIBYTE + 1));
    assert_eq!((problem.http(), problem.code()), (413, "body_too_large"));
}

/// Nothing is replaced for the caller: what is no Unicode is no request.
fn w11_what_is_no_unicode_is_refused(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = executions(&service);
    for wrong in [
        &b"\xff"[..],
        b"\xc3",
        b"\xc0\x80",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\\ud800",
        b"\\udfff",
        b"\\ud800x",
        b"\\ud800\\u0041",
        b"\\udc00\\ud800",
        b"\\u12",
        b"\\x41",
    ] {
        for (before, after) in [
            (&br#"{"script":"echo "#[..], &br#""}"#[..]),
            (br#"{"script":"true","stdin":""#, br#""}"#),
            (br#"{"script":"true","env":{"A"#, br#"":"x"}}"#),
            (br#"{"script":"true","env":{"A":""#, br#""}}"#),
            (br#"{"script":"true","args":[""#, br#""]}"#),
            (br#"{"script":"true","files":[{"path":"a","content":""#, br#""}]}"#),
            (br#"{"script":"true","files":[{"content":"","path":"a"#, br#""}]}"#),
            (br#"{"script":"true","a"#, br#"":1}"#),
        ] {
            let body = [before, wrong, after].concat();
            let problem = refused(&service, &body);
            let shown = String::from_utf8_lossy(&body);
            assert_eq!((problem.http(), problem.code()), (400, "invalid_json"), "{shown}");
        }
    }
    assert_eq!(executions(&service), before);
}

on_one_engine! {
    together: w07_an_encoded_body_is_refused, w08_hostile_json_is_refused,
        w10_a_script_there_must_be, w11_what_is_no_unicode_is_refused;
    alone: w07_a_body_that_is_too_large_is_refused_at_once
}
