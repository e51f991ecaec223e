use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::api::testing::{Stage, door};
use crate::api::{Door, access, middleware, routes};

/// A door that is asked more than once, by callers at different addresses.
struct Asking {
    door: web::Data<Door>,
    running: UnboundedReceiver<CancellationToken>,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Asking {
    fn new() -> Self {
        let (stage, running) = Stage::new();
        Self { door: web::Data::new(door(stage)), running }
    }

    async fn send(&self, request: TestRequest) -> Reply {
        let app = App::new()
            .wrap(from_fn(access::middleware))
            .wrap(from_fn(middleware))
            .app_data(self.door.clone());
        let app = init_service(app.configure(routes)).await;
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8(read_body(response).await.to_vec()).expect("text");
        Reply { status, headers, text }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(TestRequest::get().uri(path)).await
    }

    async fn create(&self, script: &str) -> String {
        let reply = self.send(post("/executions", &json!({ "script": script }))).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(reply.header("location"), format!("/executions/{id}"));
        id
    }

    /// The document, once it is in this state.
    async fn until(&self, id: &str, state: &str) -> Value {
        loop {
            let document = self.get(&format!("/executions/{id}")).await.json();
            if document["state"] == state {
                return document;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn post(path: &str, body: &Value) -> TestRequest {
    TestRequest::post().uri(path).set_json(body)
}

fn keyed(path: &str, script: &str, key: &str) -> TestRequest {
    post(path, &json!({ "script": script })).insert_header(("idempotency-key", key))
}

#[actix_web::test]
async fn an_execution_goes_on_without_its_request() {
    let mut asking = Asking::new();
    let id = asking.create("hello").await;
    asking.running.recv().await.expect("a container");
    let document = asking.until(&id, "ended").await;
    let plain = asking.send(post("/execute", &json!({"script": "hello"}))).await.json();
    for same in ["status", "success", "exit_code", "stdout", "stderr", "image", "files"] {
        assert_eq!(document["result"][same], plain[same], "{same}");
    }
    assert_eq!(document["result"]["id"], *id);
    let keys: Vec<_> = document.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, ["created", "ended", "id", "result", "started", "state"]);

    let failed = asking.create("break").await;
    let document = asking.until(&failed, "failed").await;
    assert_eq!(document["problem"]["code"], "container_lost");
    assert_eq!(document["problem"]["status"], 502);
    let page = asking.get("/executions?limit=1").await.json();
    assert_eq!(page["executions"][0]["id"], *failed);
    assert_eq!(page["next"], *failed);
    let page = asking.get(&format!("/executions?after={failed}")).await.json();
    assert_eq!((&page["executions"][0]["id"], &page["next"]), (&json!(id), &Value::Null));
    assert!(page["executions"][0].get("result").is_none(), "{page}");
}

#[actix_web::test]
async fn one_that_goes_on_is_cancelled() {
    let mut asking = Asking::new();
    let id = asking.create("hang").await;
    let container = asking.running.recv().await.expect("a container");
    asking.until(&id, "running").await;
    let cancel = || TestRequest::delete().uri(&format!("/executions/{id}"));
    for _ in 0..2 {
        let document = asking.send(cancel()).await.json();
        assert_eq!(
            (&document["state"], &document["result"]["status"]),
            (&json!("ended"), &json!("cancelled"))
        );
    }
    container.cancelled().await;
}

#[actix_web::test]
async fn w29_somebody_elses_execution_is_none() {
    let asking = Asking::new();
    let id = asking.create("hello").await;
    let of = |method: TestRequest, path: &str| {
        method.uri(path).peer_addr("192.0.2.7:80".parse().expect("an address"))
    };
    let unknown = uuid::Uuid::now_v7().to_string();
    for suffix in ["", "/events"] {
        let mut texts = Vec::new();
        for id in [&id, &unknown, &id.to_uppercase(), &id.replace('-', ""), "x"] {
            let path = format!("/executions/{id}{suffix}");
            let reply = asking.send(of(TestRequest::get(), &path)).await;
            assert_eq!(reply.code(), (404, "execution_not_found".into()), "{path}");
            let mut document = reply.json();
            document["request_id"] = Value::Null;
            texts.push(document.to_string());
        }
        texts.dedup();
        assert_eq!(texts.len(), 1, "{texts:?}");
    }
    let reply = asking.send(of(TestRequest::delete(), &format!("/executions/{id}"))).await;
    assert_eq!(reply.code(), (404, "execution_not_found".into()));
    let list = asking.send(of(TestRequest::get(), "/executions")).await.json();
    assert_eq!(list, json!({"executions": [], "next": null}));
    asking.until(&id, "ended").await;
}

#[actix_web::test]
async fn what_is_wrong_is_named() {
    let asking = Asking::new();
    let cases = [
        (TestRequest::get().uri("/executions?limit=0"), 400, "invalid_request"),
        (TestRequest::get().uri("/executions?limit=501"), 400, "invalid_request"),
        (TestRequest::get().uri("/executions?limit=x"), 400, "invalid_request"),
        (TestRequest::get().uri("/executions?after=x"), 400, "invalid_request"),
        (TestRequest::get().uri("/executions?bogus=1"), 400, "invalid_request"),
        (TestRequest::put().uri("/executions"), 405, "method_not_allowed"),
        (TestRequest::post().uri("/executions/x"), 405, "method_not_allowed"),
        (TestRequest::delete().uri("/executions/x/events"), 405, "method_not_allowed"),
        (post("/executions", &json!({"script": " "})), 400, "invalid_request"),
        (post("/executions", &json!({"script": "x", "timeout": 61})), 400, "limit_exceeded"),
        (
            post("/executions", &json!({"script": "x", "retry_on_interrupt": 1})),
            400,
            "invalid_request",
        ),
        (
            post("/executions", &json!({"script": "x", "webhook": "https://a.example/"})),
            403,
            "webhook_not_allowed",
        ),
        (
            post("/execute", &json!({"script": "x", "webhook": "https://a.example/"})),
            400,
            "unknown_field",
        ),
        (
            post("/execute", &json!({"script": "x", "retry_on_interrupt": false})),
            400,
            "unknown_field",
        ),
        (keyed("/execute", "x", "two words"), 400, "invalid_idempotency_key"),
        (keyed("/executions", "x", ""), 400, "invalid_idempotency_key"),
    ];
    for (request, status, code) in cases {
        let reply = asking.send(request).await;
        assert_eq!(reply.code(), (status, code.into()), "{}", reply.text);
    }
}

#[actix_web::test]
async fn a_key_has_one_answer() {
    let asking = Asking::new();
    let first = asking.send(keyed("/execute", "hello", "k")).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
    let again = asking.send(keyed("/execute", "hello", "k")).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"));
    assert_eq!(first.text, again.text);
    let spaced = TestRequest::post()
        .uri("/execute")
        .insert_header(("idempotency-key", "k"))
        .insert_header(("content-type", "application/json"))
        .set_payload("{ \"script\" :\n\"hello\" }");
    assert_eq!(asking.send(spaced).await.text, first.text, "it means the same");
    let other = asking.send(keyed("/execute", "other", "k")).await;
    assert_eq!(other.code(), (409, "idempotency_conflict".into()));
    let without = TestRequest::post()
        .uri("/execute")
        .insert_header(("idempotency-key", "k"))
        .set_json(json!({"script": "hello", "forward_env": false}));
    assert_eq!(asking.send(without).await.code(), (409, "idempotency_conflict".into()));
    let elsewhere = asking.send(keyed("/executions", "hello", "k")).await;
    assert_eq!(elsewhere.code(), (409, "idempotency_conflict".into()));

    let broken = asking.send(keyed("/execute", "break", "b")).await;
    let again = asking.send(keyed("/execute", "break", "b")).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(broken.code(), again.code());
    assert_eq!(broken.header("content-type"), again.header("content-type"));

    let first = asking.send(keyed("/executions", "hello", "e")).await;
    let again = asking.send(keyed("/executions", "hello", "e")).await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[actix_web::test]
async fn events_are_replayed_from_where_a_client_was() {
    let asking = Asking::new();
    let id = asking.create("hello").await;
    asking.until(&id, "ended").await;
    let from = |last: Option<&str>| {
        let request = TestRequest::get().uri(&format!("/executions/{id}/events"));
        match last {
            Some(last) => request.insert_header(("last-event-id", last)),
            None => request,
        }
    };
    let whole = asking.send(from(None)).await;
    assert_eq!(whole.header("content-type"), "text/event-stream");
    let names = |text: &str| {
        let names = text.lines().filter_map(|line| line.strip_prefix("event: "));
        names.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&whole.text), ["started", "stdout", "result"]);
    let rest = asking.send(from(Some("2"))).await.text;
    assert_eq!(names(&rest), ["stdout", "result"]);
    assert!(rest.contains("data: {\"offset\":2,\"content\":\"llo\"}"), "{rest}");
    assert_eq!(asking.send(from(Some("end"))).await.status, 204);
    assert_eq!(asking.send(from(Some("x"))).await.code(), (400, "invalid_request".into()));
    // With a key, events of the same execution.
    let streamed =
        || keyed("/execute", "hello", "k").insert_header(("accept", "text/event-stream"));
    let first = asking.send(streamed()).await;
    let again = asking.send(streamed()).await;
    assert_eq!(first.text, again.text);
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[actix_web::test]
async fn a_form_says_the_same() {
    let asking = Asking::new();
    let part = |name: &str, text: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let send = async |retry: &str| {
        let body = part("script", "hello") + &part("retry_on_interrupt", retry) + "--x--\r\n";
        let request = TestRequest::post().uri("/executions");
        let form = ("content-type", "multipart/form-data; boundary=x");
        asking.send(request.insert_header(form).set_payload(body)).await
    };
    assert_eq!(send("true").await.status, 202);
    assert_eq!(send("maybe").await.code(), (400, "invalid_request".into()));
}
