use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::ServiceResponse;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use futures_util::{Stream, StreamExt};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::api::testing::{Stage, door, executor_with};
use crate::api::{middleware, routes};
use crate::config::Naming;
use crate::registry::testing::shelf::Shelf;
use crate::registry::{Policy, PullOptions, Registry};

/// Long enough for a busy machine; nothing here waits for it when all is well.
const SOON: Duration = Duration::from_secs(20);
const ONCE: PullOptions = PullOptions { timeout: SOON, retries: 0 };

/// A door to images on a shelf, of which only those of docker.io may be asked for.
fn door_to(shelf: &Arc<Shelf>) -> web::Data<Door> {
    let trusted_registries = Some(vec!["docker.io".parse().expect("a registry")]);
    let policy = Policy { trusted_registries, ..Policy::default() };
    let images = Arc::<Shelf>::clone(shelf);
    let registry = Registry::new(images, policy, ONCE, Arc::default());
    let (stage, _running) = Stage::new();
    let executor = executor_with(stage.clone(), Arc::new(registry));
    web::Data::new(Door { executor, ..door(stage) })
}

async fn call(door: &web::Data<Door>, request: TestRequest) -> ServiceResponse {
    let app = App::new().wrap(from_fn(middleware)).app_data(door.clone()).configure(routes);
    let app = init_service(app).await;
    call_service(&app, request.to_request()).await.map_into_boxed_body()
}

async fn ask(door: &web::Data<Door>, request: TestRequest) -> (u16, Value) {
    let response = call(door, request).await;
    let status = response.status().as_u16();
    let body = read_body(response).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn pull_of(image: &str) -> TestRequest {
    TestRequest::post().uri("/images/pull").set_json(json!({ "image": image }))
}

fn watched(image: &str) -> TestRequest {
    pull_of(image).insert_header(("accept", "text/event-stream"))
}

/// A response's body as it comes.
fn pieces(mut body: BoxBody) -> impl Stream<Item = Bytes> + Unpin {
    poll_fn(move |cx| Pin::new(&mut body).poll_next(cx)).map(|piece| piece.expect("bytes"))
}

/// The name and the data of each event in a piece of a stream.
fn events(text: &[u8]) -> Vec<(String, Value)> {
    let text = str::from_utf8(text).expect("text");
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).expect("JSON")))
    };
    text.split_terminator("\n\n").filter_map(event).collect()
}

#[actix_web::test]
async fn images_are_listed_and_described() {
    let door = door_to(&Shelf::with(&["alpine:3", "registry.example:5000/a/b:1"]));
    let (status, list) = ask(&door, TestRequest::get().uri("/images")).await;
    assert_eq!((status, list["images"].as_array().map(Vec::len)), (200, Some(2)));
    insta::assert_json_snapshot!(list);
    let (status, details) = ask(&door, TestRequest::get().uri("/images/alpine:3")).await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!(details);
}

#[rstest]
#[case("/images/registry.example:5000/a/b:1", 200, None)]
#[case("/images/registry.example%3A5000%2Fa%2Fb:1", 200, None)]
#[case("/images/docker.io/library/alpine%3a3", 200, None)]
#[case("/images/alpine:4", 404, Some("image_not_found"))]
#[case("/images/pull", 404, Some("image_not_found"))]
#[case("/images/al%2570ine:3", 400, Some("invalid_image"))]
#[case("/images/a;b", 400, Some("invalid_image"))]
#[case("/images/%ff", 400, Some("invalid_image"))]
#[case("/images/..%2f..%2fetc", 400, Some("invalid_image"))]
#[case("/images/", 404, Some("not_found"))]
#[actix_web::test]
async fn an_address_names_an_image(
    #[case] address: &str,
    #[case] status: u16,
    #[case] code: Option<&str>,
) {
    let door = door_to(&Shelf::with(&["alpine:3", "registry.example:5000/a/b:1"]));
    let (got, body) = ask(&door, TestRequest::get().uri(address)).await;
    assert_eq!((got, body["code"].as_str()), (status, code), "{body}");
    assert_eq!(body["field"], Value::Null);
}

#[actix_web::test]
async fn a_name_without_a_registry_is_the_operators() {
    let shelf = Shelf::with(&["registry.example/team/a:latest"]);
    let naming = Naming(Some("registry.example".parse().expect("a registry")));
    let (stage, _running) = Stage::new();
    let registry = Registry::new(shelf, Policy::default(), PullOptions::default(), Arc::default());
    let executor = executor_with(stage.clone(), Arc::new(registry));
    let door = web::Data::new(Door { executor, naming, ..door(stage) });
    assert_eq!(ask(&door, TestRequest::get().uri("/images/team/a")).await.0, 200);
}

#[actix_web::test]
async fn images_are_removed_unless_they_are_in_use() {
    let door = door_to(&Shelf::with(&["alpine:3", "busy:1"]));
    let delete = |address| TestRequest::delete().uri(address);
    let (status, removed) = ask(&door, delete("/images/alpine:3")).await;
    assert_eq!((status, &removed["references"]), (200, &json!(["alpine:3"])));
    assert_eq!(
        (&removed["freed"], &removed["digests"][0]),
        (&json!(7_340_032), &json!(Shelf::digest(&"alpine:3".parse().unwrap())))
    );
    let (status, body) = ask(&door, delete("/images/alpine:3")).await;
    assert_eq!((status, &body["code"]), (404, &json!("image_not_found")));
    let (status, body) = ask(&door, delete("/images/busy:1")).await;
    assert_eq!((status, &body["code"]), (409, &json!("image_in_use")));
}

#[actix_web::test]
async fn other_methods_are_told_which_there_are() {
    let door = door_to(&Shelf::with(&[]));
    for (request, allow) in [
        (TestRequest::post().uri("/images"), "GET, HEAD"),
        (TestRequest::put().uri("/images/a"), "GET, HEAD, DELETE"),
        (TestRequest::put().uri("/images/pull"), "POST, GET, HEAD, DELETE"),
    ] {
        let response = call(&door, request).await;
        assert_eq!(response.status().as_u16(), 405);
        assert_eq!(response.headers().get("allow").expect("a header"), allow);
    }
    assert_eq!(
        call(&door, TestRequest::with_uri("/images").method(actix_web::http::Method::HEAD))
            .await
            .status()
            .as_u16(),
        200
    );
}

#[actix_web::test]
async fn a_pull_is_answered_when_it_is_done() {
    let door = door_to(&Shelf::with(&[]));
    let (status, pulled) = ask(&door, pull_of("alpine:3")).await;
    let digest = Shelf::digest(&"alpine:3".parse().expect("a reference"));
    assert_eq!((status, pulled), (200, json!({"image": "alpine:3", "image_digest": digest})));
    assert_eq!(ask(&door, TestRequest::get().uri("/images/alpine:3")).await.0, 200);
}

#[rstest]
#[case(pull_of("registry.example/a"), 403, "image_not_allowed")]
#[case(watched("registry.example/a"), 403, "image_not_allowed")]
#[case(pull_of("lost"), 503, "registry_unavailable")]
#[case(pull_of("A b"), 400, "invalid_image")]
#[case(TestRequest::post().uri("/images/pull").set_payload("{}"), 415, "unsupported_media_type")]
#[case(TestRequest::post().uri("/images/pull").set_json(json!({})), 400, "invalid_request")]
#[case(
    TestRequest::post().uri("/images/pull").set_json(json!({"image": "a", "pull_policy": "never"})),
    400,
    "unknown_field"
)]
#[actix_web::test]
async fn a_pull_that_fails_at_once_or_unwatched_has_its_own_status(
    #[case] request: TestRequest,
    #[case] status: u16,
    #[case] code: &str,
) {
    let (got, body) = ask(&door_to(&Shelf::with(&[])), request).await;
    assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[actix_web::test]
async fn a_watched_pull_is_told_as_it_goes() {
    let shelf = Shelf::with(&[]);
    let door = door_to(&shelf);
    let response = call(&door, watched("later")).await;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers().get("content-type").expect("a type"), "text/event-stream");
    let mut stream = pieces(response.into_body());
    let progress = loop {
        let piece = timeout(SOON, stream.next()).await.expect("in time").expect("an event");
        let (name, progress) = events(&piece).pop().expect("one event");
        assert_eq!(name, "progress");
        if progress["layers"] != json!([]) {
            break progress;
        }
    };
    let layer = json!({"digest": "sha256:aa", "phase": "downloading", "done": 50, "total": 100});
    assert_eq!(progress["layers"], json!([layer]));
    assert_eq!((&progress["done"], &progress["total"]), (&json!(50), &json!(100)));
    shelf.arrive.cancel();
    let rest: Vec<_> =
        timeout(SOON, stream.map(|piece| events(&piece)).concat()).await.expect("in time");
    let (name, done) = rest.last().expect("an end");
    assert_eq!((name.as_str(), &done["image"]), ("done", &json!("later:latest")));
    assert!(done["image_digest"].is_string(), "{done}");
    assert_eq!(rest.iter().filter(|(name, _)| name != "progress").count(), 1);
}

/// The pace of events is no reason not to tell it.
#[actix_web::test]
async fn how_far_a_quick_pull_came_is_told_before_its_end() {
    let door = door_to(&Shelf::with(&[]));
    let body = call(&door, watched("quick")).await.into_body();
    let told = timeout(SOON, to_bytes(body)).await.expect("in time").expect("bytes");
    let told = events(&told);
    let [.., (kind, progress), (end, _)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((kind.as_str(), end.as_str()), ("progress", "done"));
    assert_eq!(progress["done"], 50, "{progress}");
}

#[actix_web::test]
async fn a_watched_pull_that_fails_ends_with_its_problem() {
    let door = door_to(&Shelf::with(&[]));
    let request = watched("lost").insert_header(("x-request-id", "mine"));
    let body = call(&door, request).await.into_body();
    let told = timeout(SOON, to_bytes(body)).await.expect("in time").expect("bytes");
    let told = events(&told);
    let (name, problem) = told.last().expect("an end");
    assert_eq!(name, "error");
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(503), &json!("registry_unavailable"))
    );
    assert_eq!(problem["request_id"], "mine");
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(detail.contains("registry.example") && detail.contains("1 attempt"), "{detail}");
    assert!(!problem.to_string().contains("secret"), "{problem}");
    let metrics = door.executor.metrics().encode();
    assert!(metrics.contains("refusals_total{code=\"registry_unavailable\"} 1\n"), "{metrics}");
}

#[actix_web::test]
async fn whoever_leaves_gives_the_pull_and_its_place_up() {
    let shelf = Shelf::with(&[]);
    let door = door_to(&shelf);
    let response = call(&door, watched("slow")).await;
    let (status, body) = ask(&door, pull_of("alpine")).await;
    assert_eq!((status, &body["code"]), (429, &json!("too_many_pulls")));
    let mut body = pieces(response.into_body());
    assert!(timeout(SOON, body.next()).await.expect("in time").is_some());
    assert!(!shelf.given_up.is_cancelled());
    assert_eq!(door.inside.len(), 1);
    drop(body);
    timeout(SOON, shelf.given_up.cancelled()).await.expect("given up");
    drop(timeout(SOON, door.pulls.acquire()).await.expect("in time"));
    assert_eq!(door.inside.len(), 0);
    assert_eq!(ask(&door, pull_of("alpine")).await.0, 200);
}

#[actix_web::test]
async fn a_client_that_does_not_read_keeps_no_place_longer_than_the_pull() {
    let shelf = Shelf::with(&[]);
    let door = door_to(&shelf);
    let _unread = call(&door, watched("later")).await;
    assert_eq!((door.inside.len(), door.pulls.available_permits()), (1, 0));
    shelf.arrive.cancel();
    let _free = timeout(SOON, door.pulls.acquire()).await.expect("in time");
    assert_eq!(door.inside.len(), 0);
}

#[actix_web::test]
async fn a_service_that_stops_ends_pulls() {
    let shelf = Shelf::with(&[]);
    let door = door_to(&shelf);
    let response = call(&door, watched("slow")).await;
    door.cancel.cancel();
    let told = timeout(SOON, to_bytes(response.into_body())).await.expect("in time");
    let told = events(&told.expect("bytes"));
    assert_eq!(
        told.last().map(|(name, problem)| (name.as_str(), &problem["code"])),
        Some(("error", &json!("draining")))
    );
    drop(timeout(SOON, door.pulls.acquire()).await.expect("in time"));
    let (status, body) = ask(&door, pull_of("slow")).await;
    assert_eq!((status, &body["code"]), (503, &json!("draining")));
}

#[actix_web::test]
async fn a_pull_without_news_gives_signs_of_life() {
    let door = door_to(&Shelf::with(&[]));
    let pull = door.executor.registry().pull(&"slow".parse().expect("a reference"));
    let place = door.pulls.clone().try_acquire_owned().expect("a place");
    let place = (door.enter().expect("open"), place);
    let follower = Follower::new(pull, door.clone(), RequestId::new(), place)
        .beating(Duration::from_millis(5));
    let pieces: Vec<_> =
        timeout(SOON, follower.events().take(4).collect::<Vec<_>>()).await.expect("in time");
    let beats = pieces.iter().filter(|piece| piece.as_ref().is_ok_and(|piece| piece == ":\n\n"));
    assert!(beats.count() >= 2, "{pieces:?}");
}
