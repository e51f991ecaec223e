//! An execution in the words of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::execution::request::{AskedLimits, Execution, InputFile};

/// The body of `POST /execute`, and its `Content-Type`.
pub(super) struct Body {
    pub(super) content_type: String,
    pub(super) bytes: Vec<u8>,
}

/// JSON, but for a standard input that is no text: only a form has a place for it.
///
/// # Errors
/// A sentence, for what has a place in neither.
pub(super) fn body(execution: &Execution) -> Result<Body, String> {
    let stdin = execution.stdin.as_deref().unwrap_or_default();
    let Ok(stdin) = str::from_utf8(stdin) else { return form(execution) };
    let mut body = named(execution);
    content(&mut body, "script", &execution.script);
    if execution.stdin.is_some() {
        body.insert("stdin".into(), json!(stdin));
    }
    let args: Vec<&str> = execution.args.iter().map(|arg| arg.as_str()).collect();
    let outputs: Vec<&str> = execution.outputs.iter().map(|pattern| pattern.as_str()).collect();
    let pairs = execution.env.iter();
    let env = pairs.map(|(name, value)| (name.as_str().to_owned(), json!(value.as_str())));
    let lists = [
        ("args", json!(args)),
        ("outputs", json!(outputs)),
        ("env", Value::Object(env.collect())),
        ("files", execution.files.iter().map(file).collect()),
    ];
    body.extend(lists.map(|(name, value)| (name.to_owned(), value)));
    let bytes = Value::Object(body).to_string().into_bytes();
    Ok(Body { content_type: "application/json".into(), bytes })
}

/// The fields of which there is one at the most, and that are text or a number.
fn named(execution: &Execution) -> Map<String, Value> {
    let Execution { image, pull_policy, language, forward_env, limits, .. } = execution;
    let AskedLimits { timeout, memory, cpu_millis, pids, tmp, output } = *limits;
    let named = [
        ("image", image.as_ref().map(|image| json!(image.to_string()))),
        ("pull_policy", pull_policy.map(|policy| json!(policy.to_string()))),
        ("language", language.map(|language| json!(language.name))),
        ("forward_env", (!forward_env).then_some(json!(false))),
        ("timeout", timeout.map(|time| json!(time.as_secs_f64()))),
        ("memory_limit", memory.map(|bytes| json!(bytes))),
        ("cpu_limit", cpu_millis.map(|millis| json!(format!("{millis}m")))),
        ("pids_limit", pids.map(|count| json!(count))),
        ("tmp_size", tmp.map(|bytes| json!(bytes))),
        ("output_limit", output.map(|bytes| json!(bytes))),
    ];
    let given = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    given.collect()
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

fn form(execution: &Execution) -> Result<Body, String> {
    if let Some(file) = execution.files.iter().find(|file| file.executable) {
        return Err(format!(
            "a service takes no executable file ({}) together with a standard input that is not \
             UTF-8",
            file.path.as_str()
        ));
    }
    // Not to be found in anything that was written before.
    let boundary = execution.id.simple().to_string();
    let mut bytes = Vec::new();
    let mut part = |name: &str, more: &str, content: &[u8]| {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n"
        );
        bytes.extend([head.as_bytes(), content, b"\r\n"].concat());
    };
    for (name, value) in named(execution) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        part(&name, "", text.as_bytes());
    }
    part("script", "", &execution.script);
    part("stdin", "", execution.stdin.as_deref().unwrap_or_default());
    for arg in &execution.args {
        part("args", "", arg.as_str().as_bytes());
    }
    for (name, value) in &execution.env {
        part("env", "", format!("{}={}", name.as_str(), value.as_str()).as_bytes());
    }
    for pattern in &execution.outputs {
        part("outputs", "", pattern.as_str().as_bytes());
    }
    for InputFile { path, content, .. } in &execution.files {
        let path = utf8_percent_encode(path.as_str(), NON_ALPHANUMERIC);
        part("files", &format!("; filename*=UTF-8''{path}"), content);
    }
    bytes.extend(format!("--{boundary}--\r\n").into_bytes());
    Ok(Body { content_type: format!("multipart/form-data; boundary={boundary}"), bytes })
}

#[cfg(test)]
mod tests;
