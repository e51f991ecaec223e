//! Every example of the description is sent, and answered as it says.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::time::Duration;

use serde_json::{Map, Value};

use super::described;
use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::service::client;
use crate::support::{Engine, Service, until};

/// What is another one each time, or on each machine.
const OWN: &[&str] = &[
    "architecture",
    "config",
    "cpu_limit",
    "cpu_time",
    "created",
    "created_by",
    "diff_id",
    "digest",
    "digests",
    "empty_layer",
    "engine",
    "execution_time",
    "freed",
    "history",
    "id",
    "image",
    "image_digest",
    "last_used",
    "layers",
    "max_memory_bytes",
    "max_pids",
    "pool",
    "prepared",
    "queued",
    "ran",
    "reason",
    "references",
    "request_id",
    "seconds",
    "size",
    "started",
    "ended",
];

/// What is there or not, by how far an execution is.
const BY_PROGRESS: [&str; 2] = ["position", "started"];
/// Lists that may be longer than shown.
const MORE: [&str; 2] = ["images", "executions"];
/// Those that make something come first, those that take it away last.
const METHODS: [&str; 3] = ["post", "get", "delete"];
/// For an execution in the background to be over.
const PATIENCE: Duration = Duration::from_secs(20);

fn every_example_is_answered_as_shown(engine: Engine) {
    let registry = Registry::start();
    Image::marked("python").push(&registry, "python", "3.13");
    let store = tempfile::tempdir().expect("a folder");
    let address = registry.address().to_string();
    let settings = [
        ("CUSTOM_IMAGE_REGISTRY", address.as_str()),
        ("INSECURE_REGISTRIES", address.as_str()),
        ("IMAGE_STORE", store.path().to_str().expect("text")),
    ];
    let service = Service::start(engine, &settings);
    let document = described(&service);
    let mut sent = BTreeSet::new();
    let mut created = String::new();
    for method in METHODS {
        for (path, operation) in operations(&document, method) {
            let id = operation["operationId"].as_str().expect("an id");
            for Shown { name, request, status, answer } in shown(operation) {
                let path = filled(path, operation, &created);
                let what = format!("{name} of {method} {path}");
                let check = || {
                    let (http, came) = send(&service, method, &path, request.as_ref());
                    if http != status {
                        return Err(format!("{http}: {came}"));
                    }
                    like(&answer, &came, "").map(|()| came)
                };
                let mut answered = check();
                // One that is made may have ended before it is shown as accepted; another may not.
                let again = method == "get" || id == "createExecution";
                if again && answered.is_err() {
                    until(&what, PATIENCE, || {
                        answered = check();
                        answered.is_ok().then_some(())
                    });
                }
                let came = answered.unwrap_or_else(|why| panic!("{what}: {why}"));
                if id == "createExecution" {
                    came["id"].as_str().expect("an id").clone_into(&mut created);
                }
                sent.insert(id.to_owned());
            }
        }
    }
    let all = document["paths"].as_object().expect("paths").values();
    let bodies = all.flat_map(|path| path.as_object().expect("methods").values());
    let bodies = bodies.filter(|operation| operation.get("requestBody").is_some());
    for operation in bodies.map(|operation| operation["operationId"].as_str().expect("an id")) {
        assert!(sent.contains(operation), "no example of {operation} in {sent:?}");
    }
    assert!(sent.len() >= 12, "{sent:?}");
}

/// All of this method, by their paths.
fn operations<'a>(document: &'a Value, method: &str) -> Vec<(&'a String, &'a Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().filter_map(|(path, all)| Some((path, all.get(method)?))).collect()
}

/// A request, where the operation takes one, and what is answered to it.
struct Shown {
    name: String,
    request: Option<Value>,
    status: u16,
    answer: Value,
}

fn shown(operation: &Value) -> Vec<Shown> {
    let mut requests = examples(&operation["requestBody"]);
    let mut all = Vec::new();
    for (status, response) in operation["responses"].as_object().expect("responses") {
        for (name, answer) in examples(response) {
            let request = requests.remove(&name);
            assert_eq!(request.is_some(), operation.get("requestBody").is_some(), "{name}");
            all.push(Shown { name, request, status: status.parse().expect("a status"), answer });
        }
    }
    assert!(requests.is_empty(), "requests without an answer: {requests:?}");
    all
}

/// Those of all kinds of content, by name.
fn examples(of: &Value) -> Map<String, Value> {
    let contents = of["content"].as_object().into_iter().flatten();
    let examples = contents.filter_map(|(_, content)| content["examples"].as_object()).flatten();
    examples.map(|(name, example)| (name.clone(), example["value"].clone())).collect()
}

/// The address, with the execution that was made, or with the examples of what is open in it.
fn filled(path: &str, operation: &Value, created: &str) -> String {
    let parameters = operation["parameters"].as_array().expect("parameters").iter();
    let open = parameters.filter(|parameter| parameter["in"] == "path");
    open.fold(path.to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().expect("a name");
        let example = parameter["schema"]["examples"][0].as_str().unwrap_or(created);
        path.replace(&format!("{{{name}}}"), example)
    })
}

fn send(service: &Service, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = method.to_uppercase().parse().expect("a method");
    let client = client().build().expect("a client");
    let request = client.request(method, format!("http://{}{path}", service.address()));
    let request = body.into_iter().fold(request, |request, body| request.json(body));
    let response = request.send().expect("an answer");
    (response.status().as_u16(), response.json().unwrap_or(Value::Null))
}

/// Equal, but for what is another one each time: of that only the kind is.
fn like(shown: &Value, came: &Value, key: &str) -> Result<(), String> {
    let own = OWN.contains(&key);
    let differs = || Err(format!("{key} is {came}, and not {shown}"));
    match (shown, came) {
        // Such an example has no more to say than that it is an object.
        (Value::Object(_), Value::Object(_)) if own => Ok(()),
        (Value::Object(shown), Value::Object(came)) => fields(shown, came),
        (Value::Array(shown), Value::Array(came)) if own => {
            came.iter().try_for_each(|came| match (&shown[0], came) {
                (Value::Object(shown), Value::Object(came)) if shown.keys().eq(came.keys()) => {
                    Ok(())
                }
                (shown, came) if shown.is_string() && came.is_string() => Ok(()),
                _ => differs(),
            })
        }
        // The daemon has images of its own, and more than one execution may have been made.
        (Value::Array(shown), Value::Array(came)) if MORE.contains(&key) && !came.is_empty() => {
            like(&shown[0], &came[0], "")
        }
        (Value::Array(shown), Value::Array(came)) if shown.len() == came.len() => {
            shown.iter().zip(came).try_for_each(|(shown, came)| like(shown, came, ""))
        }
        _ if own
            && (discriminant(shown) == discriminant(came) || shown.is_null() || came.is_null()) =>
        {
            Ok(())
        }
        _ if shown == came => Ok(()),
        _ => differs(),
    }
}

fn fields(shown: &Map<String, Value>, came: &Map<String, Value>) -> Result<(), String> {
    // How far it is when the answer leaves is anybody's guess.
    let open = shown.get("state").is_some_and(|state| state == "queued");
    let steady = |map: &Map<String, Value>| {
        let keys = map.keys().filter(|key| !open || !BY_PROGRESS.contains(&key.as_str()));
        keys.cloned().collect::<Vec<_>>()
    };
    if steady(shown) != steady(came) {
        return Err(format!("fields are {:?}, and not {:?}", steady(came), steady(shown)));
    }
    let same = steady(shown).into_iter().filter(|key| !open || key != "state");
    same.into_iter().try_for_each(|key| like(&shown[&key], &came[&key], &key))
}

on_both_engines! { together: every_example_is_answered_as_shown }
