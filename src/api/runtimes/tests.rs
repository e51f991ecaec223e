use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::App;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use serde_json::{Value, json};

use super::*;
use crate::api::testing::{Stage, door, executions, executor_with};
use crate::api::{middleware, routes};
use crate::execution::runtime::{Offered, Room, Runtimes, built_in};
use crate::execution::testing::CEILINGS;
use crate::registry::testing::shelf::Shelf;
use crate::registry::{Policy, PullOptions, Registry};

/// A door with one runtime of the operator's, where requests may name images of docker.io alone.
fn offering() -> web::Data<Door> {
    let trusted_registries = Some(vec!["docker.io".parse().expect("a registry")]);
    let policy = Policy { trusted_registries, ..Policy::default() };
    let images = Shelf::with(&["alpine:3", "own.example/a:1"]);
    let registry = Registry::new(images, policy, PullOptions::default(), Arc::default());
    let (stage, _running) = Stage::new();
    let executor = executor_with(stage.clone(), Arc::new(registry));
    let executions = executions(&executor);
    let runtimes = Runtimes::empty(Arc::clone(&executor), Arc::clone(executions.keeper()));
    let written = json!({"name": "own", "image": "own.example/a:1", "env": {"A": "b"}});
    let written = WrittenRuntime::from_json(written.to_string().as_bytes()).expect("read");
    let own = Runtime::try_from(written).expect("valid");
    let templates = built_in(&CEILINGS.max);
    runtimes.offer(Offered { runtimes: vec![own], templates });
    web::Data::new(Door { executor, executions, runtimes, ..door(stage) })
}

async fn ask(door: &web::Data<Door>, request: TestRequest) -> (u16, Value) {
    let app = App::new().wrap(from_fn(middleware)).app_data(door.clone()).configure(routes);
    let response = call_service(&init_service(app).await, request.to_request()).await;
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&read_body(response).await).unwrap_or(Value::Null))
}

async fn post(door: &web::Data<Door>, path: &str, body: Value) -> (u16, Value) {
    ask(door, TestRequest::post().uri(path).set_json(body)).await
}

async fn get(door: &web::Data<Door>, path: &str) -> (u16, Value) {
    ask(door, TestRequest::get().uri(path)).await
}

fn code((status, body): (u16, Value)) -> (u16, String, String) {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("field"))
}

fn coded(status: u16, code: &str, field: &str) -> (u16, String, String) {
    (status, code.into(), field.into())
}

#[actix_web::test]
async fn a_runtime_is_registered_listed_described_and_removed() {
    let door = offering();
    let new = json!({
        "name": "small-box", "image": "alpine:3", "display_name": "A small box", "version": "3",
        "description": "Nothing\nbut a shell.", "language": "shell", "env": {"B": "1", "A": "2"},
        "timeout": 2.5, "memory_limit": "64m", "cpu_limit": "250m", "pids_limit": 9,
        "tmp_size": 1_048_576, "output_limit": "1k",
    });
    let (status, registered) = post(&door, "/runtimes", new.clone()).await;
    assert_eq!(status, 201, "{registered}");
    assert_eq!(get(&door, "/runtimes/small-box").await, (200, registered.clone()));
    insta::assert_json_snapshot!(get(&door, "/runtimes").await.1);
    let twice = post(&door, "/runtimes", new).await;
    assert_eq!(code(twice), coded(409, "runtime_exists", "name"));
    let gone = ask(&door, TestRequest::delete().uri("/runtimes/small-box")).await;
    assert_eq!(gone, (204, Value::Null));
    let gone = ask(&door, TestRequest::delete().uri("/runtimes/small-box")).await;
    assert_eq!(code(gone), coded(404, "runtime_not_found", ""));
    assert_eq!(code(get(&door, "/runtimes/x").await), coded(404, "runtime_not_found", ""));
}

#[actix_web::test]
async fn what_is_registered_keeps_to_the_rules() {
    let door = offering();
    for (body, expected) in [
        (json!({"name": "own", "image": "alpine:3"}), coded(409, "runtime_in_file", "name")),
        (
            json!({"name": "a", "image": "own.example/a:1"}),
            coded(403, "image_not_allowed", "image"),
        ),
        (json!({"name": "a", "image": "A"}), coded(400, "invalid_image", "image")),
        (json!({"name": "A", "image": "alpine:3"}), coded(400, "invalid_request", "name")),
        (json!({"name": "a"}), coded(400, "invalid_request", "")),
        (json!({"name": "a", "image": "alpine", "x": 1}), coded(400, "unknown_field", "x")),
        (
            json!({"name": "a", "image": "alpine", "env": null}),
            coded(400, "invalid_request", "env"),
        ),
        (
            json!({"name": "a", "image": "alpine", "language": "cobol"}),
            coded(400, "unknown_language", "language"),
        ),
        (
            json!({"name": "a", "image": "alpine", "timeout": 61}),
            coded(400, "limit_exceeded", "timeout"),
        ),
        (json!({"name": "a", "image": "alpine", "pool": 9}), coded(400, "limit_exceeded", "pool")),
    ] {
        assert_eq!(code(post(&door, "/runtimes", body.clone()).await), expected, "{body}");
    }
    let kept = ask(&door, TestRequest::delete().uri("/runtimes/own")).await;
    assert_eq!(code(kept), coded(409, "runtime_in_file", ""));
    let (_, all) = get(&door, "/runtimes").await;
    assert_eq!(all["runtimes"].as_array().map(Vec::len), Some(1));
}

#[actix_web::test]
async fn a_request_names_a_runtime_and_a_template() {
    let door = offering();
    let run = json!({"script": "hello", "runtime": "own", "resources": "small"});
    let (status, answer) = post(&door, "/execute", run).await;
    assert_eq!(
        (status, &answer["runtime"], &answer["image"]),
        (200, &json!("own"), &json!("own.example/a:1"))
    );
    let (_, answer) = post(&door, "/execute", json!({"script": "hello"})).await;
    assert_eq!(answer.get("runtime"), None);
    // What a runtime of the operator's leads to is not thereby everybody's to name.
    for (body, expected) in [
        (json!({"image": "own.example/a:1"}), coded(403, "image_not_allowed", "image")),
        (
            json!({"image": "alpine:3", "runtime": "own"}),
            coded(400, "conflicting_fields", "runtime"),
        ),
        (json!({"runtime": "other"}), coded(400, "unknown_runtime", "runtime")),
        (json!({"resources": "huge"}), coded(400, "unknown_resources", "resources")),
        (json!({"runtime": null}), coded(400, "invalid_request", "runtime")),
    ] {
        for path in ["/execute", "/executions"] {
            let mut request = json!({"script": "hello"});
            request.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            let answer = post(&door, path, request).await;
            // In the background an image is looked for when it is needed.
            if path == "/execute" || answer.0 != 202 {
                assert_eq!(code(answer), expected, "{path} {body}");
            }
        }
    }
}

#[actix_web::test]
async fn as_many_containers_wait_as_the_runtimes_say_and_none_when_they_are_gone() {
    let (stage, _running) = Stage::new();
    let executor = crate::api::testing::executor(stage.clone());
    let executions = executions(&executor);
    let (keeper, room) = (Arc::clone(executions.keeper()), Room { most: 8, others: 0 });
    let offered = Offered { runtimes: vec![], templates: BTreeMap::new() };
    let open = || Runtimes::open(Arc::clone(&executor), Arc::clone(&keeper), offered.clone(), room);
    let runtimes = open().await.expect("none yet");
    let door = web::Data::new(Door {
        executor: Arc::clone(&executor),
        executions,
        runtimes,
        ..door(stage)
    });
    let new = |name: &str, pool: usize| json!({"name": name, "image": "alpine:3", "pool": pool});
    assert_eq!(post(&door, "/runtimes", new("a", 3)).await.0, 201);
    assert_eq!(post(&door, "/runtimes", new("b", 5)).await.0, 201);
    let full = post(&door, "/runtimes", new("c", 1)).await;
    assert_eq!(code(full), coded(400, "limit_exceeded", "pool"));
    assert_eq!(ask(&door, TestRequest::delete().uri("/runtimes/b")).await.0, 204);
    assert_eq!(post(&door, "/runtimes", new("c", 1)).await.0, 201);
    // What was registered is there at the next start.
    executor.catalogue().offer(offered.clone());
    let again = open().await.expect("two");
    drop(again);
    let names: Vec<_> =
        executor.catalogue().now().runtimes().map(|(r, _)| r.name.to_string()).collect();
    assert_eq!(names, ["a", "c"]);
}
