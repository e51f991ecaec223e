//! What stands between the service and the daemon, and misbehaves as told: it takes one request a
//! connection, asks the daemon, and spoils what that says.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// It gets this status instead, and the daemon hears nothing.
    Say(u16),
    /// The daemon's answer comes with one word for another.
    Lie(&'static str, &'static str),
    /// The stream is reset after so many bytes of the daemon's.
    Reset(usize),
    /// The stream ends after so many bytes of the daemon's, as if that had ended it.
    Cut(usize),
}

/// By the request's first line.
type Plan = Arc<dyn Fn(&str) -> Act + Send + Sync>;

/// The daemon's socket, by another name.
pub struct Proxy {
    folder: TempDir,
    inner: Arc<Inner>,
}

struct Inner {
    daemon: PathBuf,
    plan: Mutex<Plan>,
    closed: AtomicBool,
    spoiled: AtomicUsize,
}

impl Proxy {
    pub fn start() -> Self {
        let folder = TempDir::with_prefix("oncebox-it-").expect("a folder");
        let host = std::env::var("DOCKER_HOST");
        let host = host.unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
        let daemon = host.strip_prefix("unix://").expect("a daemon behind a socket").into();
        let plan: Plan = Arc::new(|_| Act::Pass);
        let (closed, spoiled) = (AtomicBool::default(), AtomicUsize::default());
        let inner = Arc::new(Inner { daemon, plan: Mutex::new(plan), closed, spoiled });
        let proxy = Self { folder, inner };
        proxy.open();
        proxy
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    pub fn plan(&self, plan: impl Fn(&str) -> Act + Send + Sync + 'static) {
        *self.inner.plan.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    /// How many requests did not pass as they were.
    pub fn spoiled(&self) -> usize {
        self.inner.spoiled.load(Ordering::SeqCst)
    }

    /// Refuses connections: nobody listens, and the socket is there.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, so that it sees the end.
        let _ = UnixStream::connect(self.path());
    }

    /// Listens again.
    pub fn open(&self) {
        self.inner.closed.store(false, Ordering::SeqCst);
        let _ = fs::remove_file(self.path());
        let listener = UnixListener::bind(self.path()).expect("a socket");
        let inner = Arc::clone(&self.inner);
        // They end with the process of the suite.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if inner.closed.load(Ordering::SeqCst) {
                    return;
                }
                let inner = Arc::clone(&inner);
                // Either side may leave.
                thread::spawn(move || drop(inner.serve(client)));
            }
        });
    }
}

impl Inner {
    fn serve(&self, client: UnixStream) -> io::Result<()> {
        let mut from = BufReader::new(client.try_clone()?);
        let (first, head) = head(&mut from)?;
        let plan = Arc::clone(&self.plan.lock().unwrap_or_else(PoisonError::into_inner));
        let act = plan(&first);
        self.spoiled.fetch_add(usize::from(act != Act::Pass), Ordering::SeqCst);
        if let Act::Say(status) = act {
            return say(status, client);
        }
        let daemon = UnixStream::connect(&self.daemon)?;
        let upgrade = head.to_ascii_lowercase().contains("upgrade:");
        (&daemon).write_all(head.as_bytes())?;
        // One request a connection, so that what follows is the answer to this one.
        (&daemon).write_all(if upgrade { b"\r\n" } else { b"Connection: close\r\n\r\n" })?;
        let (mut to, watched) = (daemon.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            // A client that is gone is not waited for by a daemon that has nothing to say.
            let how = if upgrade { Shutdown::Write } else { Shutdown::Both };
            let _ = to.shutdown(how);
            drop(watched);
        });
        match act {
            Act::Lie(from, to) => lie(&daemon, &client, (from, to))?,
            Act::Reset(after) => {
                pass(&daemon, &client, after)?;
                // Unread bytes make it a reset (unix(7)).
                client.shutdown(Shutdown::Both)?;
            }
            Act::Cut(after) => pass(&daemon, &client, after)?,
            Act::Pass | Act::Say(_) => pass(&daemon, &client, usize::MAX)?,
        }
        let _ = daemon.shutdown(Shutdown::Both);
        client.shutdown(Shutdown::Both)
    }
}

/// The first line, and all of the head but the last, empty line and what says how long to stay.
fn head(from: &mut BufReader<UnixStream>) -> io::Result<(String, String)> {
    let mut first = String::new();
    from.read_line(&mut first)?;
    let mut head = first.clone();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end() {
            "" => return Ok((first, head)),
            _ => head += &line,
        }
    }
}

fn pass(mut from: &UnixStream, mut to: &UnixStream, most: usize) -> io::Result<()> {
    let (mut buffer, mut left) = ([0; 16 << 10], most);
    while left > 0 {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let now = read.min(left);
        to.write_all(&buffer[..now])?;
        left -= now;
    }
    Ok(())
}

/// An answer in one piece, chunked or not, with a word of the same length in another's place.
fn lie(mut from: &UnixStream, mut to: &UnixStream, (word, other): (&str, &str)) -> io::Result<()> {
    assert_eq!(word.len(), other.len(), "the length of the answer must stay");
    let mut all = Vec::new();
    from.read_to_end(&mut all)?;
    to.write_all(String::from_utf8_lossy(&all).replace(word, other).as_bytes())
}

fn say(status: u16, mut to: UnixStream) -> io::Result<()> {
    let body = r#"{"message":"said by a test"}"#;
    write!(
        to,
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    to.shutdown(Shutdown::Both)
}
