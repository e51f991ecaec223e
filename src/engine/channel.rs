//! The byte stream to one guest, and its frames.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use bytes::{Buf, BytesMut};
use oncebox_guest::wire::{self, HEADER_LEN, MAX_REPORT, Order, Report};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Join, join};
use tokio::net::UnixStream;

use super::EngineError;

/// Bytes of room for one read.
const READ: usize = 16 * 1024;

/// Both directions of a guest's control stream. What is read is hostile until decoded.
pub struct Channel {
    stream: Stream,
    read: BytesMut,
    /// The frame last handed out, so that its bytes can be borrowed.
    last: BytesMut,
}

enum Stream {
    Socket(UnixStream),
    Joined(Box<dyn Duplex>),
    /// Its socket could not be moved to another runtime.
    Lost,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<R, W> Duplex for Join<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
}

impl Channel {
    /// A channel over one connected socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket can't be watched.
    pub fn socket(socket: StdStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::over(Stream::Socket(UnixStream::from_std(socket)?)))
    }

    /// A channel over two streams.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self::over(Stream::Joined(Box::new(join(reader, writer))))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, read: BytesMut::new(), last: BytesMut::new() }
    }

    /// Has a socket watched by the runtime of the thread that calls, so that what arrives on it
    /// wakes that thread and no other. Other streams stay where they are.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the socket can't be watched there.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        let failed = |e| EngineError::Unavailable(format!("control stream: {e}"));
        self.stream = match std::mem::replace(&mut self.stream, Stream::Lost) {
            Stream::Socket(socket) => {
                let moved = socket.into_std().and_then(UnixStream::from_std);
                Stream::Socket(moved.map_err(failed)?)
            }
            other => other,
        };
        Ok(())
    }

    /// The next report; `None` when the guest has closed the stream between two frames.
    ///
    /// Cancel-safe: bytes read stay in the buffer.
    ///
    /// # Errors
    /// [`EngineError::Protocol`] for a malformed frame, [`EngineError::Lost`] for a broken stream.
    pub async fn next(&mut self) -> Result<Option<Report<'_>>, EngineError> {
        let (kind, len) = loop {
            if let Some(head) = self.read.first_chunk::<HEADER_LEN>() {
                let (kind, len) = wire::header(*head, MAX_REPORT).map_err(protocol)?;
                if self.read.len() >= HEADER_LEN + len {
                    break (kind, len);
                }
                self.read.reserve(HEADER_LEN + len - self.read.len());
            }
            self.read.reserve(READ);
            let read = match &mut self.stream {
                Stream::Socket(socket) => socket.read_buf(&mut self.read).await,
                Stream::Joined(stream) => stream.read_buf(&mut self.read).await,
                Stream::Lost => Ok(0),
            };
            match read {
                Ok(0) if self.read.is_empty() => return Ok(None),
                Ok(0) => return Err(EngineError::Lost("stream ended within a frame".into())),
                Ok(_) => {}
                // A killed guest resets its socket; that is an end like any other.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(EngineError::Lost(format!("reading from the guest: {e}"))),
            }
        };
        self.read.advance(HEADER_LEN);
        self.last = self.read.split_to(len);
        Report::decode(kind, &self.last).map(Some).map_err(protocol)
    }

    /// Sends orders that were encoded into `frames`.
    ///
    /// # Errors
    /// [`EngineError::Lost`] when the guest no longer reads.
    pub async fn send(&mut self, frames: &[u8]) -> Result<(), EngineError> {
        let sent = match &mut self.stream {
            Stream::Socket(socket) => socket.write_all(frames).await,
            Stream::Joined(stream) => match stream.write_all(frames).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
            Stream::Lost => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|e| EngineError::Lost(format!("writing to the guest: {e}")))
    }

    /// Sends one order.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn order(&mut self, order: &Order<'_>) -> Result<(), EngineError> {
        let mut frame = Vec::new();
        order.encode(&mut frame);
        self.send(&frame).await
    }
}

fn protocol(e: wire::Malformed) -> EngineError {
    EngineError::Protocol(e.to_string())
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
