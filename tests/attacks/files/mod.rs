//! Files that go in and files that come back: rows F.

mod archives;
mod names;
mod results;
mod together;

use reqwest::blocking::multipart::{Form, Part};
use serde_json::json;

use crate::support::{Reply, Service};

/// The same file in both forms of a request; the script shows whether it has run.
fn send(service: &Service, script: &str, name: &str, content: &[u8]) -> [Reply; 2] {
    use base64::Engine as _;
    let coded = base64::engine::general_purpose::STANDARD.encode(content);
    let files = json!([{"path": name, "content_base64": coded}]);
    let part = Part::bytes(content.to_vec()).file_name(name.to_owned());
    [
        service.execute(&json!({"script": script, "files": files})),
        service.execute_form(Form::new().text("script", script.to_owned()).part("files", part)),
    ]
}
