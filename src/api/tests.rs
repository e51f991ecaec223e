use std::sync::atomic::Ordering;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, FromRequest, web};
use bytes::Bytes;
use serde_json::{Value, json};

use super::testing::{Stage, door};
use super::*;

/// One request to a fresh door: status, headers and JSON body.
async fn check(request: TestRequest) -> (u16, HeaderMap, Value) {
    let (stage, _running) = Stage::new();
    ask(door(stage), request).await
}

async fn ask(door: Door, request: TestRequest) -> (u16, HeaderMap, Value) {
    let app = App::new().wrap(from_fn(middleware)).app_data(web::Data::new(door)).configure(routes);
    let app = init_service(app).await;
    taken_apart(call_service(&app, request.to_request()).await).await
}

async fn taken_apart(response: ServiceResponse<impl MessageBody>) -> (u16, HeaderMap, Value) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = read_body(response).await;
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn execute(body: &Value) -> TestRequest {
    TestRequest::post().uri("/execute").set_json(body)
}

#[actix_web::test]
async fn a_script_goes_in_and_an_answer_comes_out() {
    let (status, headers, answer) = check(execute(&json!({"script": "hello"}))).await;
    assert_eq!(
        (status, &answer["status"], &answer["stdout"]),
        (200, &json!("completed"), &json!("hello"))
    );
    assert_eq!(answer["success"], true);
    assert_eq!(answer["image"], "host");
    assert!(headers.contains_key("x-request-id"));
}

#[actix_web::test]
async fn a_form_does_the_same() {
    let form = "--x\r\nContent-Disposition: form-data; name=\"script\"\r\n\r\nhello\r\n--x--\r\n";
    let request = TestRequest::post()
        .uri("/execute")
        .insert_header(("content-type", "multipart/form-data; boundary=x"))
        .set_payload(form);
    let (status, _, answer) = check(request).await;
    assert_eq!((status, &answer["stdout"]), (200, &json!("hello")));
}

#[actix_web::test]
async fn a_request_keeps_its_own_id_where_it_is_harmless() {
    let (_, headers, _) =
        check(TestRequest::get().uri("/health").insert_header(("x-request-id", "mine-1"))).await;
    assert_eq!(header(&headers, "x-request-id"), "mine-1");
    let (_, headers, body) =
        check(TestRequest::get().uri("/nowhere").insert_header(("x-request-id", "a b"))).await;
    assert_ne!(header(&headers, "x-request-id"), "a b");
    assert_eq!(body["request_id"], header(&headers, "x-request-id"));
}

#[actix_web::test]
async fn every_refusal_is_a_problem_document() {
    let json = ("content-type", "application/json");
    let cases = [
        (TestRequest::get().uri("/execute"), 405, "method_not_allowed"),
        (TestRequest::delete().uri("/health"), 405, "method_not_allowed"),
        (TestRequest::post().uri("/metrics"), 405, "method_not_allowed"),
        (TestRequest::get().uri("/execute/"), 404, "not_found"),
        (TestRequest::post().uri("/EXECUTE"), 404, "not_found"),
        (TestRequest::post().uri("/execute").set_payload("{}"), 415, "unsupported_media_type"),
        (
            execute(&json!({"script": "x"})).insert_header(("content-encoding", "gzip")),
            415,
            "unsupported_media_type",
        ),
        (
            TestRequest::post().uri("/execute").insert_header(json).set_payload("{"),
            400,
            "invalid_json",
        ),
        (execute(&json!({"script": "x".repeat(4096)})), 413, "body_too_large"),
        (TestRequest::get().uri(&format!("/{}", "x".repeat(8192))), 414, "uri_too_long"),
        (
            TestRequest::get().uri("/health").insert_header(("x", "x".repeat(32 * 1024))),
            431,
            "headers_too_large",
        ),
        (execute(&json!({"script": "x", "bogus": 1})), 400, "unknown_field"),
        (execute(&json!({"script": "x", "timeout": 61})), 400, "limit_exceeded"),
        (execute(&json!({"script": "  "})), 400, "invalid_request"),
        (execute(&json!({"script": "x", "image": "missing"})), 404, "image_not_found"),
        (execute(&json!({"script": "x", "image": "panic"})), 500, "internal_error"),
        (execute(&json!({"script": "break"})), 502, "container_lost"),
    ];
    for (request, status, code) in cases {
        let (got, headers, body) = check(request).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(header(&headers, "content-type"), "application/problem+json", "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["success"], false);
        assert_eq!(body["error"], body["detail"]);
        assert_eq!(body["request_id"], header(&headers, "x-request-id"));
        assert_eq!(headers.contains_key("allow"), status == 405);
        assert!(!body.to_string().contains("on purpose"), "{body}");
    }
}

#[actix_web::test]
async fn a_body_without_a_length_is_cut_off_too() {
    let pieces = (0..5).map(|_| Ok::<_, PayloadError>(Bytes::from(vec![b' '; 1024])));
    let pieces: std::pin::Pin<Box<dyn futures_util::Stream<Item = _>>> =
        Box::pin(futures_util::stream::iter(pieces));
    let mut payload = Payload::Stream { payload: pieces };
    let request = TestRequest::post().to_http_request();
    let payload = web::Payload::from_request(&request, &mut payload).await.expect("a payload");
    let problem = body::read(&request, payload, 4096).await.expect_err("refused");
    assert_eq!(problem.code, Code::BodyTooLarge);
}

#[actix_web::test]
async fn a_service_that_stops_takes_no_more() {
    for request in [execute(&json!({"script": "x"})), TestRequest::get().uri("/ready")] {
        let (stage, _running) = Stage::new();
        let door = door(stage);
        door.inside.close();
        let (status, headers, body) = ask(door, request).await;
        assert_eq!((status, body["code"].as_str()), (503, Some("draining")));
        assert!(headers.contains_key("retry-after"));
    }
}

#[actix_web::test]
async fn metrics_are_text_that_counts_what_happened() {
    let (stage, _running) = Stage::new();
    let app = App::new()
        .wrap(from_fn(middleware))
        .app_data(web::Data::new(door(stage)))
        .configure(routes);
    let app = init_service(app).await;
    call_service(&app, execute(&json!({"script": "hello"})).to_request()).await;
    call_service(&app, execute(&json!({"script": ""})).to_request()).await;
    for method in [Method::GET, Method::HEAD] {
        let request = TestRequest::with_uri("/metrics").method(method.clone());
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), 200, "{method}");
        let kind = header(response.headers(), "content-type").to_owned();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let text = read_body(response).await;
        let text = str::from_utf8(&text).expect("text");
        for sample in [
            "oncebox_executions_total{status=\"completed\"} 1\n",
            "oncebox_refusals_total{code=\"invalid_request\"} 1\n",
            "oncebox_phase_seconds_count{phase=\"ran\"} 1\n",
        ] {
            // Without a server, nothing takes the body of a HEAD away.
            assert!(text.contains(sample), "{method}: {sample} in {text}");
        }
    }
}

#[actix_web::test]
async fn readiness_shows_the_engine_and_why() {
    let (status, _, body) = check(TestRequest::get().uri("/ready")).await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!(body);
    let (status, _, body) = check(TestRequest::get().uri("/health")).await;
    assert_eq!((status, body), (200, json!({"status": "alive"})));
}

#[actix_web::test]
async fn an_engine_that_is_away_is_not_ready_and_the_service_lives() {
    for (path, expected, code) in
        [("/ready", 503, Some("engine_unavailable")), ("/health", 200, None)]
    {
        let (stage, _running) = Stage::new();
        stage.away.store(true, Ordering::SeqCst);
        let (status, headers, body) = ask(door(stage), TestRequest::get().uri(path)).await;
        assert_eq!((status, body["code"].as_str()), (expected, code), "{body}");
        assert_eq!(headers.contains_key("retry-after"), status == 503);
        assert!(!body.to_string().contains("it is away"), "{body}");
    }
}

/// The door with all that stands before it.
macro_rules! whole {
    ($door:expr) => {
        init_service(
            App::new()
                .wrap(from_fn(middleware))
                .wrap(from_fn(measure))
                .app_data(web::Data::new($door))
                .configure(routes),
        )
        .await
    };
}

#[actix_web::test]
async fn requests_are_counted_whatever_becomes_of_them() {
    let (stage, _running) = Stage::new();
    let app = whole!(door(stage));
    for (request, status) in [
        (execute(&json!({"script": "hello"})), 200),
        (execute(&json!({"script": ""})), 400),
        (TestRequest::get().uri("/s3cret"), 404),
        (TestRequest::get().uri(&format!("/{}", "x".repeat(8192))), 414),
        (TestRequest::get().uri("/images/missing:1"), 404),
    ] {
        let (got, ..) = taken_apart(call_service(&app, request.to_request()).await).await;
        assert_eq!(got, status);
    }
    let text = call_service(&app, TestRequest::get().uri("/metrics").to_request()).await;
    let text = read_body(text).await;
    let text = str::from_utf8(&text).expect("text");
    let count = |labels: &str| format!("oncebox_http_requests_total{{{labels}}}");
    for (labels, times) in [
        (r#"route="/execute",method="POST",class="2xx""#, 1),
        (r#"route="/execute",method="POST",class="4xx""#, 1),
        (r#"route="other",method="GET",class="4xx""#, 2),
        (r#"route="/images/{reference}",method="GET",class="4xx""#, 1),
    ] {
        let sample = format!("{} {times}\n", count(labels));
        assert!(text.contains(&sample), "{sample} in {text}");
    }
    assert!(text.contains("oncebox_http_in_flight 1\n"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}
