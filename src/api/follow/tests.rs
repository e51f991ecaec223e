use std::pin::pin;

use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::*;
use crate::api::testing::{Stage as Played, door};
use crate::api::{middleware, routes};
use crate::execution::Failure;
use crate::execution::observer::Observer;

/// Name, id and data of each event.
fn read(text: &[u8]) -> Vec<(String, String, Value)> {
    let text = str::from_utf8(text).expect("text");
    let field = |event: &str, name: &str| {
        let value = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default().to_owned()
    };
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    events
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data")).expect("JSON");
            (field(event, "event"), field(event, "id"), data)
        })
        .collect()
}

fn follower(live: &Arc<Live>, resume: Resume) -> Follower<()> {
    let (stage, _running) = Played::new();
    let door = web::Data::new(door(stage));
    Follower::new(Uuid::nil(), Arc::clone(live), resume, door, RequestId::new(), ())
}

async fn all(live: &Arc<Live>, resume: Resume) -> Vec<(String, String, Value)> {
    let pieces = follower(live, resume).events().map(|piece| piece.expect("in time"));
    read(&pieces.collect::<Vec<_>>().await.concat())
}

async fn execute(body: &Value) -> (u16, String, Vec<u8>) {
    let (stage, _running) = Played::new();
    let door = web::Data::new(door(stage));
    let app = App::new().wrap(from_fn(middleware)).app_data(door).configure(routes);
    let app = init_service(app).await;
    let request = TestRequest::post().uri("/execute").set_json(body);
    let request = request.insert_header(("accept", "text/event-stream")).to_request();
    let response = call_service(&app, request).await;
    let kind = response.headers().get("content-type").expect("a type");
    let kind = kind.to_str().expect("text").to_owned();
    (response.status().as_u16(), kind, read_body(response).await.to_vec())
}

#[actix_web::test]
async fn a_script_s_output_comes_as_events_and_its_answer_last() {
    let (status, kind, body) = execute(&json!({"script": "hello"})).await;
    assert_eq!((status, &*kind), (200, "text/event-stream"));
    let events = read(&body);
    let heads: Vec<_> = events.iter().map(|(name, id, _)| (&**name, &**id)).collect();
    assert_eq!(heads, [("started", "0"), ("stdout", "5"), ("result", "end")]);
    assert_eq!(events[1].2, json!({"offset": 0, "content": "hello"}));
    let answer = &events[2].2;
    assert_eq!((&answer["stdout"], &answer["status"]), (&json!("hello"), &json!("completed")));
    assert_eq!(answer["id"], events[0].2["id"]);
}

#[actix_web::test]
async fn what_fails_before_the_script_has_a_status_and_later_an_event() {
    for (request, status, code) in [
        (json!({"script": "x", "timeout": 61}), 400, "limit_exceeded"),
        (json!({"script": "x", "image": "missing"}), 404, "image_not_found"),
        (json!({"script": "x", "image": "panic"}), 500, "internal_error"),
    ] {
        let (got, kind, body) = execute(&request).await;
        assert_eq!((got, &*kind), (status, "application/problem+json"));
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["code"], code);
    }
    let (status, _, body) = execute(&json!({"script": "break"})).await;
    let events = read(&body);
    assert_eq!((status, &*events[0].0, &*events[1].0), (200, "started", "error"));
    assert_eq!(events[1].2["code"], "container_lost");
}

#[actix_web::test]
async fn a_client_goes_on_behind_any_event_and_sees_nothing_twice() {
    let live = Arc::new(Live::default());
    live.started();
    live.stdout("h\u{e9}".as_bytes());
    live.stderr(b"\xff!");
    live.stdout(b"llo");
    live.end(Arc::new(Err(Failure::Internal("x".into()))));
    let whole = all(&live, Resume::Start).await;
    assert_eq!(whole[2].2, json!({"offset": 0, "content_base64": "/yE="}));
    assert_eq!(whole[3].2, json!({"offset": 3, "content": "llo"}));
    for (seen, (_, id, _)) in (1..).zip(&whole[..whole.len() - 1]) {
        let rest = all(&live, Resume::Behind(id.parse().expect("a number"))).await;
        let names = |events: &[(String, String, Value)]| {
            events.iter().map(|(name, id, _)| format!("{name} {id}")).collect::<Vec<_>>()
        };
        assert_eq!(names(&rest), names(&whole[seen..]), "{id}");
    }
    assert_eq!(all(&live, Resume::Over).await, []);
}

#[actix_web::test]
async fn many_small_writes_become_few_events_for_a_client_that_is_slow() {
    let live = Arc::new(Live::default());
    live.started();
    for _ in 0..10_000 {
        live.stdout(b"0123456789");
    }
    live.end(Arc::new(Err(Failure::Cancelled)));
    let events = all(&live, Resume::Start).await;
    assert_eq!(events.len(), 1 + 100_000_usize.div_ceil(PIECE) + 1);
    let content = |event: &(_, _, Value)| event.2["content"].as_str().map_or(0, str::len);
    assert_eq!(events.iter().map(content).sum::<usize>(), 100_000);
}

#[actix_web::test]
async fn a_connection_is_kept_alive_while_nothing_happens() {
    let live = Arc::new(Live::default());
    let mut events = pin!(follower(&live, Resume::Start).beating(Duration::ZERO).events());
    assert_eq!(events.next().await.and_then(Result::ok), Some(COMMENT));
    live.started();
    let event = events.next().await.and_then(Result::ok).expect("an event");
    assert!(event.starts_with(b"event: started\n"));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_what_is_left_is_cut_off() {
    let live = Arc::new(Live::default());
    live.started();
    live.stdout(&vec![b'x'; 1 << 20]);
    live.end(Arc::new(Err(Failure::Cancelled)));
    let mut events = pin!(follower(&live, Resume::Start).events());
    let next = async |events: &mut std::pin::Pin<&mut _>| StreamExt::next(events).await;
    assert!(next(&mut events).await.is_some_and(|piece| piece.is_ok()));
    // Two times 1 MiB at the slowest pace, and the grace.
    tokio::time::advance(Duration::from_secs(128 + 29)).await;
    assert!(next(&mut events).await.is_some_and(|piece| piece.is_ok()));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(next(&mut events).await.is_some_and(|piece| piece.is_err()));
}

#[actix_web::test]
async fn a_client_that_does_not_read_holds_no_permit_and_one_that_leaves_takes_the_container() {
    let (stage, mut running) = Played::new();
    let door = web::Data::new(door(stage));
    let app = App::new().wrap(from_fn(middleware)).app_data(door.clone()).configure(routes);
    let app = init_service(app).await;
    let ask = async |script: &str| {
        let request = TestRequest::post().uri("/execute").set_json(json!({ "script": script }));
        let request = request.insert_header(("accept", "text/event-stream")).to_request();
        call_service(&app, request).await
    };
    // Two may run at once, and none may wait.
    let unread: Vec<_> = [ask("a").await, ask("b").await, ask("c").await, ask("d").await].into();
    for response in &unread {
        assert_eq!(response.status().as_u16(), 200);
        running.recv().await.expect("a container").cancelled().await;
    }
    let followed = ask("hang").await;
    let container = running.recv().await.expect("a container");
    assert!(container.cancelled().now_or_never().is_none());
    drop(followed);
    container.cancelled().await;
    door.inside.close();
    drop(unread);
    door.inside.wait().await;
}
