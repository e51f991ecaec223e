use actix_web::App;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service, read_body, try_call_service};
use serde_json::{Value, json};

use super::testing::KeyFile;
use super::*;
use crate::api::testing::{Stage, door};
use crate::api::{middleware as outermost, routes};

/// Asks a fresh door in turn: status, headers and body of each answer. No request gets as far as to
/// an engine unless `runs`.
async fn ask(
    options: &AccessOptions,
    runs: bool,
    requests: Vec<TestRequest>,
) -> Vec<(u16, HeaderMap, Value)> {
    let (stage, mut running) = Stage::new();
    let mut door = door(stage);
    door.access = Arc::new(Access::open(options).expect("valid"));
    let app = App::new()
        .wrap(from_fn(middleware))
        .wrap(browsers(options.origins.as_ref()))
        .wrap(from_fn(outermost))
        .app_data(web::Data::new(door))
        .configure(routes);
    let app = init_service(app).await;
    let mut answers = Vec::new();
    for request in requests {
        let response = try_call_service(&app, request.to_request()).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_body(response).await;
        answers.push((status, headers, serde_json::from_slice(&body).unwrap_or_default()));
    }
    assert_eq!(running.try_recv().is_ok(), runs);
    answers
}

fn with_keys(file: &KeyFile) -> AccessOptions {
    AccessOptions { keys_file: Some(file.path().to_owned()), ..AccessOptions::default() }
}

fn with_rate(rate: &str) -> AccessOptions {
    AccessOptions { rate: rate.parse().ok(), ..AccessOptions::default() }
}

fn bearer(request: TestRequest, token: &str) -> TestRequest {
    request.insert_header(("authorization", format!("Bearer {token}")))
}

fn execute() -> TestRequest {
    TestRequest::post().uri("/execute").set_json(json!({"script": "hello"}))
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[actix_web::test]
async fn the_holder_of_a_key_is_known_by_its_name() {
    let mut file = KeyFile::new();
    let token = file.add("ci", "scopes = [\"execute\"]\nmax_timeout = 5");
    let slow = TestRequest::post().uri("/execute").set_json(json!({"script": "x", "timeout": 6}));
    let requests = vec![bearer(execute(), &token), bearer(slow, &token)];
    let answers = ask(&with_keys(&file), true, requests).await;
    let [(status, _, ran), (refused, _, problem)] = &answers[..] else { panic!("two") };
    assert_eq!((*status, &ran["stdout"]), (200, &json!("hello")));
    assert_eq!((*refused, &problem["code"]), (400, &json!("limit_exceeded")));
    assert!(problem["detail"].as_str().expect("text").contains("API key"));
}

#[actix_web::test]
async fn whatever_is_wrong_with_a_key_is_answered_alike() {
    let mut file = KeyFile::new();
    let token = file.add("ci", "scopes = [\"execute\"]");
    let short = "x".repeat(31);
    file.write(&format!(
        "{}[[keys]]\nname = \"short\"\nhash = \"{}\"\nscopes = [\"execute\"]",
        file.text(),
        token::Hash::of(short.as_bytes())
    ));
    let raw = |value: &str| execute().insert_header(("authorization", value));
    let requests = vec![
        execute(),
        raw(""),
        raw("Bearer"),
        raw("Bearer "),
        raw(&token),
        raw(&format!("Basic {token}")),
        raw(&format!("Bearer{token}")),
        raw(&format!("Bearer \"{token}\"")),
        raw(&format!("Bearer {token}, Bearer {token}")),
        bearer(execute(), &token[..46]),
        bearer(execute(), &format!("{token}A")),
        bearer(execute(), &short),
        execute().uri(&format!("/execute?key={token}&access_token={token}")),
        execute().insert_header(("cookie", format!("key={token}; Bearer={token}"))),
        execute().insert_header(("x-api-key", token.clone())),
    ];
    let answers = ask(&with_keys(&file), false, requests).await;
    for (number, (status, headers, body)) in answers.into_iter().enumerate() {
        assert_eq!((status, &body["code"]), (401, &json!("unauthorized")), "{number}");
        assert_eq!(header(&headers, "www-authenticate"), "Bearer", "{number}");
    }
}

#[actix_web::test]
async fn the_scheme_is_read_in_any_case_and_two_headers_are_a_conflict() {
    let mut file = KeyFile::new();
    let token = file.add("ci", "scopes = [\"images\"]");
    let raw = |value: String| get("/images/host").insert_header(("authorization", value));
    let twice = bearer(get("/images/host"), &token)
        .append_header(("authorization", format!("Bearer {token}")));
    let requests = vec![raw(format!("bearer {token}")), raw(format!("BEARER  {token}")), twice];
    let answers = ask(&with_keys(&file), false, requests).await;
    let codes: Vec<_> =
        answers.iter().map(|(status, _, body)| (*status, body["code"].clone())).collect();
    let missing = (404, json!("image_not_found"));
    assert_eq!(codes, [missing.clone(), missing, (400, json!("conflicting_credentials"))]);
}

#[actix_web::test]
async fn every_address_asks_for_its_scope_however_it_is_written() {
    let mut file = KeyFile::new();
    let tokens: Vec<_> = scope::Scope::ALL
        .map(|scope| (scope, file.add(scope.name(), &format!("scopes = [\"{scope}\"]"))))
        .into();
    for (path, needs) in [
        ("/execute", scope::Scope::Execute),
        ("/execute/", scope::Scope::Execute),
        ("/images", scope::Scope::Images),
        ("/images/a%2Fb:1", scope::Scope::Images),
        ("/images/%2e%2e/metrics", scope::Scope::Images),
        ("/images/a/b:1", scope::Scope::Images),
        ("/images/../metrics", scope::Scope::Images),
        ("/metrics", scope::Scope::Admin),
    ] {
        for (scope, token) in &tokens {
            let requests = vec![bearer(get(path), token)];
            let (status, _, body) = &ask(&with_keys(&file), false, requests).await[0];
            let refused = (*status, &body["code"]) == (403, &json!("scope_missing"));
            assert_eq!(refused, *scope != needs, "{path} with {scope}: {status} {body}");
        }
    }
}

#[actix_web::test]
async fn what_is_public_asks_for_nothing_and_all_else_does() {
    let mut file = KeyFile::new();
    let token = file.add("ci", "scopes = [\"execute\"]");
    for (path, status) in [
        ("/health", 200),
        ("/ready", 200),
        // As the router reads it (RFC 3986, 6.2.2.2).
        ("/he%61lth", 200),
        ("/%65xecute", 401),
        ("/", 401),
        ("//health", 401),
        ("/health/", 401),
        ("/nowhere", 401),
        ("/health;/../execute", 401),
    ] {
        let answers = ask(&with_keys(&file), false, vec![get(path)]).await;
        assert_eq!(answers[0].0, status, "{path}");
    }
    let answers = ask(&with_keys(&file), false, vec![bearer(get("/nowhere"), &token)]).await;
    assert_eq!(answers[0].0, 404);
}

#[actix_web::test]
async fn a_rate_is_told_and_held() {
    let requests = vec![get("/images/host"), get("/nowhere"), execute(), get("/health")];
    let answers = ask(&with_rate("2/h"), false, requests).await;
    let standing = |at: usize| header(&answers[at].1, "ratelimit").to_owned();
    assert_eq!(
        answers.iter().map(|(status, ..)| *status).collect::<Vec<_>>(),
        [404, 404, 429, 200]
    );
    assert_eq!([standing(0), standing(1)], ["\"default\";r=1;t=1800", "\"default\";r=0;t=1800"]);
    let (_, headers, body) = &answers[2];
    assert_eq!(body["code"], "rate_limited");
    assert_eq!(header(headers, "ratelimit-policy"), "\"default\";q=2;w=3600");
    let wait: u32 = header(headers, "retry-after").parse().expect("whole seconds");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_eq!(standing(2), format!("\"default\";r=0;t={wait}"));
    assert!(!answers[3].1.contains_key("ratelimit"));
}

#[actix_web::test]
async fn each_key_has_its_own_rate_and_a_wrong_one_is_its_address() {
    let mut file = KeyFile::new();
    let slow = file.add("slow", "scopes = [\"images\"]\nrate = \"1/h\"");
    let usual = file.add("usual", "scopes = [\"images\"]");
    let options = AccessOptions { rate: "2/h".parse().ok(), ..with_keys(&file) };
    let ask_with = |token: &str| bearer(get("/images/host"), token);
    let requests = [&slow, &slow, &usual, &usual, &usual, "no", "no", "no"].map(ask_with);
    let answers = ask(&options, false, requests.into()).await;
    let statuses: Vec<_> = answers.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [404, 429, 404, 404, 429, 401, 401, 429]);
}

#[actix_web::test]
async fn a_request_is_counted_where_a_trusted_proxy_says_it_is_from() {
    let from = |peer: &str, forwarded: &'static str| {
        let peer = format!("{peer}:1").parse().expect("an address");
        get("/nowhere").peer_addr(peer).insert_header(("x-forwarded-for", forwarded))
    };
    let proxies = "10.0.0.1".parse().expect("a proxy");
    let options = AccessOptions { proxies, ..with_rate("1/h") };
    let requests = vec![
        from("203.0.113.1", "1.1.1.1"),
        from("203.0.113.1", "2.2.2.2"),
        from("10.0.0.1", "2.2.2.2"),
        from("10.0.0.1", "3.3.3.3"),
        from("10.0.0.1", "4.4.4.4, 3.3.3.3"),
        from("10.0.0.1", "203.0.113.1"),
    ];
    let answers = ask(&options, false, requests).await;
    let statuses: Vec<_> = answers.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [404, 429, 404, 404, 429, 429]);
}

fn preflight(origin: &'static str, method: &'static str, headers: &'static str) -> TestRequest {
    TestRequest::with_uri("/execute")
        .method(Method::OPTIONS)
        .insert_header(("origin", origin))
        .insert_header(("access-control-request-method", method))
        .insert_header(("access-control-request-headers", headers))
}

#[actix_web::test]
async fn browsers_are_answered_where_the_operator_says_so() {
    const HERE: &str = "https://a.example";
    let mut file = KeyFile::new();
    file.add("ci", "scopes = [\"execute\"]");
    let origins = HERE.parse().ok();
    let options = AccessOptions { origins, ..with_keys(&file) };
    let asked =
        "authorization, content-type, idempotency-key, last-event-id, x-request-id, traceparent";
    let requests = vec![
        preflight(HERE, "POST", asked),
        preflight("https://b.example", "POST", asked),
        preflight(HERE, "PUT", asked),
        preflight(HERE, "POST", "x-other"),
        execute().insert_header(("origin", HERE)),
        execute().insert_header(("origin", "https://b.example")),
    ];
    let answers = ask(&options, false, requests).await;
    let allowed = |at: usize| header(&answers[at].1, "access-control-allow-origin").to_owned();
    assert_eq!((answers[0].0, &*allowed(0)), (200, HERE));
    for (status, headers, body) in &answers[1..4] {
        assert_eq!((*status, &body["code"]), (403, &json!("origin_not_allowed")));
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    // A page may read why it was refused.
    assert_eq!((answers[4].0, &*allowed(4)), (401, HERE));
    let exposed = header(&answers[4].1, "access-control-expose-headers").to_lowercase();
    for name in [
        "x-request-id",
        "location",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "idempotent-replayed",
    ] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
    }
    assert_eq!((answers[5].0, &*allowed(5)), (401, ""));
    assert!(answers.iter().all(|(_, headers, _)| headers.contains_key("x-request-id")));

    let any = AccessOptions { origins: Some(Origins::Any), ..with_keys(&file) };
    let (status, headers, _) = &ask(&any, false, vec![preflight(HERE, "POST", asked)]).await[0];
    assert_eq!((*status, header(headers, "access-control-allow-origin")), (200, "*"));
    let none = ask(&with_keys(&file), false, vec![preflight(HERE, "POST", asked)]).await;
    assert_eq!(none[0].0, 401);
    assert!(none[0].1.keys().all(|name| !name.as_str().starts_with("access-control")));
}
