//! Who may come in, and how often. On one engine: none of this gets as far as to an engine.

mod browsers;
mod doors;
mod keys;
mod rates;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::service::{client, oncebox};
use crate::support::{Engine, Service};

/// A key file as the program itself writes it.
struct KeyFile {
    folder: TempDir,
}

impl KeyFile {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    fn setting(&self) -> String {
        self.path().to_str().expect("UTF-8").to_owned()
    }

    /// Makes a key, which is all that the program says on standard output.
    fn key(&self, arguments: &[&str]) -> String {
        let output = new_key(Some(&self.path()), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).expect("text");
        said.strip_suffix('\n').expect("a line").to_owned()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("its text")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("written");
    }
}

/// `oncebox key new`.
fn new_key(file: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = oncebox("key", Engine::Native);
    command.arg("new").args(arguments).stdin(Stdio::null()).current_dir("/");
    if let Some(file) = file {
        command.env("API_KEYS_FILE", file);
    }
    command.output().expect("the program runs")
}

/// A service and a client of it that is told every answer as it comes.
struct Door {
    service: Service,
    client: Client,
}

impl Door {
    fn open(settings: &[(&str, &str)]) -> Self {
        let service = Service::start(Engine::Native, settings);
        Self { service, client: client().build().expect("a client") }
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, format!("http://{}{path}", self.service.address()))
    }

    fn get(&self, path: &str, token: &str) -> Response {
        self.request("GET", path).bearer_auth(token).send().expect("an answer")
    }

    fn execute(&self, request: &Value, token: &str) -> Response {
        let post = self.request("POST", "/execute").bearer_auth(token);
        post.json(request).send().expect("an answer")
    }

    /// Whether the key opens a door. The script says so, not only the status.
    fn runs(&self, token: &str) -> bool {
        let answer = self.execute(&json!({"script": "echo in"}), token);
        match answer.status().as_u16() {
            200 => answer.json::<Value>().expect("JSON")["stdout"] == "in\n",
            401 => false,
            other => panic!("{other}: {:?}", answer.text()),
        }
    }
}

/// What a problem document says, without the id that is another one each time.
fn problem(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().expect("JSON");
    let text = body.to_string().replace(body["request_id"].as_str().expect("an id"), "ID");
    (status, text)
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}
