//! `GET /openapi.json`: the API's own description (OpenAPI 3.1), made of the types that are read and
//! written. `docs/openapi.json` is this document, for those who read it without a service.

mod event;
mod examples;
pub(super) mod fields;
mod form;
mod operation;
mod operations;
mod parameters;
mod refusals;
mod schemas;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use operation::KEY;

/// What the description says of the API as a whole.
const ABOUT: &str = "Runs a stranger's script in a container that was made for it alone and is \
    destroyed after it.\n\nThe answer is 2xx only if the script ran, however it ended. Anything else \
    is a problem document (RFC 9457, `application/problem+json`) with a stable `code`: 4xx where the \
    caller must change something, 5xx where the fault is ours. An address that is not described here \
    is 404 `not_found`, a method that is not described 405 `method_not_allowed`.";

/// What the operations are about.
const TAGS: [(&str, &str); 5] = [
    ("execute", "One script in, one answer out."),
    ("executions", "Scripts that run in the background."),
    ("images", "What scripts run in."),
    ("runtimes", "Images with what scripts in them need, under a name."),
    ("service", "The service itself."),
];

/// The document as it is sent, written once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    // Texts, numbers and lists can always be written.
    document().to_pretty_json().unwrap_or_default().into()
});

pub(super) async fn get() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.clone())
}

fn document() -> OpenApi {
    let operations = operations::all();
    let key =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("obx_…").description(Some(
            "An API key. A service without a file of keys takes requests without one. What a key \
             may do stands beside it: `execute`, `images` or `admin`.",
        ));
    let components =
        ComponentsBuilder::new().security_scheme(KEY, SecurityScheme::Http(key.build()));
    let components = schemas::add(components);
    let components = operation::add(parameters::add(components));
    let components = refusals::add(components, &operations);
    let tag = |(name, about)| TagBuilder::new().name(name).description(Some(about)).build();
    OpenApiBuilder::new()
        // The API's version, which says nothing of the program's.
        .info(InfoBuilder::new().title("Oncebox").version("1").description(Some(ABOUT)).build())
        .tags(Some(TAGS.map(tag)))
        .paths(operation::paths(operations))
        .components(Some(components.build()))
        .build()
}

#[cfg(test)]
mod tests;
