//! A registry that misbehaves as told: it stands in front of a real one and spoils what that says.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Registry;
use super::http::{Handler, Request, Response, Server};
use super::service::client;

/// What happens to one request.
pub enum Act {
    /// It gets the true answer.
    Pass,
    /// It gets this instead.
    Say(Response),
    /// It gets the true answer with another body, of whatever length that has.
    Body(fn(Vec<u8>) -> Vec<u8>),
    /// Nothing comes, and the connection stays.
    Silence,
    /// The head of the true answer comes and so many bytes of its body, and nothing more.
    Stall(usize),
    /// The true answer comes, one byte a second.
    Drip,
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// A body without end comes, in pieces of this.
    Endless(Vec<u8>),
    /// It gets what is made of it.
    Made(Make),
}

/// Makes an answer of a request, of what the true answer would be, and of the own address.
type Make = Arc<dyn Fn(&Request, &dyn Fn() -> Response, SocketAddr) -> Response + Send + Sync>;

/// What is asked (`METHOD path`), how often it has been asked that by now (1 the first time), and
/// what happens.
type Plan = Box<dyn Fn(&str, usize) -> Act + Send + Sync>;

/// A registry that misbehaves.
pub struct Faults {
    server: Server,
    sent: Arc<Sent>,
}

/// Bytes of bodies by what was asked.
#[derive(Default)]
struct Sent(Mutex<Vec<(String, usize)>>);

struct Front {
    behind: String,
    http: reqwest::blocking::Client,
    plan: Plan,
    asked: Mutex<Vec<String>>,
    sent: Arc<Sent>,
}

impl Faults {
    pub fn before(
        registry: &Registry,
        plan: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let behind = format!("http://{}", registry.address());
        let redirect = reqwest::redirect::Policy::none();
        let http = client().redirect(redirect).build().expect("a client");
        let sent = Arc::new(Sent::default());
        let (plan, asked) = (Box::new(plan), Mutex::default());
        let front = Front { behind, http, plan, asked, sent: Arc::clone(&sent) };
        Self { server: Server::start(front), sent }
    }

    /// One that misbehaves only in what is asked for by this.
    pub fn at(
        registry: &Registry,
        part: &'static str,
        plan: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::before(registry, move |asked, times| match asked.contains(part) {
            true => plan(times),
            false => Act::Pass,
        })
    }

    /// One whose answers are made from the request and the true answer.
    pub fn answering(
        registry: &Registry,
        make: impl Fn(&Request, &dyn Fn() -> Response, SocketAddr) -> Response + Send + Sync + 'static,
    ) -> Self {
        let make: Make = Arc::new(make);
        Self::before(registry, move |_, _| Act::Made(Arc::clone(&make)))
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address())
    }

    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    pub fn count(&self, method: &str, part: &str) -> usize {
        self.server.count(method, part)
    }

    /// Bytes of bodies that were sent for what holds this.
    pub fn sent(&self, part: &str) -> usize {
        let sent = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|(asked, _)| asked.contains(part)).map(|(_, bytes)| bytes).sum()
    }
}

impl Front {
    /// What the registry behind says.
    fn truth(&self, request: &Request) -> Response {
        let method = request.method.parse().expect("a method");
        let mut ask = self.http.request(method, format!("{}{}", self.behind, request.path));
        for name in ["accept", "authorization", "range"] {
            for (_, value) in request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
                ask = ask.header(name, value);
            }
        }
        let answer = ask.send().expect("the real registry answers");
        let mut truth = Response::new(answer.status().as_u16(), []);
        for name in
            ["content-type", "docker-content-digest", "www-authenticate", "etag", "content-range"]
        {
            if let Some(value) = answer.headers().get(name) {
                truth = truth.with(name, value.to_str().expect("text"));
            }
        }
        if request.method == "HEAD" {
            // Its length is the body's that is not there.
            let length = answer.headers().get("content-length").expect("a length");
            truth = truth.with("x-length", length.to_str().expect("text"));
        }
        truth.body = answer.bytes().expect("a body").to_vec();
        truth
    }

    /// Sends bytes of a body, counted.
    fn send(&self, asked: &str, bytes: &[u8], to: &mut TcpStream) -> io::Result<()> {
        to.write_all(bytes)?;
        let mut sent = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push((asked.to_owned(), bytes.len()));
        Ok(())
    }

    fn whole(
        &self,
        response: &Response,
        request: &Request,
        asked: &str,
        to: &mut TcpStream,
    ) -> io::Result<bool> {
        let length = response.headers.iter().find(|(name, _)| name == "x-length");
        let length = length.and_then(|(_, value)| value.parse().ok());
        to.write_all(&response.head(length.unwrap_or(response.body.len())))?;
        if request.method != "HEAD" {
            self.send(asked, &response.body, to)?;
        }
        Ok(true)
    }
}

impl Handler for Front {
    fn handle(&self, request: &Request, to: &mut TcpStream) -> io::Result<bool> {
        let asked = format!("{} {}", request.method, request.path);
        let times = {
            let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(asked.clone());
            all.iter().filter(|before| **before == asked).count()
        };
        match (self.plan)(&asked, times) {
            Act::Pass => self.whole(&self.truth(request), request, &asked, to),
            Act::Say(response) => self.whole(&response, request, &asked, to),
            Act::Body(change) => {
                let mut truth = self.truth(request);
                truth.body = change(truth.body);
                self.whole(&truth, request, &asked, to)
            }
            Act::Silence => until_gone(to),
            Act::Stall(after) => {
                let truth = self.truth(request);
                to.write_all(&truth.head(truth.body.len()))?;
                self.send(&asked, &truth.body[..after.min(truth.body.len())], to)?;
                until_gone(to)
            }
            Act::Drip => {
                let truth = self.truth(request);
                to.write_all(&truth.head(truth.body.len()))?;
                for byte in &truth.body {
                    self.send(&asked, &[*byte], to)?;
                    std::thread::sleep(Duration::from_secs(1));
                }
                Ok(true)
            }
            Act::Cut(after) => {
                let truth = self.truth(request);
                to.write_all(&truth.head(truth.body.len()))?;
                self.send(&asked, &truth.body[..after.min(truth.body.len())], to)?;
                Ok(false)
            }
            Act::Reset(after) => {
                let truth = self.truth(request);
                to.write_all(&truth.head(truth.body.len()))?;
                self.send(&asked, &truth.body[..after.min(truth.body.len())], to)?;
                reset(to)
            }
            Act::Made(make) => {
                let own = to.local_addr()?;
                self.whole(&make(request, &|| self.truth(request), own), request, &asked, to)
            }
            Act::Endless(piece) => {
                to.write_all(b"HTTP/1.1 200 Status\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                loop {
                    to.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    self.send(&asked, &piece, to)?;
                    to.write_all(b"\r\n")?;
                }
            }
        }
    }
}

/// Holds requests back until the test lets them through.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Returns when it is open; at once, when it is open already.
    pub fn pass(&self) {
        let (lock, opened) = &*self.0;
        let mut open = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = opened.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Waits for the client, or the test, to end the connection.
fn until_gone(stream: &mut TcpStream) -> io::Result<bool> {
    io::copy(stream, &mut io::sink()).map(|_| false)
}

/// Closes a connection so that the client sees a reset and not an end.
fn reset(stream: &TcpStream) -> io::Result<bool> {
    // A connected socket that is told to be connected to nothing resets its connection (connect(2)).
    rustix::net::connect_unspec(stream)?;
    Ok(false)
}
