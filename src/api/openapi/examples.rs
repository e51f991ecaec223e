//! Requests with what is answered to them. A test sends each one and compares: names tie them
//! together, so a request's answer is the example of the same name.

use serde_json::{Value, json};
use utoipa::openapi::example::{Example, ExampleBuilder};

use super::operation::JSON;
use crate::api::languages::Languages;

/// An operation, the name of the example, what it shows.
type Name = (&'static str, &'static str, &'static str);

/// The examples of requests to this operation.
pub(super) fn requests(operation: &str, mime: &str) -> Vec<(String, Example)> {
    let all = all().into_iter();
    let own = all.filter(|((id, ..), ..)| *id == operation && mime == JSON);
    own.filter_map(|(name, request, ..)| Some(example(name, request?))).collect()
}

/// The examples of its answers with this status.
pub(super) fn answers(operation: &str, status: u16, mime: &str) -> Vec<(String, Example)> {
    let all = all().into_iter().filter(|((id, ..), ..)| *id == operation);
    let own = all.filter(|(_, _, with, _)| *with == status && mime != super::operation::EVENTS);
    own.map(|(name, _, _, answer)| example(name, answer)).collect()
}

fn example((_, name, what): Name, value: Value) -> (String, Example) {
    (name.to_owned(), ExampleBuilder::new().summary(what).value(Some(value)).build())
}

fn all() -> Vec<(Name, Option<Value>, u16, Value)> {
    let languages = serde_json::to_value(Languages::all()).unwrap_or_default();
    vec![
        (
            ("execute", "hello", "The least there is to say"),
            Some(json!({"script": "echo hello"})),
            200,
            answer(&json!({"stdout": "hello\n", "stdout_bytes": 6})),
        ),
        (
            ("execute", "everything", "Python with all that a script can be given"),
            Some(json!({
                "script": "import os, sys\n\
                    print(sys.argv[1], os.environ['NAME'], sum(map(int, sys.stdin)))\n\
                    open('out/copy.txt', 'w').write(open('data/in.txt').read())\n",
                "language": "python",
                "args": ["hello"],
                "env": {"NAME": "world"},
                "stdin": "1\n2\n39\n",
                "files": [
                    {"path": "data/in.txt", "content": "a text\n"},
                    {"path": "out/bytes", "content_base64": "//4="},
                ],
                "outputs": ["out/*"],
                "timeout": 10,
                "memory_limit": "128m",
                "cpu_limit": "500m",
                "pids_limit": 32,
                "tmp_size": "16m",
                "output_limit": 65536,
            })),
            200,
            answer(&json!({
                "stdout": "hello world 42\n",
                "stdout_bytes": 15,
                "files": [
                    {"path": "out/bytes", "size": 2, "content_base64": "//4=", "executable": false},
                    {"path": "out/copy.txt", "size": 7, "content": "a text\n", "executable": false},
                ],
            })),
        ),
        (
            ("execute", "failure", "A script that fails is an answer too"),
            Some(json!({"script": "echo 'no such thing' >&2; exit 3"})),
            200,
            answer(&json!({
                "success": false,
                "exit_code": 3,
                "stderr": "no such thing\n",
                "stderr_bytes": 14,
            })),
        ),
        (
            ("execute", "deadline", "What it printed before its time was over is kept"),
            Some(json!({"script": "echo begun; sleep 60", "timeout": 1})),
            200,
            answer(&json!({
                "status": "timed_out",
                "success": false,
                "exit_code": 137,
                "signal": "SIGKILL",
                "stdout": "begun\n",
                "stdout_bytes": 6,
                "execution_time": 1.0004,
                "error": "The script ran longer than its timeout of 1 s and was killed.",
                "timings": {"queued": 0.000_01, "prepared": 0.000_1, "ran": 1.0004},
            })),
        ),
        (
            ("execute", "refused", "More than the operator allows"),
            Some(json!({"script": "echo hello", "timeout": 1_000_000})),
            400,
            problem(
                "Bad Request",
                400,
                "limit_exceeded",
                Some("timeout"),
                "1000000 s is more than the ceiling of 300 s, MAX_TIMEOUT",
            ),
        ),
        (
            ("execute", "unknownRuntime", "A runtime that nobody has registered"),
            Some(json!({"script": "print(1)", "runtime": "pyhton"})),
            400,
            problem(
                "Bad Request",
                400,
                "unknown_runtime",
                Some("runtime"),
                "\"pyhton\" is not known; there is none yet",
            ),
        ),
        (
            ("createExecution", "hello", "The least there is to say"),
            Some(json!({"script": "echo hello"})),
            202,
            json!({"id": ID, "state": "queued", "position": 1, "created": CREATED}),
        ),
        (("getExecution", "ended", "One that is over"), None, 200, ended()),
        (("cancelExecution", "over", "One that is over stays as it is"), None, 200, ended()),
        (
            ("listExecutions", "one", "After one that is over"),
            None,
            200,
            json!({"executions": [execution()], "next": null}),
        ),
        (("listLanguages", "all", "All of them"), None, 200, languages),
        (
            ("pullImage", "pull", "An image with a tag"),
            Some(json!({"image": "python:3.13"})),
            200,
            json!({"image": "python:3.13", "image_digest": DIGEST}),
        ),
        (
            ("pullImage", "refused", "A name that is none"),
            Some(json!({"image": "python:3.13:slim"})),
            400,
            problem(
                "Bad Request",
                400,
                "invalid_image",
                Some("image"),
                "\"python:3.13:slim\" is no image reference: \"3.13:slim\" is no tag; a tag has up to \
                 128 of A-Z a-z 0-9 _ . - and starts with none of . -",
            ),
        ),
        (("listImages", "one", "After one was pulled"), None, 200, json!({"images": [image()]})),
        (("describeImage", "one", "What one is made of"), None, 200, details()),
        (
            ("removeImage", "one", "The last name of an image takes it along"),
            None,
            200,
            json!({"references": ["python:3.13"], "digests": [DIGEST], "freed": 1_048_576}),
        ),
        (("registerRuntime", "python", "An image with what it needs"), Some(new()), 201, runtime()),
        (
            ("registerRuntime", "refused", "More than the operator allows"),
            Some(json!({"name": "slow", "image": "python:3.13", "timeout": 1_000_000})),
            400,
            problem(
                "Bad Request",
                400,
                "limit_exceeded",
                Some("timeout"),
                "1000000 s is more than the ceiling of 300 s, MAX_TIMEOUT",
            ),
        ),
        (("describeRuntime", "one", "One that was registered"), None, 200, runtime()),
        (
            ("listRuntimes", "one", "One runtime, and the usual templates"),
            None,
            200,
            json!({
                "runtimes": [runtime()],
                "resources": [
                    template("large", 1 << 30, 2.0, 256, 256 << 20),
                    template("medium", 256 << 20, 0.5, 64, 64 << 20),
                    template("small", 128 << 20, 0.25, 32, 32 << 20),
                ],
            }),
        ),
        (("health", "alive", "It lives"), None, 200, json!({"status": "alive"})),
        (
            ("ready", "ready", "On the engine `native`"),
            None,
            200,
            json!({
                "engine": "native",
                "reason": "it works here",
                "image": "host",
                "canary": {"passed": true, "seconds": 0.0135},
                "pool": {"waiting": 5, "full": true},
                "images": {"missing": []},
            }),
        ),
    ]
}

const ID: &str = "01936f5e-7a3c-7c4e-9d1b-2f6a8b0c4d5e";
const CREATED: &str = "2026-02-03T04:05:06.007Z";
const DIGEST: &str = "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

fn image() -> Value {
    json!({
        "digest": DIGEST,
        "references": ["python:3.13"],
        "size": 1_048_576,
        "created": "2026-01-02T03:04:05Z",
        "last_used": "2026-02-03T04:05:06Z",
        "pool": 0,
    })
}

fn details() -> Value {
    let more = json!({
        "os": "linux",
        "architecture": "amd64",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["python3"]},
        "layers": [{"diff_id": DIGEST, "size": 1_048_576}],
        "history": [{
            "created": "2026-01-02T03:04:05Z",
            "created_by": "CMD [\"python3\"]",
            "comment": null,
            "empty_layer": true,
        }],
    });
    over(image(), &more)
}

/// A runtime to be registered.
fn new() -> Value {
    json!({
        "name": "python-scientific",
        "display_name": "Python, scientific",
        "version": "3.13",
        "image": "python:3.13",
        "language": "python",
        "env": {"OMP_NUM_THREADS": "1"},
        "timeout": 60,
    })
}

/// The same, once it is.
fn runtime() -> Value {
    over(new(), &json!({"timeout": 60.0, "pool": 0, "source": "registered"}))
}

fn template(name: &str, memory: u64, cores: f64, pids: u32, tmp: u64) -> Value {
    json!({
        "name": name,
        "memory_limit": memory,
        "cpu_limit": cores,
        "pids_limit": pids,
        "tmp_size": tmp,
    })
}

/// One that is over, without its result.
fn execution() -> Value {
    json!({
        "id": ID,
        "state": "ended",
        "created": CREATED,
        "started": "2026-02-03T04:05:06.008Z",
        "ended": "2026-02-03T04:05:06.009Z",
    })
}

/// The same with its result.
fn ended() -> Value {
    let result = answer(&json!({"stdout": "hello\n", "stdout_bytes": 6}));
    over(execution(), &json!({"result": result}))
}

/// The answer to a script that printed nothing, with what is different.
fn answer(different: &Value) -> Value {
    let answer = json!({
        "id": ID,
        "status": "completed",
        "success": true,
        "exit_code": 0,
        "signal": null,
        "stdout": "",
        "stderr": "",
        "stdout_bytes": 0,
        "stderr_bytes": 0,
        "stdout_truncated": false,
        "stderr_truncated": false,
        "execution_time": 0.000_41,
        "error": null,
        "image": "host",
        "image_digest": null,
        "limits_hit": [],
        "usage": {"cpu_time": 0.000_38, "max_memory_bytes": 1_048_576, "max_pids": 2},
        "timings": {"queued": 0.000_01, "prepared": 0.000_1, "ran": 0.000_41},
        "files": [],
    });
    over(answer, different)
}

fn problem(title: &str, status: u16, code: &str, field: Option<&str>, detail: &str) -> Value {
    let problem = json!({
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": ID,
        "success": false,
        "error": detail,
    });
    over(problem, &field.map_or_else(|| json!({}), |field| json!({"field": field})))
}

/// One object laid over another.
fn over(mut below: Value, above: &Value) -> Value {
    if let (Value::Object(below), Value::Object(above)) = (&mut below, above) {
        below.extend(above.clone());
    }
    below
}
