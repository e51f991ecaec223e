//! A daemon for tests: a TCP listener that answers each call by its method and path.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// What the daemon says to one call.
pub(super) enum Answer {
    Status(u16, String),
    Bytes(Vec<u8>),
    /// The stream becomes the container's.
    Upgrade,
}

impl Answer {
    pub(super) fn ok(body: &str) -> Self {
        Self::Status(200, body.into())
    }
}

/// The daemon, for as long as it is held.
pub(super) struct Fake {
    port: u16,
    calls: mpsc::UnboundedReceiver<String>,
    _server: AbortOnDropHandle<()>,
}

impl Fake {
    pub(super) async fn start(
        answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, calls) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), heard.clone()));
            }
        });
        Self { port, calls, _server: AbortOnDropHandle::new(server) }
    }

    pub(super) fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// All calls that have come.
    pub(super) fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }

    /// All calls so far, up to the first that contains `part`; awaits it.
    pub(super) async fn until(&mut self, part: &str) -> Vec<String> {
        let mut calls: Vec<String> = Vec::new();
        let listen = async {
            while !calls.last().is_some_and(|call| call.contains(part)) {
                calls.push(self.calls.recv().await.unwrap());
            }
        };
        let heard = timeout(Duration::from_secs(10), listen).await;
        assert!(heard.is_ok(), "no call with {part}: {calls:?}");
        calls
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str, &str) -> Answer>,
    heard: mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8(request[..end].to_vec()).unwrap();
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    while request.len() < head.len() + 4 + length.unwrap_or(0) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let _ = heard.send(format!("{method} {path}"));
    let (status, body) = match answer(method, path) {
        Answer::Status(status, body) => (status, body.into_bytes()),
        Answer::Bytes(body) => (200, body),
        Answer::Upgrade => {
            let upgraded = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
            let _ = stream.write_all(upgraded).await;
            let _ = stream.read_to_end(&mut request).await;
            return;
        }
    };
    let length =
        if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{length}\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}

/// `/info` of a daemon that can do all that is needed.
pub(super) fn able_host() -> String {
    json!({
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "PidsLimit": true,
        "SecurityOptions": ["name=seccomp,profile=default"],
        "CgroupVersion": "2",
    })
    .to_string()
}

/// An image for this machine.
pub(super) fn image() -> String {
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    json!({
        "Id": "sha256:1d",
        "RepoDigests": ["busybox@sha256:d1"],
        "Os": "linux",
        "Architecture": architecture,
        "Config": { "Env": ["PATH=/bin"] },
    })
    .to_string()
}

pub(super) fn volume() -> String {
    let volume = json!({
        "Name": "v", "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Options": {}, "Scope": "local",
    });
    volume.to_string()
}
