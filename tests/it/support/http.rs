//! An HTTP server in the suite's own process, on loopback, simple enough to misbehave in every way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A head and, where it says how long it is, a body; `None` at the end of the connection, and
    /// for what is no HTTP, such as a try at TLS.
    fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        if from.fill_buf()?.first().is_none_or(|byte| !byte.is_ascii_uppercase()) {
            return Ok(None);
        }
        let mut line = String::new();
        from.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Self { method, path, headers, body: Vec::new(), at: Instant::now() };
        if let Some(length) = request.header("content-length").and_then(|text| text.parse().ok()) {
            request.body = vec![0; length];
            from.read_exact(&mut request.body)?;
        }
        Ok(Some(request))
    }
}

/// An answer with its whole body.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// The head, for a body of this length.
    pub fn head(&self, length: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        format!("{head}Content-Length: {length}\r\n\r\n").into_bytes()
    }

    /// Sends all of it, as an honest server does.
    pub fn send(&self, request: &Request, to: &mut TcpStream) -> io::Result<()> {
        to.write_all(&self.head(self.body.len()))?;
        if request.method != "HEAD" {
            to.write_all(&self.body)?;
        }
        Ok(())
    }
}

/// What a server does with one request: it answers on the stream, and says with `Ok(true)` that the
/// connection may take another one.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: &Request, to: &mut TcpStream) -> io::Result<bool>;
}

impl<F> Handler for F
where
    F: Fn(&Request) -> Response + Send + Sync + 'static,
{
    fn handle(&self, request: &Request, to: &mut TcpStream) -> io::Result<bool> {
        self(request).send(request, to).map(|()| true)
    }
}

/// A running server; it ends with all its connections when it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What a server has seen.
#[derive(Default)]
struct Seen {
    stopped: AtomicBool,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Request>>,
}

impl Server {
    /// On a free port of 127.0.0.1.
    pub fn start(handler: impl Handler) -> Self {
        Self::start_at("127.0.0.1:0", handler)
    }

    pub fn start_at(address: &str, handler: impl Handler) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let (handler, own) = (Arc::new(handler), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                own.connections.fetch_add(1, Ordering::SeqCst);
                let clone = stream.try_clone().expect("a second handle");
                own.streams.lock().unwrap_or_else(PoisonError::into_inner).push(clone);
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&own));
                // A client that goes away in the middle is no failure of the server's.
                std::thread::spawn(move || drop(converse(stream, &*handler, &seen)));
            }
        });
        Self { address, seen }
    }

    /// One that answers everything with 404: what counts is whether it is asked at all.
    pub fn bystander() -> Self {
        Self::start(|_: &Request| Response::new(404, "nothing here"))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests so far, the first first.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests so far whose method is this and whose path holds this.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let is = |r: &&Request| r.method == method && r.path.contains(part);
        self.requests().iter().filter(is).count()
    }
}

fn converse(stream: TcpStream, handler: &dyn Handler, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(request) = Request::read(&mut from)? {
        seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        if !handler.handle(&request, &mut to)? {
            break;
        }
    }
    to.shutdown(Shutdown::Both)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, so that it sees the end.
        let _ = TcpStream::connect(self.address);
        for stream in self.seen.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
