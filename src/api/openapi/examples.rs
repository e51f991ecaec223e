//! Requests with what is answered to them.

use serde_json::{Value, json};
use utoipa::openapi::example::{Example, ExampleBuilder};

pub(super) fn requests(_operation: &str, _mime: &str) -> Vec<(String, Example)> {
    vec![]
}

pub(super) fn answers(_operation: &str, _status: u16, _mime: &str) -> Vec<(String, Example)> {
    vec![]
}
