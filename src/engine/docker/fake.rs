//! A daemon for tests: a TCP listener that answers each call by its method and path.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// What the daemon says to one call.
pub(super) enum Answer {
    Status(u16, String),
    Bytes(Vec<u8>),
    /// A line now and then, until the sender is dropped or nobody listens; an empty one ends it well.
    Stream(mpsc::UnboundedReceiver<String>),
    /// That body, when the sender says so.
    Held(oneshot::Receiver<()>, String),
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
    accepted: Arc<AtomicUsize>,
    connections: Arc<Mutex<JoinSet<()>>>,
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
        let accepted = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (count, open) = (Arc::clone(&accepted), Arc::clone(&connections));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let connection = serve(stream, Arc::clone(&answer), heard.clone());
                open.lock().unwrap().spawn(connection);
            }
        });
        Self { port, calls, accepted, connections, _server: AbortOnDropHandle::new(server) }
    }

    pub(super) fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// How many connections have come.
    pub(super) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Closes every connection, as a daemon that ends; the next call finds it started again.
    pub(super) async fn hang_up(&self) {
        let mut open = std::mem::take(&mut *self.connections.lock().unwrap());
        open.shutdown().await;
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
    let mut buffer = Vec::new();
    while let Some((method, path)) = hear(&mut stream, &mut buffer).await {
        let _ = heard.send(format!("{method} {path}"));
        let said = match answer(&method, &path) {
            Answer::Status(status, body) => say(&mut stream, status, body.as_bytes()).await,
            Answer::Held(released, body) => {
                let _ = released.await;
                say(&mut stream, 200, body.as_bytes()).await
            }
            Answer::Bytes(body) => say(&mut stream, 200, &body).await,
            Answer::Stream(lines) => return tell(&mut stream, lines).await,
            Answer::Upgrade => {
                let head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
                let _ = stream.write_all(head).await;
                let _ = stream.read_to_end(&mut buffer).await;
                return;
            }
        };
        if said.is_err() {
            return;
        }
    }
}

/// The next call on a connection: its method and path.
async fn hear(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let length = length.unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    buffer.drain(..length);
    let mut words = head.split(' ').map(str::to_owned);
    Some((words.next().unwrap(), words.next().unwrap()))
}

async fn say(stream: &mut TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let length =
        if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status} X\r\n{length}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await
}

/// An answer that goes on for as long as there are lines and a listener. It breaks off then, unless
/// the last line was empty: that is the end of a whole answer.
async fn tell(stream: &mut TcpStream, mut lines: mpsc::UnboundedReceiver<String>) {
    let _ = stream.write_all(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = stream.read_u8() => None,
        };
        let Some(line) = line else { return };
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
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
        "NCPU": 2,
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
