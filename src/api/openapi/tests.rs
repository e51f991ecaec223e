use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpRequest, web};
use serde_json::Value;

use super::*;
use crate::api::testing::{Stage, door};
use crate::api::{Code, middleware, routes};

/// Set to write the file anew.
const UPDATE: &str = "ONCEBOX_UPDATE_OPENAPI";

#[test]
fn the_file_in_docs_is_this_document() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document = [&DOCUMENT, &b"\n"[..]].concat();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &document).unwrap();
    }
    let kept = std::fs::read(&file).unwrap();
    assert!(kept == document, "{} is another one; {UPDATE}=1 writes it anew", file.display());
}

fn read() -> Value {
    serde_json::from_slice(&DOCUMENT).unwrap()
}

/// Calls `see` with every value of the document, and the key it has.
fn visit<'a>(key: &'a str, value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    see(key, value);
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| visit(key, value, see)),
        Value::Array(items) => items.iter().for_each(|item| visit(key, item, see)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    let document = read();
    let mut references = BTreeSet::new();
    visit("", &document, &mut |key, value| {
        if key == "$ref" {
            references.insert(value.as_str().unwrap().to_owned());
        }
    });
    for reference in &references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    for (kind, named) in document["components"].as_object().unwrap() {
        let names = named.as_object().unwrap().keys();
        let unused: Vec<_> = names
            .filter(|_| kind != "securitySchemes")
            .filter(|name| !references.contains(&format!("#/components/{kind}/{name}")))
            .collect();
        assert_eq!(unused, Vec::<&String>::new(), "{kind}");
    }
}

/// What the description says of all addresses together.
const EVERYWHERE: [Code; 2] = [Code::NotFound, Code::MethodNotAllowed];

#[test]
fn every_code_is_said_of_some_operation() {
    let document = read();
    let mut said: BTreeMap<_, usize> = BTreeMap::new();
    visit("", &document, &mut |key, value| {
        if key == "enum"
            && let Some(word) = value.as_str()
        {
            *said.entry(word).or_default() += 1;
        }
    });
    for code in Code::ALL {
        // Once in the list of all.
        let elsewhere = said.get(code.name()).copied().unwrap_or_default().saturating_sub(1);
        let about = ABOUT.contains(code.name());
        assert!(elsewhere > 0 || (EVERYWHERE.contains(code) && about), "{}", code.name());
    }
}

#[test]
fn ids_of_operations_are_unique() {
    let document = read();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{method} {path}: {id}");
        }
    }
    assert!(ids.len() > 20, "{}", ids.len());
}

/// Every address that the service knows, as the description writes it. The router shows its
/// patterns to nobody, except where it is debugged.
async fn addresses() -> BTreeSet<String> {
    let known = Arc::new(Mutex::new(String::new()));
    let seen = known.clone();
    let spy = move |request: HttpRequest| {
        *seen.lock().unwrap() = format!("{:?}", request.resource_map());
        std::future::ready(HttpResponse::Ok())
    };
    let app = App::new().configure(routes).route("/spy", web::get().to(spy));
    let app = init_service(app).await;
    call_service(&app, TestRequest::get().uri("/spy").to_request()).await;
    let debugged = known.lock().unwrap().clone();
    let patterns = debugged.split("patterns: Single(\"").skip(1);
    patterns
        .filter_map(|rest| rest.split('"').next())
        .filter(|pattern| !["", "/spy"].contains(pattern))
        // An expression that a part of an address must match.
        .map(|pattern| pattern.replace(":.+}", "}"))
        .collect()
}

#[actix_web::test]
async fn what_is_described_is_what_there_is() {
    let document = read();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths.keys().cloned().collect();
    assert_eq!(addresses().await, described);
    let (stage, _running) = Stage::new();
    let app = App::new()
        .wrap(from_fn(middleware))
        .app_data(web::Data::new(door(stage)))
        .configure(routes);
    let app = init_service(app).await;
    for (path, methods) in paths {
        let methods: BTreeSet<_> =
            methods.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let address = path.replace(['{', '}'], "");
            let request = TestRequest::default().uri(&address).method(method.parse().unwrap());
            let response = call_service(&app, request.to_request()).await;
            let refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !methods.contains(method), "{method} {path}");
            if refused {
                let allow = response.headers().get("allow").unwrap().to_str().unwrap();
                assert_eq!(allow.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), methods);
            }
        }
    }
}
