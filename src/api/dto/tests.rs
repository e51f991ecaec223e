use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::json;

use super::*;

fn read(body: &str) -> Result<Execution, Problem> {
    ExecuteRequest::from_json(body.as_bytes())?.valid().map(|(execution, ..)| execution)
}

#[test]
fn every_field_arrives() {
    let body = json!({
        "script": "echo \u{1F600}\r\n\u{2028}",
        "stdin": "in",
        "image": "alpine:3",
        "pull_policy": "always",
        "language": "python",
        "args": ["a", "b"],
        "env": {"A": "1"},
        "files": [
            {"path": "a/b", "content": "text", "executable": true},
            {"path": "c", "content_base64": "/wA="},
        ],
        "outputs": ["*.txt"],
        "timeout": 0.25,
        "memory_limit": "512Mi",
        "cpu_limit": "500m",
        "pids_limit": 7,
        "tmp_size": 1048576,
        "output_limit": "1k",
    });
    let execution = read(&body.to_string()).expect("valid");
    assert_eq!(execution.id.get_version_num(), 7);
    assert_eq!(execution.script, "echo \u{1F600}\r\n\u{2028}");
    assert_eq!(execution.stdin.as_deref(), Some(&b"in"[..]));
    assert_eq!(execution.image, "alpine:3".parse().ok());
    assert_eq!(execution.pull_policy, Some(PullPolicy::Always));
    assert_eq!(execution.language, Language::find("python").ok());
    assert_eq!(execution.args.len(), 2);
    assert_eq!((execution.env[0].0.as_str(), execution.env[0].1.as_str()), ("A", "1"));
    assert_eq!(execution.files[0].content, "text");
    assert!(execution.files[0].executable);
    assert_eq!(execution.files[1].content, &b"\xff\x00"[..]);
    assert!(!execution.files[1].executable);
    assert_eq!(execution.outputs.len(), 1);
    let limits = AskedLimits {
        timeout: Some(std::time::Duration::from_millis(250)),
        memory: Some(512 << 20),
        cpu_millis: Some(500),
        pids: Some(7),
        tmp: Some(1 << 20),
        output: Some(1024),
    };
    assert_eq!(execution.limits, limits);
}

#[test]
fn a_script_of_any_byte() {
    let bytes: Vec<u8> = (0..=255).collect();
    let body = json!({ "script_base64": STANDARD.encode(&bytes) });
    assert_eq!(read(&body.to_string()).expect("valid").script, bytes);
}

#[rstest]
#[case("", "invalid_json", None)]
#[case("{\"script\":\"x\"", "invalid_json", None)]
#[case("{\"script\":\"x\"} x", "invalid_json", None)]
#[case("\u{feff}{\"script\":\"x\"}", "invalid_json", None)]
#[case("{\"script\":\"\\ud800\"}", "invalid_json", None)]
#[case("{\"script\":\"x\",\"timeout\":1e309}", "invalid_request", Some("timeout"))]
#[case("[]", "invalid_request", None)]
#[case("[\"echo\"]", "invalid_request", None)]
#[case("{\"script\":\"x\",\"files\":[[\"a\",\"b\"]]}", "invalid_request", Some("files[0]"))]
#[case("{}", "missing_field", Some("script"))]
#[case("{\"script\":null}", "invalid_request", Some("script"))]
#[case("{\"script\":5}", "invalid_request", Some("script"))]
#[case("{\"script\":\"a\",\"script\":\"b\"}", "invalid_request", None)]
#[case("{\"script\":\"a\",\"script_base64\":\"\"}", "conflicting_fields", Some("script"))]
#[case("{\"script_base64\":\"!\"}", "invalid_request", Some("script_base64"))]
#[case("{\"script\":\"x\",\"pull_policy\":\"sometimes\"}", "invalid_request", Some("pull_policy"))]
#[case("{\"script\":\"x\",\"pull_policy\":true}", "invalid_request", Some("pull_policy"))]
#[case("{\"script\":\"x\",\"pullPolicy\":\"never\"}", "unknown_field", Some("pullPolicy"))]
#[case(
    "{\"script\":\"x\",\"files\":[{\"path\":\"a\",\"content\":\"\",\"mode\":1}]}",
    "unknown_field",
    Some("files[0].mode")
)]
#[case(
    "{\"script\":\"x\",\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"path\":\"../a\",\"content\":\"\"}]}",
    "invalid_path",
    Some("files[1].path")
)]
#[case(
    "{\"script\":\"x\",\"files\":[{\"path\":\"a\"}]}",
    "missing_field",
    Some("files[0].content")
)]
#[case("{\"script\":\"x\",\"files\":[{\"content\":\"a\"}]}", "invalid_request", Some("files[0]"))]
#[case("{\"script\":\"x\",\"env\":{\"A=B\":\"\"}}", "invalid_request", Some("env"))]
#[case("{\"script\":\"x\",\"env\":{\"A\":\"\\u0000\"}}", "invalid_request", Some("env.A"))]
#[case("{\"script\":\"x\",\"env\":{\"A\":1}}", "invalid_request", Some("env.A"))]
#[case("{\"script\":\"x\",\"env\":null}", "invalid_request", Some("env"))]
#[case("{\"script\":\"x\",\"args\":[\"a\",null]}", "invalid_request", Some("args[1]"))]
#[case("{\"script\":\"x\",\"args\":[\"\\u0000\"]}", "invalid_request", Some("args[0]"))]
#[case("{\"script\":\"x\",\"outputs\":[\"/etc\"]}", "invalid_request", Some("outputs[0]"))]
#[case("{\"script\":\"x\",\"image\":\"a; id\"}", "invalid_image", Some("image"))]
#[case("{\"script\":\"x\",\"language\":\"cobol\"}", "unknown_language", Some("language"))]
#[case("{\"script\":\"x\",\"timeout\":-1}", "invalid_request", Some("timeout"))]
#[case("{\"script\":\"x\",\"timeout\":1e300}", "invalid_request", Some("timeout"))]
#[case("{\"script\":\"x\",\"timeout\":\"5\"}", "invalid_request", Some("timeout"))]
#[case("{\"script\":\"x\",\"timeout\":null}", "invalid_request", Some("timeout"))]
#[case("{\"script\":\"x\",\"memory_limit\":[]}", "invalid_request", Some("memory_limit"))]
#[case("{\"script\":\"x\",\"memory_limit\":-1}", "invalid_request", Some("memory_limit"))]
#[case("{\"script\":\"x\",\"cpu_limit\":\"lots\"}", "invalid_request", Some("cpu_limit"))]
#[case("{\"script\":\"x\",\"pids_limit\":1.5}", "invalid_request", Some("pids_limit"))]
#[case(
    "{\"script\":\"x\",\"pids_limit\":18446744073709551616}",
    "invalid_request",
    Some("pids_limit")
)]
fn what_is_wrong_is_named(#[case] body: &str, #[case] code: &str, #[case] field: Option<&str>) {
    let problem = read(body).expect_err("refused");
    assert_eq!(problem.status().as_u16(), 400);
    assert_eq!((problem.code.name(), problem.field.as_deref()), (code, field), "{problem}");
}

#[test]
fn a_name_given_twice_is_kept_for_the_executor_to_refuse() {
    let execution = read(r#"{"script":"x","env":{"A":"1","A":"2"}}"#).expect("readable");
    assert_eq!(execution.check().expect_err("refused").field, "env");
}

#[test]
fn no_refusal_repeats_contents() {
    for body in [
        r#"{"script":"x","env":{"A":12345678}}"#,
        r#"{"script":"x","args":"secret"}"#,
        r#"{"script":12345678}"#,
        r#"{"script":"x","files":"secret, expected 12345678"}"#,
        r#"{"script_base64":"secret!12345678"}"#,
    ] {
        let problem = read(body).expect_err("refused");
        let told = format!("{} {:?}", problem.detail, problem.field);
        assert!(!told.contains("secret") && !told.contains("12345678"), "{told}");
    }
}

#[test]
fn nesting_cannot_exhaust_the_stack() {
    let deep = format!("{{\"script\":{}", "[".repeat(100_000));
    let deeper = format!("{{\"x\":{}", "{\"a\":".repeat(100_000));
    for body in [deep, deeper] {
        assert_eq!(read(&body).expect_err("refused").status().as_u16(), 400);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_no_json() {
    let problem = ExecuteRequest::from_json(b"{\"script\":\"\xff\"}").expect_err("refused");
    assert_eq!(problem.code, Code::InvalidJson);
}
