//! The byte stream to one guest, and its frames.

use std::io;

use bytes::{Buf, BytesMut};
use oncebox_guest::wire::{self, HEADER_LEN, MAX_REPORT, Order, Report};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::EngineError;

/// Both directions of a guest's control stream. What is read is hostile until decoded.
pub struct Channel {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    read: BytesMut,
    /// The frame last handed out, so that its bytes can be borrowed.
    last: BytesMut,
}

impl Channel {
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            read: BytesMut::with_capacity(16 * 1024),
            last: BytesMut::new(),
        }
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
            match self.reader.read_buf(&mut self.read).await {
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
        let sent = async {
            self.writer.write_all(frames).await?;
            self.writer.flush().await
        };
        sent.await.map_err(|e| EngineError::Lost(format!("writing to the guest: {e}")))
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
