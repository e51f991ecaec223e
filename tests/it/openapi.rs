//! The API's own description: it is what the service does, and the page that shows it needs nobody
//! else.

mod examples;
mod generated;
mod page;

use serde_json::Value;

use crate::support::Service;

/// The description as the service gives it.
fn described(service: &Service) -> Value {
    let reply = service.get("/openapi.json").expect("an answer");
    assert_eq!((reply.http, &*reply.content_type), (200, "application/json"));
    serde_json::from_slice(&reply.body).expect("JSON")
}
