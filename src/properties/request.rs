//! The body of `POST /execute`: what is accepted is what was sent, within every limit; what is
//! refused is refused for a field that there is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use utoipa::PartialSchema;
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

use super::one_line;
use crate::api::Code;
use crate::api::Problem;
use crate::api::dto::ExecuteRequest;
use crate::execution::limits::{FLOOR, Limits};
use crate::execution::request::{
    AskedLimits, Execution, MAX_ARGS_AND_ENV, MAX_ENV, MAX_FILES, MAX_OUTPUTS,
};
use crate::execution::testing::CEILINGS;

pub fn check(bytes: &[u8]) {
    let first = accepted(bytes);
    match &first {
        Ok((execution, limits)) => {
            sent(execution, &serde_json::from_slice(bytes).unwrap());
            promised(execution, limits);
        }
        Err(problem) => refused(problem),
    }
    assert_eq!(format!("{first:?}"), format!("{:?}", accepted(bytes)), "the same twice");
}

/// As `api::execute` and the executor do, one after the other.
fn accepted(body: &[u8]) -> Result<(Execution, Limits), Problem> {
    let (mut execution, _, _) = ExecuteRequest::from_json(body)?.valid()?;
    execution.id = Uuid::nil();
    execution.check()?;
    let limits = CEILINGS.hold(&execution.asked_limits())?;
    limits.hold_payload(&execution)?;
    Ok((execution, limits))
}

fn refused(problem: &Problem) {
    assert_eq!(problem.status(), 400);
    one_line(&problem.detail);
    assert!(!problem.detail.is_empty() && problem.detail.len() < 2000, "{}", problem.detail);
    let Some(field) = &problem.field else {
        assert!(matches!(problem.code, Code::InvalidJson | Code::InvalidRequest), "{problem:?}");
        return;
    };
    let known = ExecuteRequest::schema();
    let RefOr::T(Schema::Object(known)) = known else { panic!("no object") };
    let root = field.split(['.', '[']).next().unwrap();
    assert!(known.properties.contains_key(root) || problem.code == Code::UnknownField, "{field}");
}

/// Every byte of it is what the document says.
fn sent(execution: &Execution, document: &Value) {
    let content = |holder: &Value, name: &str| {
        let plain = holder[name].as_str().map(|text| text.as_bytes().to_vec());
        let base64 = holder[format!("{name}_base64")].as_str();
        plain.or_else(|| base64.map(|text| STANDARD.decode(text).unwrap()))
    };
    let texts = |name: &str| {
        let list = document[name].as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(Some(&execution.script[..]), content(document, "script").as_deref());
    assert_eq!(execution.stdin.as_deref(), content(document, "stdin").as_deref());
    let args: Vec<_> = execution.args.iter().map(|arg| arg.as_str()).collect();
    assert_eq!(args, texts("args"));
    let outputs: Vec<_> = execution.outputs.iter().map(|pattern| pattern.as_str()).collect();
    assert_eq!(outputs, texts("outputs"));
    let env = document["env"].as_object().map(|env| env.len()).unwrap_or_default();
    assert_eq!(execution.env.len(), env);
    for (name, value) in &execution.env {
        assert_eq!(document["env"][name.as_str()], value.as_str());
    }
    let files = document["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(execution.files.len(), files.len());
    for (file, said) in execution.files.iter().zip(files) {
        assert_eq!(said["path"], file.path.as_str());
        assert_eq!(Some(&file.content[..]), content(said, "content").as_deref());
        assert_eq!(file.executable, said["executable"].as_bool().unwrap_or(false));
    }
    assert_eq!(execution.forward_env, document["forward_env"].as_bool().unwrap_or(true));
    assert_eq!(execution.image.is_some(), document["image"].is_string());
    assert_eq!(execution.language.is_some(), document["language"].is_string());
    assert_eq!(execution.pull_policy.is_some(), document["pull_policy"].is_string());
    let AskedLimits { timeout, memory, cpu_millis, pids, tmp, output } = execution.limits;
    for (field, asked) in [
        ("timeout", timeout.is_some()),
        ("memory_limit", memory.is_some()),
        ("cpu_limit", cpu_millis.is_some()),
        ("pids_limit", pids.is_some()),
        ("tmp_size", tmp.is_some()),
        ("output_limit", output.is_some()),
    ] {
        assert_eq!(asked, !document[field].is_null(), "{field}");
    }
}

fn promised(execution: &Execution, limits: &Limits) {
    let max = CEILINGS.max;
    assert!((FLOOR.timeout..=max.timeout).contains(&limits.timeout));
    assert!((FLOOR.memory..=max.memory).contains(&limits.memory));
    assert!((FLOOR.cpu_millis..=max.cpu_millis).contains(&limits.cpu_millis));
    assert!((FLOOR.pids..=max.pids).contains(&limits.pids));
    assert!((FLOOR.tmp..=max.tmp).contains(&limits.tmp));
    assert!((FLOOR.output..=max.output).contains(&limits.output));
    let asked = execution.limits;
    assert!(asked.timeout.is_none_or(|timeout| timeout == limits.timeout));
    assert!(asked.memory.is_none_or(|memory| memory == limits.memory));
    assert!(asked.pids.is_none_or(|pids| pids == limits.pids));
    let files: u64 = execution.files.iter().map(|file| file.content.len() as u64).sum();
    assert!(files + execution.script.len() as u64 <= limits.tmp);
    let stdin = execution.stdin.as_ref().map_or(0, |stdin| stdin.len() as u64);
    assert!(files + stdin < limits.memory);
    assert!(execution.files.len() <= MAX_FILES && execution.outputs.len() <= MAX_OUTPUTS);
    assert!(execution.env.len() <= MAX_ENV);
    let strings = execution.args.iter().map(|arg| arg.as_str().len());
    let env = execution.env.iter().map(|(n, v)| n.as_str().len() + v.as_str().len());
    assert!(strings.chain(env).sum::<usize>() <= MAX_ARGS_AND_ENV);
    let mut names: Vec<_> = execution.files.iter().map(|file| file.path.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), execution.files.len(), "two files of one name");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::super::twin;

    /// A value that may fit this field or not.
    fn value(field: &str) -> BoxedStrategy<Value> {
        let text = "[a-z./*\\[\\]=$ \n\u{e9}-]{0,12}".prop_map(Value::from);
        let fitting = match field {
            "timeout" => (0.0..70.0_f64).prop_map(Value::from).boxed(),
            "cpu_limit" => select(vec![json!(0.5), json!("500m"), json!(9)]).boxed(),
            "pids_limit" => (0..300_u32).prop_map(Value::from).boxed(),
            "memory_limit" | "tmp_size" | "output_limit" => {
                select(vec![json!("64m"), json!(1 << 20), json!("1t"), json!(4096.0)]).boxed()
            }
            "script_base64" => select(vec![json!("ZWNobw=="), json!("ZWNobw")]).boxed(),
            "args" | "outputs" => prop::collection::vec(text, 0..4).prop_map(Value::from).boxed(),
            "env" => prop::collection::btree_map("[A-Z=\0]{0,3}", "[a-z\0]{0,4}", 0..4)
                .prop_map(|env| json!(env))
                .boxed(),
            "files" => prop::collection::vec(file(), 0..4).prop_map(Value::from).boxed(),
            "forward_env" | "retry_on_interrupt" => any::<bool>().prop_map(Value::from).boxed(),
            "language" => select(vec![json!("python"), json!("sh"), json!("basic")]).boxed(),
            "pull_policy" => select(vec![json!("never"), json!("sometimes")]).boxed(),
            "image" => select(vec![json!("alpine:3"), json!("../x"), json!("host")]).boxed(),
            _ => text.boxed(),
        };
        let other = select(vec![Value::Null, json!([]), json!({}), json!(-1), json!(1e300)]);
        prop_oneof![15 => fitting, 1 => other].boxed()
    }

    fn file() -> impl Strategy<Value = Value> {
        let content = prop_oneof![Just("content"), Just("content_base64"), Just("contents")];
        let text = prop_oneof!["[a-z\n]{0,8}", Just("eA==".to_owned())];
        ("[ab./]{1,5}", content, text, any::<bool>()).prop_map(|(path, name, text, executable)| {
            json!({"path": path, name: text, "executable": executable})
        })
    }

    fn requests() -> impl Strategy<Value = Vec<u8>> {
        const FIELDS: &[&str] = &[
            "script_base64",
            "stdin",
            "image",
            "pull_policy",
            "language",
            "args",
            "env",
            "forward_env",
            "files",
            "outputs",
            "timeout",
            "memory_limit",
            "cpu_limit",
            "pids_limit",
            "tmp_size",
            "output_limit",
            "retry_on_interrupt",
            "webhook",
            "runtime",
            "resources",
            "unknown\u{1b}",
        ];
        let one = select(FIELDS).prop_flat_map(|name| (Just(name), value(name)));
        (prop::collection::vec(one, 0..5), any::<u8>()).prop_map(|(fields, with_script)| {
            let mut document = json!({});
            if with_script > 10 {
                document["script"] = "echo hi".into();
            }
            for (name, value) in fields {
                document[name] = value;
            }
            document.to_string().into_bytes()
        })
    }

    #[test]
    fn holds() {
        twin::run("request", 1000, requests(), super::check);
    }
}
