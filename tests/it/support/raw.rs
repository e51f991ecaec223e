//! A connection on which a test says what it likes, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;

use super::{Problem, Reply, Service};

/// For anything that is to come at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub struct Raw {
    stream: TcpStream,
    /// What came and was not looked at.
    ahead: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answered {
    /// The one header of this name.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice in {:?}", self.headers);
        value
    }

    /// It is a problem document.
    #[track_caller]
    pub fn refused(self) -> Problem {
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{:?}", self.headers);
        assert_eq!(self.header("cache-control"), Some("no-store"), "{:?}", self.headers);
        assert_eq!(self.header("server"), None);
        let text = |name| self.header(name).map(ToOwned::to_owned);
        let (id, retry_after) = (text("x-request-id"), text("retry-after"));
        let content_type = text("content-type").unwrap_or_default();
        let problem =
            Reply { http: self.status, content_type, retry_after, body: self.body }.refused();
        assert_eq!(problem.0["request_id"].as_str(), id.as_deref(), "{}", problem.0);
        problem
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Raw {
    pub fn to(service: &Service) -> Self {
        Self::over(TcpStream::connect(service.address()).expect("a connection"))
    }

    /// From another address of the loopback network.
    pub fn from(address: Ipv4Addr, service: &Service) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from((address, 0))).expect("an address of our own");
        connect(&socket, &service.address()).expect("a connection");
        Self::over(socket.into())
    }

    /// One that takes little before it reads.
    pub fn narrow(service: &Service) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
        connect(&socket, &service.address()).expect("a connection");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connection");
        stream.set_write_timeout(Some(PATIENCE)).expect("a connection");
        Self { stream, ahead: Vec::new() }
    }

    /// All of it, unless the service has had enough before.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// `false` when the service has ended the connection.
    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// `POST /execute` with these headers more, and this body with its length.
    pub fn execute(&mut self, headers: &str, body: &[u8]) -> &mut Self {
        let length = body.len();
        let head = format!("{EXECUTE}{headers}Content-Length: {length}\r\n\r\n");
        self.say([head.as_bytes(), body].concat())
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answered {
        self.next().expect("an answer")
    }

    /// The next answer; `None` when the connection has ended instead.
    #[track_caller]
    pub fn next(&mut self) -> Option<Answered> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            if self.more() == 0 {
                let rest = String::from_utf8_lossy(&self.ahead);
                assert!(rest.is_empty(), "it ends within an answer: {rest}");
                return None;
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().expect("a line");
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {first:?}"));
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answered = Answered { status, headers, body: Vec::new() };
        let length = answered.header("content-length").map_or(0, |n| n.parse().expect("a length"));
        while self.ahead.len() < length {
            assert!(self.more() > 0, "it ends within the body of {answered:?}");
        }
        answered.body = self.ahead.drain(..length).collect();
        Some(answered)
    }

    /// Waits until the service ends the connection, and reads what it says until then.
    #[track_caller]
    pub fn end(&mut self) -> Vec<u8> {
        while self.more() > 0 {}
        std::mem::take(&mut self.ahead)
    }

    /// Whether the service has ended the connection by now.
    pub fn is_over(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a connection");
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("a connection");
        match peeked {
            Ok(bytes) => bytes == 0,
            Err(e) => e.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Whether the service says something, or ends the connection, within this time.
    pub fn is_told(&mut self, limit: Duration) -> bool {
        let limit = limit.max(Duration::from_micros(1));
        self.stream.set_read_timeout(Some(limit)).expect("a connection");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a connection");
        peeked.is_ok()
    }

    /// Leaves as a program does that is killed: without a goodbye to the half that it reads.
    pub fn leave(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads so much at most; 0 at the end.
    #[track_caller]
    pub fn read(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        let began = Instant::now();
        let bytes = match self.stream.read(&mut buffer) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                panic!("nothing came in {:?}", began.elapsed())
            }
            // An end that is not in order is one.
            Err(_) => 0,
        };
        self.ahead.extend_from_slice(&buffer[..bytes]);
        bytes
    }

    #[track_caller]
    fn more(&mut self) -> usize {
        self.read(64 * 1024)
    }
}

/// The head of a request, open for more headers.
pub const EXECUTE: &str = "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
