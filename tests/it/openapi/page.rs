//! The page for people: whole, without anybody else's help, and nothing more than it says.

use reqwest::blocking::Client;

use crate::support::service::client;
use crate::support::{Engine, Shared};

/// What a page's parts are fetched from.
fn parts(page: &str) -> Vec<&str> {
    ["src=\"", "href=\""]
        .iter()
        .flat_map(|name| page.split(name).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

fn the_page_is_whole_and_fetches_from_nobody_else(engine: Engine) {
    let service = Shared::get(engine);
    let client: Client = client().build().expect("a client");
    let get = |path: &str| {
        let url = format!("http://{}/{path}", service.address());
        client.get(url).send().expect("an answer")
    };
    let page = get("docs");
    let header = |name: &str| page.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(page.status(), 200);
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    // What a browser is told to fetch from here only.
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    let text = page.text().expect("text");
    let parts = parts(&text);
    assert_eq!(parts.len(), 4, "{text}");
    for part in parts {
        let file = part.strip_prefix("docs/").unwrap_or_else(|| panic!("{part} is elsewhere"));
        let reply = get(part);
        assert_eq!(reply.status(), 200, "{part}");
        let kind = reply.headers()["content-type"].to_str().expect("text").to_owned();
        let expected = match file.rsplit_once('.').expect("an extension").1 {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/png",
        };
        assert_eq!(kind, expected, "{part}");
        let length = reply.content_length();
        assert_eq!(length, Some(reply.bytes().expect("a body").len() as u64), "{part}");
    }
    let start = get("docs/start.js").text().expect("text");
    assert!(start.contains("\"openapi.json\"") && !start.contains("//"), "{start}");
}

/// A file that the page has not is like any address that there is not.
fn there_is_nothing_else_beneath_it(engine: Engine) {
    let service = Shared::get(engine);
    for path in [
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-initializer.js",
        "/docs/../docs/swagger-ui.js",
        "/docs/swagger-ui.css/x",
        "/docs/%2e%2e%2fCargo.toml",
        "/openapi.json/",
        "/openapi",
    ] {
        let problem = service.get(path).expect("an answer").refused();
        assert_eq!((problem.http(), problem.code()), (404, "not_found"), "{path}");
    }
    for path in ["/docs", "/docs/start.js", "/openapi.json"] {
        let problem = service.delete(path).refused();
        assert_eq!((problem.http(), problem.code()), (405, "method_not_allowed"), "{path}");
    }
}

mod native {
    on_both_engines! {
        @tests Native, together,
        the_page_is_whole_and_fetches_from_nobody_else, there_is_nothing_else_beneath_it
    }
}
