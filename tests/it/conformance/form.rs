//! The same request as a form (`multipart/form-data`).

use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Answer, Engine, Shared};

/// The parts of an answer that do not change from run to run.
fn steady(answer: &Answer) -> Value {
    let mut steady = answer.0.clone();
    for changing in ["id", "execution_time", "usage", "timings"] {
        steady[changing] = Value::Null;
    }
    steady
}

fn a_form_is_the_same_request(engine: Engine) {
    let service = Shared::get(engine);
    let script = "cat; cat data/in.bin; echo \"$1\" \"$A\" >&2; cp data/in.bin out; exit 3";
    let form = Form::new()
        .text("script", script)
        .text("stdin", "input\n")
        .text("args", "first arg")
        .text("env", "A=x=y")
        .text("timeout", "7.5")
        .text("memory_limit", "100m")
        .text("cpu_limit", "500m")
        .text("pids_limit", "20")
        .text("tmp_size", "8m")
        .text("output_limit", "1000")
        .text("outputs", "out")
        .part("files", Part::bytes(vec![0, 255, 10]).file_name("data/in.bin"));
    let by_form = service.execute_form(form).ran();
    let by_json = service.run(&json!({
        "script": script,
        "stdin": "input\n",
        "args": ["first arg"],
        "env": {"A": "x=y"},
        "timeout": 7.5,
        "memory_limit": "100m",
        "cpu_limit": "500m",
        "pids_limit": 20,
        "tmp_size": "8m",
        "output_limit": 1000,
        "outputs": ["out"],
        "files": [{"path": "data/in.bin", "content_base64": "AP8K"}],
    }));
    assert_eq!(steady(&by_form), steady(&by_json));
    assert_eq!(by_json.exit_code(), 3, "{}", by_json.0);
    assert_eq!(by_json.stderr(), "first arg x=y\n", "{}", by_json.0);
}

fn repeated_parts_are_lists(engine: Engine) {
    let form = Form::new()
        .text("script", "echo \"$1|$2\"; ls a b; wc -c < a")
        .text("args", "one")
        .text("args", "two")
        .part("files", Part::bytes(vec![]).file_name("b"))
        .part("files", Part::bytes(b"four".to_vec()).file_name("a"));
    let answer = Shared::get(engine).execute_form(form).ran();
    assert_eq!(answer.text(), "one|two\na\nb\n4\n", "{}", answer.0);
}

/// A form can carry a script of any bytes as it is.
fn a_form_carries_any_byte(engine: Engine) {
    let mut script = b"cat \"$0\"; exit 0\n".to_vec();
    script.extend(0..=u8::MAX);
    let form = Form::new().part("script", Part::bytes(script.clone()));
    let answer = Shared::get(engine).execute_form(form).ran();
    assert_eq!(answer.stdout(), script, "{}", answer.0);
}

fn a_form_is_refused_as_json_is(engine: Engine) {
    let service = Shared::get(engine);
    let cases = [
        (Form::new().text("script", "true").text("sript", "x"), "sript"),
        (Form::new().text("stdin", "x"), "script"),
        (Form::new().text("script", "true").text("script", "false"), "script"),
        (Form::new().text("script", "true").text("timeout", "soon"), "timeout"),
        (Form::new().text("script", "true").text("pids_limit", "-1"), "pids_limit"),
        (
            Form::new().text("script", "true").part("files", Part::bytes(vec![]).file_name("../x")),
            "files[0].path",
        ),
    ];
    for (form, field) in cases {
        let problem = service.execute_form(form).refused();
        assert_eq!((problem.http(), problem.field()), (400, field), "{}", problem.0);
    }
}

on_both_engines! {
    together: a_form_is_the_same_request, repeated_parts_are_lists, a_form_carries_any_byte,
        a_form_is_refused_as_json_is
}
