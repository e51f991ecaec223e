//! An execution in the words of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::execution::request::{AskedLimits, Execution, InputFile};

/// The body of `POST /execute`.
pub(super) fn body(execution: &Execution) -> Vec<u8> {
    let Execution { script, stdin, image, pull_policy, language, args, env, files, .. } = execution;
    let AskedLimits { timeout, memory, cpu_millis, pids, tmp, output } = execution.limits;
    let mut body = Map::new();
    content(&mut body, "script", script);
    if let Some(stdin) = stdin {
        content(&mut body, "stdin", stdin);
    }
    let named = [
        ("image", image.as_ref().map(|image| json!(image.to_string()))),
        ("pull_policy", pull_policy.map(|policy| json!(policy.to_string()))),
        ("language", language.map(|language| json!(language.name))),
        ("timeout", timeout.map(|time| json!(time.as_secs_f64()))),
        ("memory_limit", memory.map(|bytes| json!(bytes))),
        ("cpu_limit", cpu_millis.map(|millis| json!(format!("{millis}m")))),
        ("pids_limit", pids.map(|count| json!(count))),
        ("tmp_size", tmp.map(|bytes| json!(bytes))),
        ("output_limit", output.map(|bytes| json!(bytes))),
    ];
    for (name, value) in named {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    let args: Vec<&str> = args.iter().map(|arg| arg.as_str()).collect();
    let outputs: Vec<&str> = execution.outputs.iter().map(|pattern| pattern.as_str()).collect();
    let env = env.iter().map(|(name, value)| (name.as_str().to_owned(), json!(value.as_str())));
    let lists = [
        ("args", json!(args)),
        ("outputs", json!(outputs)),
        ("env", Value::Object(env.collect())),
        ("files", files.iter().map(file).collect()),
    ];
    body.extend(lists.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(body).to_string().into_bytes()
}

fn file(InputFile { path, content: bytes, executable }: &InputFile) -> Value {
    let mut file = Map::new();
    file.insert("path".into(), json!(path.as_str()));
    file.insert("executable".into(), json!(executable));
    content(&mut file, "content", bytes);
    Value::Object(file)
}

/// A text as it is, other bytes in base64 under a name of their own.
fn content(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}
