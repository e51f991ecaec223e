//! What the script prints, on its way to our own standard output and error.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt, Stderr, Stdout};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::execution::observer::Observer;
use crate::execution::transcript::Stream;
use crate::startup::Witness;

/// Our own streams; each write is there when it returns.
pub(super) struct Output {
    stdout: Stdout,
    stderr: Stderr,
}

impl Output {
    /// To be called within a tokio runtime.
    pub(super) fn new() -> Self {
        Self { stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
    }

    /// Writes bytes as they are. It waits for whoever reads, however long that takes.
    pub(super) async fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Stdout => all(&mut self.stdout, bytes).await,
            Stream::Stderr => all(&mut self.stderr, bytes).await,
        }
    }
}

async fn all(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Hands output over without ever holding the script up. It is bounded by the output limit, since
/// an observer hears only of what is kept.
pub(super) struct Relay {
    begun: AtomicBool,
    /// `None`: it all comes with the answer.
    pieces: Option<UnboundedSender<Piece>>,
}

pub(super) type Piece = (Stream, Vec<u8>);

impl Relay {
    pub(super) fn new() -> (Self, UnboundedReceiver<Piece>) {
        let (pieces, received) = unbounded_channel();
        (Self { begun: AtomicBool::new(false), pieces: Some(pieces) }, received)
    }

    pub(super) fn silent() -> Self {
        Self { begun: AtomicBool::new(false), pieces: None }
    }

    fn pass(&self, stream: Stream, bytes: &[u8]) {
        if let Some(pieces) = &self.pieces {
            // Nobody takes it any more when nobody reads.
            let _ = pieces.send((stream, bytes.to_vec()));
        }
    }
}

impl Observer for Relay {
    fn started(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    fn stdout(&self, bytes: &[u8]) {
        self.pass(Stream::Stdout, bytes);
    }

    fn stderr(&self, bytes: &[u8]) {
        self.pass(Stream::Stderr, bytes);
    }
}

impl Witness for Relay {
    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}
