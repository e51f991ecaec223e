//! Requests that the caller must change: each names its field, and nothing runs.

use serde_json::{Value, json};

use crate::support::{Engine, Service, Shared};

/// Field, and a value it can't have, for a request that is otherwise fine.
fn wrong_values() -> Vec<(&'static str, Value)> {
    let mut wrong = vec![
        ("script", json!(1)),
        ("script", json!(["echo"])),
        ("script", json!(null)),
        ("script", json!("")),
        ("script_base64", json!("%%%")),
        ("stdin", json!(1)),
        ("stdin", json!(null)),
        ("language", json!("klingon")),
        ("language", json!(3)),
        ("args", json!("a b")),
        ("args[1]", json!(["a", 1])),
        ("args[0]", json!(["a\u{0}b"])),
        ("env", json!(["A=1"])),
        ("env.A", json!({"A": 1})),
        ("env", json!({"": "x"})),
        ("env", json!({"A=B": "x"})),
        ("env", json!({"A\u{0}B": "x"})),
        ("env.A", json!({"A": "x\u{0}"})),
        ("files", json!({})),
        ("files[0].path", json!([{"path": 1, "content": ""}])),
        ("files[0].content", json!([{"path": "a"}])),
        ("files[0].content", json!([{"path": "a", "content": "", "content_base64": ""}])),
        ("files[0].content_base64", json!([{"path": "a", "content_base64": "%"}])),
        ("files[0].executable", json!([{"path": "a", "content": "", "executable": 1}])),
        ("files[0].path", json!([{"path": "../x", "content": ""}])),
        ("files[0].mode", json!([{"path": "a", "content": "", "mode": "0755"}])),
        ("files", json!([{"path": "a", "content": ""}, {"path": "a", "content": ""}])),
        ("files", json!([{"path": "a", "content": ""}, {"path": "a/b", "content": ""}])),
        ("outputs", json!("*")),
        ("timeout", json!("soon")),
        ("memory_limit", json!("much")),
        ("memory_limit", json!("1")),
        ("cpu_limit", json!("fast")),
        ("pids_limit", json!(1.5)),
        ("tmp_size", json!(true)),
        ("output_limit", json!([])),
    ];
    for field in ["timeout", "memory_limit", "cpu_limit", "pids_limit", "tmp_size"] {
        for value in [json!(0), json!(-1), json!(null), json!(1e300), json!("")] {
            wrong.push((field, value));
        }
    }
    for image in ["a; id", "--privileged", "../x", "case/UPPER", "x\n", "http://x/y", "", " "] {
        wrong.push(("image", json!(image)));
    }
    wrong
}

fn a_wrong_value_names_its_field(engine: Engine) {
    let service = Shared::get(engine);
    for (field, value) in wrong_values() {
        let name = field.split(['.', '[']).next().expect("a name");
        let mut request = json!({"script": "echo never"});
        if name == "script_base64" {
            request = json!({});
        }
        request[name] = value;
        let reply = service.execute(&request);
        assert_eq!(reply.http, 400, "{request}: {}", String::from_utf8_lossy(&reply.body));
        let problem = reply.refused();
        assert_eq!(problem.field(), field, "{request}: {}", problem.0);
    }
}

fn an_unknown_field_is_named(engine: Engine) {
    let problem = Shared::get(engine).refuse(&json!({"script": "echo never", "sript": "x"}));
    assert_eq!(problem.http(), 400);
    assert_eq!(problem.code(), "unknown_field");
    assert_eq!(problem.field(), "sript", "{}", problem.0);
    assert!(problem.detail().contains("sript"), "{}", problem.0);
}

fn a_script_there_must_be_and_only_one(engine: Engine) {
    let service = Shared::get(engine);
    assert_eq!(service.refuse(&json!({})).field(), "script");
    let both = json!({"script": "true", "script_base64": "dHJ1ZQ=="});
    assert_eq!(service.refuse(&both).field(), "script");
    for empty in ["", " ", "\n\t "] {
        let problem = service.refuse(&json!({ "script": empty }));
        assert_eq!((problem.http(), problem.field()), (400, "script"), "{empty:?}");
    }
}

fn an_unknown_image_is_404_and_never_another(engine: Engine) {
    let image = "oncebox-test/none:1";
    let request = json!({"script": "echo never", "image": image, "pull_policy": "never"});
    let problem = Shared::get(engine).refuse(&request);
    assert_eq!((problem.http(), problem.code()), (404, "image_not_found"), "{}", problem.0);
    assert_eq!(problem.field(), "image");
    assert!(problem.detail().contains("oncebox-test/none:1"), "{}", problem.0);
}

fn a_body_that_is_no_request_is_refused(engine: Engine) {
    let service = Shared::get(engine);
    let deep = format!("{{\"script\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"echo\"".to_vec(),
        b"{\"script\":\"true\"} trailing".to_vec(),
        b"{\"script\":\"true\",\"script\":\"false\"}".to_vec(),
        b"\xef\xbb\xbf{\"script\":\"true\"}".to_vec(),
        b"{\"script\":\"\xff\"}".to_vec(),
        b"{\"script\":\"\\ud800\"}".to_vec(),
        b"{\"script\":\"true\",\"timeout\":NaN}".to_vec(),
        b"{\"script\":\"true\",\"timeout\":1e999}".to_vec(),
        b"{\"script\":\"true\",\"pids_limit\":18446744073709551616}".to_vec(),
        deep.into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let reply = service.execute_raw(body);
        assert_eq!(reply.http, 400, "{shown}: {}", String::from_utf8_lossy(&reply.body));
        reply.refused();
    }
}

/// The size of a request has a cap, and the operator can move it.
fn a_body_too_large_is_413(engine: Engine) {
    let service = Service::start(engine, &[("MAX_BODY", "2m")]);
    let script = |bytes: usize| json!({"script": format!("echo ran\n{}", "#".repeat(bytes))});
    assert_eq!(service.run(&script(1_900_000)).text(), "ran\n");
    let problem = service.refuse(&script(2_200_000));
    assert_eq!((problem.http(), problem.code()), (413, "body_too_large"), "{}", problem.0);
    let service = Service::start(engine, &[("MAX_BODY", "8m")]);
    assert_eq!(service.run(&script(6_000_000)).text(), "ran\n");
}

/// A refusal never repeats what the caller sent as a secret, nor a path or a daemon's words.
fn a_refusal_tells_nothing_of_the_host(engine: Engine) {
    let service = Shared::get(engine);
    for request in [
        json!({"script": "echo s3cret", "nope": "s3cret"}),
        json!({"script": "echo s3cret", "image": "oncebox-test/none:1"}),
        json!({"script": "s3cret", "timeout": "s3cret"}),
        json!({"script": "x", "env": {"A": "s3cret\u{0}"}}),
        json!({"script": "x", "files": [{"path": "../x", "content": "s3cret"}]}),
    ] {
        let problem = service.refuse(&request).0.to_string();
        for secret in ["s3cret", "/var/", "docker.sock", "/proc", "panicked", ".rs:"] {
            assert!(!problem.contains(secret), "{secret} in {problem}");
        }
    }
}

on_both_engines! {
    together: a_wrong_value_names_its_field, an_unknown_field_is_named,
        a_script_there_must_be_and_only_one, an_unknown_image_is_404_and_never_another,
        a_body_that_is_no_request_is_refused, a_body_too_large_is_413,
        a_refusal_tells_nothing_of_the_host
}
