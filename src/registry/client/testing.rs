//! A registry that misbehaves on demand, over real connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Client, ClientOptions, Times};
use crate::registry::{Credentials, Reference};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is sent back.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Declared instead of the body's own length; `None` is that, `Some(None)` none at all.
    pub(super) length: Option<Option<usize>>,
    pub(super) end: End,
}

/// What happens when the reply has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum End {
    #[default]
    Close,
    /// The connection stays, and nothing comes any more.
    Silence,
    /// A byte every few milliseconds.
    Drip,
}

pub(super) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, body: body.into(), ..Reply::default() }
}

impl Reply {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    pub(super) fn declaring(self, length: Option<usize>) -> Self {
        Self { length: Some(length), ..self }
    }
}

/// A server on a loopback port that answers each request as a function says; it ends when dropped.
pub(super) struct Fake {
    pub(super) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
    _serving: JoinSet<()>,
}

impl Fake {
    pub(super) async fn new(
        answer: impl Fn(&Asked, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (asked, connections) = <(Arc<Mutex<Vec<Asked>>>, Arc<Mutex<usize>>)>::default();
        let (log, count, own) = (asked.clone(), connections.clone(), host.clone());
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (log, answer, own) = (log.clone(), answer.clone(), own.clone());
                each.spawn(async move {
                    let _ = serve(stream, &log, |asked| answer(asked, &own)).await;
                });
            }
        });
        Self { host, asked, connections, _serving: serving }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub(super) fn reference(&self) -> Reference {
        format!("{}/team/app:v1", self.host).parse().unwrap()
    }

    /// A client that may come here, and to these others as well.
    pub(super) fn client_and(&self, others: &[&Fake], credentials: Credentials) -> Client {
        let hosts = std::iter::once(self).chain(others.iter().copied());
        let hosts: Vec<_> = hosts.map(|fake| fake.host.clone()).collect();
        Client::new(ClientOptions {
            plain_http: hosts.clone(),
            private: hosts,
            credentials,
            times: short(),
            ..ClientOptions::default()
        })
        .unwrap()
    }

    pub(super) fn client(&self) -> Client {
        self.client_and(&[], Credentials::default())
    }
}

/// Long enough for a machine that is busy, and short enough to wait for.
pub(super) fn short() -> Times {
    let time = Duration::from_millis(1500);
    Times { connect: time, response: time, stall: time }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: impl Fn(&Asked) -> Reply,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head[0] == 0x16 {
            // TLS, which is answered as other servers without it do.
            return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: HashMap<_, _> = headers.collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let asked = Asked { method, path, headers, body: String::from_utf8(body).unwrap() };
    let reply = answer(&asked);
    let head_only = asked.method == "HEAD";
    log.lock().unwrap().push(asked);
    let mut text = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = reply.length.unwrap_or(Some(reply.body.len())) {
        text += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    if !head_only {
        stream.write_all(&reply.body).await?;
    }
    match reply.end {
        End::Close => stream.shutdown().await,
        // Until the other side has enough.
        End::Silence => stream.read_u8().await.map(|_| ()),
        End::Drip => loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
    }
}
