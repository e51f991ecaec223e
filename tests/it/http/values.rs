//! Numbers and names at the edges of what they may be (W09, W14).

use serde_json::{Map, Value, json};

use crate::support::{Engine, Raw, Service, Shared};

/// What may not be a limit: text of a JSON value.
const NUMBERS: [&str; 14] = [
    "-1",
    "-0.5",
    "0",
    "0.0001",
    "NaN",
    "Infinity",
    "1e309",
    "9007199254740993",
    "18446744073709551616",
    "1e18",
    r#""5""#,
    r#""""#,
    "null",
    "[]",
];

/// Each limit refuses each of them and names itself, but for output, of which none is an amount.
fn w09_a_number_out_of_place_names_its_field(engine: Engine) {
    let service = Service::start(engine, &[("MAX_CPU_LIMIT", "2")]);
    let fields = ["timeout", "memory_limit", "cpu_limit", "pids_limit", "tmp_size", "output_limit"];
    for field in fields {
        for number in NUMBERS {
            let body = format!(r#"{{"script":"printf 1234567","{field}":{number}}}"#);
            let answer = Raw::to(&service).execute("", body.as_bytes()).answer();
            let kept = match (field, number) {
                ("output_limit", "0" | "0.0001") => Some(""),
                ("output_limit", r#""5""#) => Some("12345"),
                _ => None,
            };
            if let Some(kept) = kept {
                assert_eq!(answer.json()["stdout"], kept, "{field} {number}");
                assert_eq!(answer.json()["stdout_truncated"], true, "{field} {number}");
                continue;
            }
            let problem = answer.refused();
            assert_eq!(problem.http(), 400, "{field} {number}: {}", problem.0);
            // Two of them are not even JSON.
            let named = problem.field() == field || problem.code() == "invalid_json";
            assert!(named, "{field} {number}: {}", problem.0);
        }
    }
}

fn w14_variables_of_no_name_are_refused(engine: Engine) {
    let service = Shared::get(engine);
    for name in ["", "A=B", "=", "A\0", "\0", "A\nB", "A\rB", "A\u{1b}B", "A\u{7f}B"] {
        let problem = service.refuse(&json!({"script": "echo never", "env": {name: "x"}}));
        assert_eq!((problem.http(), problem.field()), (400, "env"), "{name:?}: {}", problem.0);
    }
    let problem = service.refuse(&json!({"script": "echo never", "env": {"A": "x\0y"}}));
    assert_eq!((problem.http(), problem.field()), (400, "env.A"), "{}", problem.0);
    let many = |count: usize| -> Value {
        (0..count).map(|n| (format!("V{n}"), json!("x"))).collect::<Map<_, _>>().into()
    };
    let problem = service.refuse(&json!({"script": "echo never", "env": many(1001)}));
    assert_eq!((problem.http(), problem.field()), (400, "env"), "{}", problem.0);
    let answer = service.run(&json!({"script": "env | grep -c '^V[0-9]*=x$'", "env": many(1000)}));
    assert_eq!(answer.text(), "1000\n");
    let large = "x".repeat(128 << 10);
    let problem = service.refuse(&json!({"script": "echo never", "env": {"A": large}}));
    assert_eq!(problem.http(), 400, "{}", problem.0);
}

/// Whatever a variable does to a shell or a loader, it does to the script's own and to nothing of
/// ours: the hook runs once, in the process that is the script's.
fn w14_hooks_reach_the_script_alone(engine: Engine) {
    let service = Shared::get(engine);
    let hook = json!([
        {"path": "hook", "content": "echo $$ >> /tmp/hooked\n"},
        {"path": "bin/sh", "content": "#!/bin/bash -p\necho hijacked\n", "executable": true},
        {"path": "bin/bash", "content": "#!/bin/sh\necho hijacked\n", "executable": true},
    ]);
    let script = "echo $$ > /tmp/own; cmp /tmp/own /tmp/hooked && echo once";
    let answer = service.run(&json!({
        "script": format!("#!/bin/bash\n{script}"),
        "files": hook,
        "env": {"BASH_ENV": "/tmp/work/hook", "ENV": "/tmp/work/hook"},
    }));
    assert_eq!(answer.text(), "once\n", "{}", answer.0);
    let values = json!({
        "LD_PRELOAD": "/tmp/work/no.so",
        "LD_LIBRARY_PATH": "/tmp/work",
        "LD_AUDIT": "/tmp/work/no.so",
        "GCONV_PATH": "/tmp/work",
        "ENV": "/tmp/work/hook",
        "IFS": "x",
        "DOCKER_HOST": "tcp://192.0.2.1:1",
        "ONCEBOX_CANARY": "the caller's",
        "RUST_LOG": "trace",
        "RUST_BACKTRACE": "full",
        "BASH_FUNC_echo%%": "() { builtin echo hijacked; }",
        "1A": "digit",
        "a.b": "dot",
        "\u{c9}": "accent",
        "NEWLINE": "a\nb",
    });
    let script = "import os, json\nprint(json.dumps({**os.environ}))";
    let answer = service.run(&json!({"script": script, "language": "python", "env": values}));
    assert_eq!((answer.status(), answer.exit_code()), ("completed", 0), "{}", answer.0);
    let seen: Value = serde_json::from_str(&answer.text()).expect("JSON");
    for (name, value) in values.as_object().expect("a map") {
        assert_eq!(&seen[name], value, "{name}");
    }
    // Where programs are looked up is the caller's to say; what runs a plain script is not.
    let path = json!({"PATH": "/tmp/work/bin:/bin:/usr/bin"});
    let answer = service.run(&json!({"script": "printf ran", "files": hook, "env": path}));
    assert_eq!(answer.text(), "ran", "{}", answer.0);
}

mod native {
    on_both_engines! { @tests Native, together, w09_a_number_out_of_place_names_its_field,
    w14_variables_of_no_name_are_refused, w14_hooks_reach_the_script_alone }
}

mod docker {
    on_both_engines! { @tests Docker, together, w14_variables_of_no_name_are_refused,
    w14_hooks_reach_the_script_alone }
}
