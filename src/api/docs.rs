//! `GET /docs`: the API's description as a page for people. Everything that it needs comes from
//! here, so that it works without the internet.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use utoipa_swagger_ui::{Config, serve};

use super::Problem;
use super::large::Pieces;

/// Files of Swagger UI's, and the one that starts it.
pub(super) const FILES: [&str; 4] =
    ["favicon-32x32.png", START, "swagger-ui-bundle.js", "swagger-ui.css"];
const START: &str = "start.js";

/// Addresses are relative, so that the page also works behind a proxy that adds a path.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Oncebox</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

/// Without a validator, which would be somebody else's service.
const START_SCRIPT: &str = r##"SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
"##;

/// Swagger UI sets styles as it goes, and has its icons in its style sheet.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(super) async fn page() -> HttpResponse {
    ok().content_type("text/html; charset=utf-8").body(PAGE)
}

pub(super) async fn file(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let name = FILES.into_iter().find(|file| *file == *name).ok_or_else(Problem::not_found)?;
    let mut response = ok();
    response.insert_header((CACHE_CONTROL, "max-age=3600"));
    if name == START {
        return Ok(response.content_type("text/javascript").body(START_SCRIPT));
    }
    let file = serve(name, Arc::new(Config::default()));
    let file = file.map_err(|e| Problem::internal(format!("{name}: {e}")))?;
    let file = file.ok_or_else(|| Problem::internal(format!("{name} is not there")))?;
    let body = Pieces::of(file.bytes.into_owned());
    Ok(response.content_type(file.content_type).body(body))
}

fn ok() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
    response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response
}
