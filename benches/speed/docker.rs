//! What the service is compared with on Docker: its command line, and its API without one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Connection, PATIENCE, message};
use crate::rivals::find;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// The daemon at `DOCKER_HOST`.
pub struct Daemon {
    host: String,
}

impl Daemon {
    /// `None` when none answers.
    pub fn reach() -> Option<Self> {
        let host = std::env::var("DOCKER_HOST");
        let daemon = Self { host: host.unwrap_or_else(|_| "unix:///var/run/docker.sock".into()) };
        daemon.api().ok()?.ask("GET", "/_ping").is_ok().then_some(daemon)
    }

    pub fn api(&self) -> std::io::Result<Api> {
        let stream: Box<dyn Stream> = if let Some(path) = self.host.strip_prefix("unix://") {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(self.host.trim_start_matches("tcp://"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        };
        Ok(Api(Connection::over(stream)))
    }

    /// The command line of one container that prints `hi`.
    pub fn run(image: &str) -> Vec<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let docker = find("docker", &path).display().to_string();
        let words = ["run", "--rm", "--network", "none", image, "/bin/sh", "-c", "echo hi"];
        std::iter::once(docker).chain(words.map(str::to_owned)).collect()
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        let list = self.api().and_then(|mut api| api.ask("GET", "/containers/json"));
        list.expect("the daemon answers").as_array().map_or(0, Vec::len)
    }
}

/// One keep-alive connection to the daemon.
pub struct Api(Connection<Box<dyn Stream>>);

impl Api {
    /// Creates, starts, awaits and removes one container that prints `hi`. It does not even fetch
    /// what was printed.
    pub fn container(&mut self, image: &str) -> Duration {
        let create = json!({
            "Image": image,
            "Cmd": ["/bin/sh", "-c", "echo hi"],
            "HostConfig": {"NetworkMode": "none"},
        });
        let began = Instant::now();
        let created = self.send("POST", "/containers/create", &create.to_string());
        let created = created.expect("the daemon creates a container");
        let path = format!("/containers/{}", created["Id"].as_str().expect("its id"));
        self.ask("POST", &format!("{path}/start")).expect("the daemon starts it");
        let ended = self.ask("POST", &format!("{path}/wait")).expect("the daemon awaits it");
        self.ask("DELETE", &path).expect("the daemon removes it");
        let took = began.elapsed();
        assert_eq!(ended["StatusCode"], 0, "the container failed");
        took
    }

    fn ask(&mut self, method: &str, path: &str) -> std::io::Result<Value> {
        self.send(method, path, "")
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<Value> {
        let (status, body) = self.0.exchange(&message(method, path, body))?;
        if !(200..300).contains(&status) {
            let why = String::from_utf8_lossy(body);
            return Err(std::io::Error::other(format!("{method} {path}: {status} {why}")));
        }
        Ok(serde_json::from_slice(body).unwrap_or(Value::Null))
    }
}
