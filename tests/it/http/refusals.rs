//! Every refusal that can be provoked from outside, and that none of them tells what is the
//! operator's (I18).

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Request, Response, Server};
use crate::support::raw::{Answered, EXECUTE};
use crate::support::service::free_address;
use crate::support::{Engine, Raw, Service, host, until};

/// What was refused, by code: the status, and everything that was said.
type Told = BTreeMap<String, (u64, String)>;

fn tell(told: &mut Told, answer: Answered) {
    let headers = format!("{:?}", answer.headers);
    let problem = answer.refused();
    told.insert(problem.code().into(), (problem.http(), format!("{headers} {}", problem.0)));
}

fn get(service: &Service, head: &str) -> Answered {
    Raw::to(service).say(format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n")).answer()
}

fn post(service: &Service, body: &Value) -> Answered {
    Raw::to(service).execute("", body.to_string().as_bytes()).answer()
}

/// A registry in which each image fails in its own way.
fn bad_registry() -> Server {
    Server::start(|request: &Request| match &*request.path {
        "/v2/" => Response::new(200, "{}"),
        path if path.contains("/auth/") => Response::new(403, "s3cret"),
        path if path.contains("/corrupt/") => Response::new(200, "{\"s3cret\":1}")
            .with("Content-Type", "application/vnd.oci.image.manifest.v1+json"),
        path if path.contains("/broken/") => Response::new(500, "s3cret"),
        _ => Response::new(404, "s3cret"),
    })
}

/// What the caller has to change.
fn wrong_requests(told: &mut Told) {
    let settings =
        [("MAX_BODY", "64k"), ("HEAD_TIMEOUT", "1"), ("MAX_CONNECTIONS", "8"), ("TMP_SIZE", "1m")];
    let service = Service::start(Engine::Native, &settings);
    for body in [
        json!({}),
        json!({"script": 1}),
        json!({"script": "x", "bogus": 1}),
        json!({"script": "x", "script_base64": ""}),
        json!({"script": "x", "files": [{"path": "../x", "content": ""}]}),
        json!({"script": "x", "image": "a; id"}),
        json!({"script": "x", "language": "klingon"}),
        json!({"script": "x", "timeout": 1e6}),
        json!({"script": "x", "image": "nowhere/none:1", "pull_policy": "never"}),
        json!({"script": "x".repeat(65 << 10)}),
        json!({"script": "x", "tmp_size": "64k", "files": [{"path": "a", "content": "y".repeat(62_000)}]}),
    ] {
        tell(told, post(&service, &body));
    }
    tell(told, Raw::to(&service).execute("", b"{").answer());
    tell(told, Raw::to(&service).execute("Content-Encoding: gzip\r\n", b"{}").answer());
    let chunks = "Transfer-Encoding: chunked\r\n\r\nzz\r\n";
    tell(told, Raw::to(&service).say(format!("{EXECUTE}{chunks}")).answer());
    let form = EXECUTE.replace("application/json", "multipart/form-data; boundary=x");
    tell(told, Raw::to(&service).say(format!("{form}Content-Length: 1\r\n\r\nx")).answer());
    for head in ["GET /nowhere", "GET /execute", "GET  /", "GET /executions/none"] {
        tell(told, get(&service, head));
    }
    tell(told, get(&service, &format!("GET /{}", "x".repeat(9000))));
    tell(told, get(&service, &format!("GET / HTTP/1.1\r\nX: {}\r\nY: ", "x".repeat(40_000))));
    tell(told, Raw::to(&service).say("GET / HT").answer());
    // One more than one address may have, whichever of them comes too late.
    let refused = until("a connection too many", Duration::from_secs(5), || {
        let mut open: Vec<_> = (0..5).map(|_| Raw::to(&service)).collect();
        let told = open.iter_mut().rposition(|raw| raw.is_told(Duration::from_millis(100)))?;
        Some(open.swap_remove(told).answer())
    });
    tell(told, refused);
}

/// What is ours, or an image's, or a registry's.
fn failures(told: &mut Told) {
    let bad = bad_registry();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = (silent.local_addr().expect("its address"), silent);
    let away = free_address();
    let registries = format!("{},{},{away}", bad.address(), silent.0);
    let settings = [
        ("INSECURE_REGISTRIES", &*registries),
        ("ALLOWED_IMAGES", "127.0.0.1:*/**,host"),
        ("CUSTOM_IMAGE_PULL_RETRIES", "0"),
        ("CUSTOM_IMAGE_PULL_TIMEOUT", "2"),
        ("MAX_CONCURRENT", "1"),
        ("QUEUE_LIMIT", "1"),
        ("QUEUE_TIMEOUT", "1"),
    ];
    let mut service = Service::start(Engine::Native, &settings);
    for image in [
        format!("{}/auth/x:1", bad.address()),
        format!("{}/corrupt/x:1", bad.address()),
        format!("{}/broken/x:1", bad.address()),
        format!("{}/x:1", silent.0),
        format!("{away}/x:1"),
        "elsewhere.example/x:1".to_owned(),
    ] {
        tell(told, post(&service, &json!({"script": "x", "image": image})));
    }
    let mark = host::mark("18");
    let held = json!({"script": format!("exec sleep {mark}")}).to_string();
    let mut first = Raw::to(&service);
    first.execute("", held.as_bytes());
    let script = host::await_argument(&mark);
    let mut second = Raw::to(&service);
    second.execute("", br#"{"script":"echo never"}"#);
    until("it to wait", Duration::from_secs(5), || {
        (super::sample(&service, "oncebox_queue_length") == 1.0).then_some(())
    });
    tell(told, post(&service, &json!({"script": "echo never"})));
    tell(told, second.answer());
    // The container goes away under the script.
    let guest = host::status(script, "PPid").expect("a parent").parse().expect("a pid");
    host::signal(guest, rustix::process::Signal::KILL);
    tell(told, first.answer());
    let mut first = Raw::to(&service);
    first.execute("", held.as_bytes());
    let script = host::await_argument(&mark);
    let mut late = Raw::to(&service);
    assert_eq!(late.say("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").answer().status, 200);
    service.terminate();
    until("it to stop", Duration::from_secs(5), || {
        service.log().contains("stopping").then_some(())
    });
    tell(told, late.execute("", br#"{"script":"echo never"}"#).answer());
    host::signal(script, rustix::process::Signal::KILL);
    first.answer();
    assert!(service.wait().success());
}

fn i18_no_refusal_tells_of_the_host(_: Engine) {
    let mut told = Told::new();
    wrong_requests(&mut told);
    failures(&mut told);
    let seen: Vec<_> = told.iter().map(|(code, (http, _))| (*http, code.as_str())).collect();
    for expected in [
        (400, "invalid_json"),
        (400, "invalid_form"),
        (400, "broken_body"),
        (400, "malformed_request"),
        (400, "invalid_request"),
        (400, "unknown_field"),
        (400, "missing_field"),
        (400, "conflicting_fields"),
        (400, "invalid_path"),
        (400, "invalid_image"),
        (400, "unknown_language"),
        (400, "limit_exceeded"),
        (400, "payload_too_large"),
        (403, "image_not_allowed"),
        (404, "not_found"),
        (404, "execution_not_found"),
        (404, "image_not_found"),
        (405, "method_not_allowed"),
        (408, "request_timeout"),
        (413, "body_too_large"),
        (414, "uri_too_long"),
        (415, "unsupported_media_type"),
        (429, "queue_full"),
        (431, "headers_too_large"),
        (502, "container_lost"),
        (502, "image_corrupt"),
        (502, "registry_auth"),
        (503, "draining"),
        (503, "queue_timeout"),
        (503, "registry_unavailable"),
        (503, "too_many_connections"),
        (504, "registry_timeout"),
    ] {
        assert!(seen.contains(&expected), "{expected:?} was not provoked: {seen:?}");
    }
    for (code, (_, said)) in told {
        let said = said.to_lowercase();
        for word in [
            "s3cret",
            &env!("CARGO_MANIFEST_DIR").to_lowercase(),
            &env!("CARGO_TARGET_TMPDIR").to_lowercase(),
            "/var/",
            "/proc",
            "/sys",
            "/run/",
            "/root",
            "/tmp/",
            "cgroup",
            ".rs:",
            "panicked",
            "backtrace",
            "os error",
            "docker",
            "actix",
            "hyper",
            "tokio",
            "reqwest",
            concat!("oncebox/", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(!said.contains(word), "{code} says {word}: {said}");
        }
    }
}

on_one_engine! {
    together: i18_no_refusal_tells_of_the_host
}
