//! One list of behaviours for both engines: a request goes in, an answer comes out.

/// The list: `name: request => what the answer says;`, each a test on each engine. Functions that
/// need more than one look at the answer are named before it: `[and: function, …]`.
macro_rules! behaviours {
    ([and: $($more:ident),* $(,)?] $($name:ident: $request:tt => $expected:tt;)*) => {
        $(fn $name(engine: $crate::support::Engine) {
            super::check(engine, &::serde_json::json!($request), &::serde_json::json!($expected));
        })*
        on_both_engines! { together: $($name,)* $($more),* }
    };
    ($($name:ident: $request:tt => $expected:tt;)*) => {
        behaviours! { [and:] $($name: $request => $expected;)* }
    };
}

mod files;
mod form;
mod input;
mod limits;
mod output;
mod refusals;
mod script;
mod shape;

use serde_json::{Value, json};

use crate::support::{Answer, Engine, Shared};

/// Runs the request and compares the fields of the answer that `expected` names. What it does not
/// name must be as after a script that did nothing: no output, exit code 0, no limit hit.
#[track_caller]
fn check(engine: Engine, request: &Value, expected: &Value) -> Answer {
    let answer = Shared::get(engine).run(request);
    let mut wanted = json!({
        "status": "completed",
        "exit_code": 0,
        "signal": null,
        "stdout": "",
        "stderr": "",
        "stdout_truncated": false,
        "stderr_truncated": false,
        "limits_hit": [],
        "files": [],
    });
    for (field, value) in expected.as_object().expect("an object of fields") {
        wanted[field] = value.clone();
        if let Some(text) = field.strip_suffix("_base64") {
            wanted[text] = Value::Null;
        }
    }
    for (field, value) in wanted.as_object().expect("an object of fields") {
        assert_eq!(&answer.0[field], value, "{field} of the answer to {request}: {}", answer.0);
    }
    if answer.0["success"] == true {
        assert_eq!(answer.0["error"], Value::Null, "{}", answer.0);
    }
    answer
}
