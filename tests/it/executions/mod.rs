//! Executions that outlive their requests, seen from outside.

mod keys;
mod life;
mod restarts;
pub mod webhooks;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::events::Events;
use crate::support::service::client_from;
use crate::support::{Answer, Service, until};

/// For anything that does not take long.
const SOON: Duration = Duration::from_secs(20);

/// A caller, told apart by his address.
struct Asking {
    client: Client,
    address: SocketAddr,
}

/// An answer with its headers.
struct Said {
    http: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Said {
    fn of(response: Response) -> Self {
        let (http, headers) = (response.status().as_u16(), response.headers().clone());
        Self { http, headers, body: response.bytes().expect("a body").to_vec() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    fn code(&self) -> (u16, String) {
        (self.http, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Asking {
    fn of(service: &Service) -> Self {
        Self::from(service, IpAddr::from([127, 0, 0, 1]))
    }

    fn from(service: &Service, address: IpAddr) -> Self {
        Self { client: client_from(address), address: service.address() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn send(request: RequestBuilder) -> Said {
        Said::of(request.send().expect("an answer"))
    }

    fn get(&self, path: &str) -> Said {
        Self::send(self.client.get(self.url(path)))
    }

    fn cancel(&self, id: &str) -> Said {
        Self::send(self.client.delete(self.url(&format!("/executions/{id}"))))
    }

    fn post(&self, path: &str, body: &Value) -> Said {
        Self::send(self.client.post(self.url(path)).json(body))
    }

    fn keyed(&self, path: &str, key: &str, body: &Value) -> Said {
        Self::send(self.client.post(self.url(path)).header("idempotency-key", key).json(body))
    }

    /// Has a script run in the background.
    #[track_caller]
    fn create(&self, request: &Value) -> String {
        let said = self.post("/executions", request);
        assert_eq!(said.http, 202, "{}", said.json());
        let id = said.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(said.header("location"), format!("/executions/{id}"));
        id
    }

    fn document(&self, id: &str) -> Value {
        let said = self.get(&format!("/executions/{id}"));
        assert_eq!(said.http, 200, "{}", said.json());
        said.json()
    }

    /// The document, once it is in this state.
    fn until(&self, id: &str, state: &str) -> Value {
        until(&format!("{id} to be {state}"), SOON, || {
            let document = self.document(id);
            let is = document["state"].as_str().expect("a state").to_owned();
            let over = !["queued", "running"].contains(&&*is);
            assert!(is == state || !over, "it is {is}, and not {state}: {document}");
            (is == state).then_some(document)
        })
    }

    /// What it printed, once it has ended.
    fn ended(&self, id: &str) -> Answer {
        Answer::read(self.until(id, "ended")["result"].clone())
    }

    fn follow(&self, id: &str, from: Option<&str>) -> Events {
        let mut request = self.client.get(self.url(&format!("/executions/{id}/events")));
        if let Some(from) = from {
            request = request.header("last-event-id", from);
        }
        Events::of(request.send().expect("an answer"))
    }

    fn list(&self, query: &str) -> (Vec<String>, Value) {
        let said = self.get(&format!("/executions{query}"));
        assert_eq!(said.http, 200, "{}", said.json());
        let page = said.json();
        let ids = page["executions"].as_array().expect("a list").iter();
        (ids.map(|e| e["id"].as_str().expect("an id").to_owned()).collect(), page["next"].clone())
    }
}

/// A folder with a file of executions, for one service after another.
pub struct Kept(TempDir);

impl Kept {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("oncebox-it-kept-").tempdir().expect("a folder"))
    }

    pub fn file(&self) -> String {
        self.0.path().join("executions.redb").to_str().expect("text").to_owned()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn script(script: impl Into<String>) -> Value {
    json!({"script": script.into(), "timeout": 250})
}
