//! Every example of the description is sent, and answered as it says.

use serde_json::{Map, Value, json};

use super::described;
use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::service::client;
use crate::support::{Engine, Service};

/// What is another one each time, or on each machine.
const OWN: &[&str] = &[
    "architecture",
    "config",
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

/// Names of methods as they stand in a description, those that change things in this order.
const METHODS: [&str; 3] = ["post", "get", "delete"];

fn every_example_is_answered_as_shown(engine: Engine) {
    let registry = Registry::start();
    Image::marked("python").push(&registry, "python", "3.13");
    let store = tempfile::tempdir().expect("a folder");
    let address = registry.address();
    let settings = [
        ("CUSTOM_IMAGE_REGISTRY", address.as_str()),
        ("INSECURE_REGISTRIES", address.as_str()),
        ("IMAGE_STORE", store.path().to_str().expect("text")),
    ];
    let service = Service::start(engine, &settings);
    let document = described(&service);
    let paths = document["paths"].as_object().expect("paths");
    let mut sent = Vec::new();
    for method in METHODS {
        for (path, operation) in
            paths.iter().filter_map(|(path, all)| Some((path, all.get(method)?)))
        {
            for Shown { name, request, status, answer } in shown(operation) {
                let path = filled(path, operation);
                let what = format!("{name} of {method} {path}");
                let (http, came) = send(&service, method, &path, request.as_ref());
                assert_eq!(http, status, "{what}: {came}");
                like(&answer, &came, "", &what);
                sent.push(operation["operationId"].as_str().expect("an id").to_owned());
            }
        }
    }
    for operation in ["execute", "pullImage", "listImages", "removeImage", "listLanguages", "ready"]
    {
        assert!(sent.iter().any(|id| id == operation), "no example of {operation} in {sent:?}");
    }
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

/// The address, with the examples of what is open in it.
fn filled(path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().expect("parameters").iter();
    let open = parameters.filter(|parameter| parameter["in"] == "path");
    open.fold(path.to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().expect("a name");
        let example = parameter["schema"]["examples"][0]
            .as_str()
            .unwrap_or_else(|| panic!("example of {name}"));
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

/// Equal but for what is another one each time: of that only the kind is.
#[track_caller]
fn like(shown: &Value, came: &Value, key: &str, what: &str) {
    let own = OWN.contains(&key);
    match (shown, came) {
        // What the example has no more to say about than that it is an object.
        (Value::Object(_), Value::Object(_)) if own => {}
        (Value::Object(shown), Value::Object(came)) => {
            let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(shown), keys(came), "{what}: {key}");
            shown.iter().for_each(|(key, value)| like(value, &came[key], key, what));
        }
        (Value::Array(shown), Value::Array(came)) if own => {
            for item in came {
                like_inside(&shown[0], item, key, what);
            }
        }
        // The daemon has images of its own.
        (Value::Array(shown), Value::Array(came)) if key == "images" => {
            assert!(came.len() >= shown.len(), "{what}: {came:?}");
            like(&shown[0], &came[0], "", what);
        }
        (Value::Array(shown), Value::Array(came)) => {
            assert_eq!(shown.len(), came.len(), "{what}: {key} is {came:?}");
            shown.iter().zip(came).for_each(|(shown, came)| like(shown, came, "", what));
        }
        _ if own => assert!(
            kind(shown) == kind(came) || shown.is_null() || came.is_null(),
            "{what}: {key} is {came}"
        ),
        _ => assert_eq!(shown, came, "{what}: {key}"),
    }
}

/// One of a list of which everything is another one each time.
#[track_caller]
fn like_inside(shown: &Value, came: &Value, key: &str, what: &str) {
    match (shown, came) {
        (Value::Object(shown), Value::Object(came)) => {
            assert!(shown.keys().eq(came.keys()), "{what}: {key} holds {came:?}");
        }
        _ => assert_eq!(kind(shown), kind(came), "{what}: {key} holds {came}"),
    }
}

fn kind(value: &Value) -> Value {
    match value {
        Value::Null => json!(null),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(_) => json!("array"),
        Value::Object(_) => json!("object"),
    }
}

on_both_engines! { together: every_example_is_answered_as_shown }
