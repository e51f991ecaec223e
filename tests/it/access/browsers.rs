//! What browsers and their pages can do.

use serde_json::json;

use super::{Door, KeyFile, header};
use crate::support::turn;

const HERE: &str = "https://app.example";

fn preflight(door: &Door, origin: &str) -> reqwest::blocking::Response {
    door.request("OPTIONS", "/execute")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .expect("an answer")
}

/// A form of any page can be sent without a question before it, so it must not be read.
#[test]
fn w28_only_the_two_encodings_are_read() {
    let _turn = turn::together();
    let door = Door::open(&[]);
    let body = json!({"script": "echo in"}).to_string();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json; charset=utf-16"),
        Some("application/jsonp"),
        Some("application/json; charset=iso-8859-1"),
        Some("application/json, text/plain"),
        Some("application/octet-stream"),
        Some("text/json"),
        Some("json"),
        Some("*/*"),
        Some(""),
    ] {
        let mut request = door.request("POST", "/execute").body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = request.header("origin", HERE).send().expect("an answer");
        assert_eq!(answer.status().as_u16(), 415, "{content_type:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "");
    }
}

/// No page of another origin is let in unless the operator says so.
#[test]
fn w28_browsers_are_told_nothing_unless_configured() {
    let _turn = turn::together();
    let file = KeyFile::new();
    file.key(&["ci"]);
    for settings in [&[][..], &[("API_KEYS_FILE", &*file.setting())]] {
        let door = Door::open(settings);
        let asked = preflight(&door, HERE);
        assert!([401, 405].contains(&asked.status().as_u16()), "{}", asked.status());
        let health = door.request("GET", "/health").header("origin", HERE).send();
        for answer in [asked, health.expect("an answer")] {
            let told =
                answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(told, None);
        }
    }
}

/// With origins configured, questions are answered without a key, and answers may be read by those
/// pages and no others, refusals too.
#[test]
fn w28_pages_of_configured_origins_are_let_in() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci", "--rate", "1000/s"]);
    let origins = format!("{HERE},http://localhost:3000");
    let door = Door::open(&[("API_KEYS_FILE", &file.setting()), ("CORS_ORIGINS", &origins)]);
    let allowed = preflight(&door, HERE);
    assert_eq!(allowed.status().as_u16(), 200);
    assert_eq!(header(&allowed, "access-control-allow-origin"), HERE);
    assert!(header(&allowed, "access-control-allow-methods").contains("POST"));
    let refused = preflight(&door, "https://evil.example");
    assert_eq!(refused.status().as_u16(), 403);
    assert_eq!(header(&refused, "access-control-allow-origin"), "");

    let post = |origin: &str, token: &str| {
        let request = door.request("POST", "/execute").header("origin", origin);
        request.bearer_auth(token).json(&json!({"script": "echo in"})).send().expect("an answer")
    };
    for (token, status) in [(&*key, 200), ("wrong", 401)] {
        let answer = post(HERE, token);
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(header(&answer, "access-control-allow-origin"), HERE);
        let exposed = header(&answer, "access-control-expose-headers").to_lowercase();
        for name in ["x-request-id", "location", "retry-after", "ratelimit", "ratelimit-policy"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
        }
    }
    // What holds a page back is its browser: to us it is a request like any other.
    let other = post("https://evil.example", &key);
    assert_eq!(header(&other, "access-control-allow-origin"), "");
    assert_eq!(header(&other, "vary").to_lowercase().matches("origin").count(), 1);
}
