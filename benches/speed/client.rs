//! A client that costs next to nothing, because it shares the cores with what it measures: HTTP/1.1
//! over one blocking keep-alive connection, with a buffer that is used again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// For any one answer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where the answer to a request is checked: what is asked for stands in one of its ends.
const END: usize = 2048;

/// A complete `POST /execute`, and the text that its answer must hold.
pub struct Request {
    bytes: Vec<u8>,
    expect: Vec<u8>,
}

impl Request {
    /// A script that must print this and exit with 0.
    pub fn printing(stdout: &str, body: &Value) -> Self {
        let stdout = serde_json::to_string(stdout).expect("text is JSON");
        Self::expecting(format!(r#""stdout":{stdout}"#), body)
    }

    /// A script whose answer must hold this text near its begin or its end.
    pub fn expecting(text: String, body: &Value) -> Self {
        let bytes = message("POST", "/execute", &body.to_string());
        Self { bytes, expect: text.into_bytes() }
    }

    /// The same of the holder of an API key.
    pub fn with_key(mut self, key: &str) -> Self {
        let head = self.bytes.windows(2).position(|window| window == b"\r\n").expect("a head") + 2;
        self.bytes.splice(head..head, format!("authorization: Bearer {key}\r\n").into_bytes());
        self
    }
}

/// A request as it goes over the wire.
pub fn message(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: oncebox\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One keep-alive connection.
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// How much of the buffer is filled.
    filled: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: vec![0; 16 * 1024], filled: 0 }
    }

    /// Runs one script: from the first byte written to the last byte read. The check comes after.
    pub fn run(&mut self, request: &Request) -> Duration {
        let began = Instant::now();
        let (status, body) = self.exchange(&request.bytes).expect("the service answers");
        let took = began.elapsed();
        let head = &body[..body.len().min(END)];
        let tail = &body[body.len().saturating_sub(END)..];
        let right = status == 200
            && holds(head, br#""success":true"#)
            && (holds(head, &request.expect) || holds(tail, &request.expect));
        assert!(right, "a wrong answer, {status}: {}", String::from_utf8_lossy(head));
        took
    }

    /// Sends a message and reads the whole answer: its status and its body.
    pub fn exchange(&mut self, message: &[u8]) -> std::io::Result<(u16, &[u8])> {
        self.stream.write_all(message)?;
        self.filled = 0;
        let mut body = loop {
            self.read()?;
            let head = &self.buffer[..self.filled];
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..body]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        if header("transfer-encoding: chunked").is_some() {
            return self.chunks(body).map(|body| (status, body));
        }
        let length = header("content-length: ").map_or(Some(0), |text| text.trim().parse().ok());
        let end = body + length.ok_or_else(|| std::io::Error::other("no such length"))?;
        self.fill(end)?;
        body = body.min(end);
        Ok((status, &self.buffer[body..end]))
    }

    /// Reads chunks (RFC 9112, 7.1) that begin at `body` and joins them there.
    fn chunks(&mut self, body: usize) -> std::io::Result<&[u8]> {
        let (mut at, mut end) = (body, body);
        loop {
            let line = loop {
                match self.buffer[at..self.filled].windows(2).position(|w| w == b"\r\n") {
                    Some(length) => break at..at + length,
                    None => self.read()?,
                }
            };
            let size = str::from_utf8(&self.buffer[line.clone()]).ok();
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
            let size = size.ok_or_else(|| std::io::Error::other("no size of a chunk"))?;
            let data = line.end + 2;
            self.fill(data + size + 2)?;
            if size == 0 {
                return Ok(&self.buffer[body..end]);
            }
            self.buffer.copy_within(data..data + size, end);
            end += size;
            at = data + size + 2;
        }
    }

    /// Reads until so much of the buffer is filled.
    fn fill(&mut self, end: usize) -> std::io::Result<()> {
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while self.filled < end {
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..])? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
