//! What honest callers send: small programs whose answers are known to the byte.

use serde_json::{Value, json};

use crate::request::{Expected, Request};
use crate::support::chance::Chance;

/// A name, a request, and the fields of its answer that are not as after a script that did nothing.
type Made = (&'static str, Value, Value);

pub fn drawn(chance: &mut Chance) -> Request {
    let token = format!("{:016x}", chance.next());
    let number = chance.below(100_000) as usize;
    let makers: [fn(&str, usize) -> Made; 8] =
        [echo, echo, stdin, exit, stderr, python, file, pipe];
    let (name, body, fields) = chance.one_of(&makers)(&token, number);
    let mut expected = json!({
        "status": "completed", "exit_code": 0, "signal": null, "stdout": "", "stderr": "",
        "stdout_truncated": false, "stderr_truncated": false, "limits_hit": [], "files": [],
    });
    for (field, value) in fields.as_object().expect("an object of fields") {
        expected[field] = value.clone();
    }
    Request { name, hostile: false, body, expected: Expected::Fields(expected) }
}

fn echo(token: &str, _: usize) -> Made {
    ("echo", json!({"script": format!("echo {token}")}), json!({"stdout": format!("{token}\n")}))
}

fn stdin(token: &str, _: usize) -> Made {
    (
        "stdin",
        json!({"script": "cat; echo \"$A\"", "stdin": token, "env": {"A": "b"}}),
        json!({"stdout": format!("{token}b\n")}),
    )
}

fn exit(_: &str, number: usize) -> Made {
    let code = number % 256;
    ("exit", json!({"script": format!("exit {code}")}), json!({"exit_code": code}))
}

fn stderr(token: &str, _: usize) -> Made {
    (
        "stderr",
        json!({"script": format!("echo {token} >&2; kill -USR1 $$")}),
        json!({"stderr": format!("{token}\n"), "status": "signaled", "signal": "SIGUSR1", "exit_code": 138}),
    )
}

fn python(_: &str, number: usize) -> Made {
    let sum = number * (number + 1) / 2;
    (
        "python",
        json!({"language": "python", "script": format!("print(sum(range({number} + 1)))")}),
        json!({"stdout": format!("{sum}\n")}),
    )
}

fn file(token: &str, _: usize) -> Made {
    (
        "file",
        json!({"script": "tr a-f A-F <in/a >out", "files": [{"path": "in/a", "content": token}],
                    "outputs": ["out"]}),
        json!({"files": [{"path": "out", "size": token.len(), "executable": false,
                       "content": token.to_uppercase()}]}),
    )
}

/// More than one process at once, and more output than a pipe holds.
fn pipe(_: &str, number: usize) -> Made {
    let lines = 500 + number % 500;
    (
        "pipe",
        json!({"script": format!("seq {lines} | sort -rn | sed -n '$p;1p'; (sleep 0.01 & wait)")}),
        json!({"stdout": format!("{lines}\n1\n")}),
    )
}
