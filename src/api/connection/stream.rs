//! The stream under HTTP, with the deadlines, and with a problem document in place of each answer
//! that the server below gives by itself.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::web;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::info;

use super::deadline::Deadline;
use super::farewell::Farewell;
use super::refusal::{self, Own};
use super::slots::Slot;
use super::state::{Connection, Over};
use crate::api::Door;

/// How often the server below may come round without reading or writing.
const TURNS: u32 = 10_000;

/// One connection's stream.
pub(super) struct Stream {
    io: TcpStream,
    connection: Rc<Connection>,
    door: web::Data<Door>,
    reading: Deadline,
    writing: Deadline,
    /// What is still to be said before the connection ends, once it does.
    last_word: Option<Vec<u8>>,
    farewell: Farewell,
    turns: u32,
    _slot: Slot,
}

impl Stream {
    pub(super) fn new(
        io: TcpStream,
        connection: Rc<Connection>,
        door: web::Data<Door>,
        slot: Slot,
    ) -> Self {
        Self {
            io,
            connection,
            door,
            reading: Deadline::default(),
            writing: Deadline::default(),
            last_word: None,
            farewell: Farewell::default(),
            turns: 0,
            _slot: slot,
        }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Says the last word, and waits for the client to stop. An empty one has been said already.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut word) = self.last_word.take().filter(|word| !word.is_empty()) {
            let written = self.write(cx, &word);
            if let Poll::Ready(Ok(written)) = written {
                word.drain(..written);
            }
            self.last_word = Some(word);
            ready!(written)?;
        }
        self.last_word = Some(Vec::new());
        self.farewell.poll(&mut self.io, cx).map(Ok)
    }

    /// Ends the connection for this reason.
    fn is_over(&mut self, cx: &mut Context<'_>, over: Over) -> Poll<io::Result<()>> {
        match over {
            // As if the client had left.
            Over::Silence => Poll::Ready(Ok(())),
            Over::Refused(code) => {
                self.last_word = Some(refusal::answer(&self.door, code));
                self.over(cx)
            }
        }
    }

    fn over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.end(cx))?;
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, bytes) {
            let written = written?;
            self.connection.wrote(written);
            return Poll::Ready(Ok(written));
        }
        ready!(self.writing.poll(cx, self.connection.writing_until()));
        info!("a client that does not take its answer is cut off");
        // Otherwise the kernel would keep offering what it has of the answer.
        self.io.set_zero_linger()?;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.turns = 0;
        if this.last_word.is_some() {
            return this.over(cx);
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buf) {
            read?;
            let came = buf.filled().get(before..).unwrap_or_default();
            let came = if came.is_empty() { Ok(()) } else { this.connection.came(came) };
            let Err(over) = came else { return Poll::Ready(Ok(())) };
            buf.set_filled(before);
            return this.is_over(cx, over);
        }
        let Some((until, over)) = this.connection.reading_until(cx.waker()) else {
            return Poll::Pending;
        };
        ready!(this.reading.poll(cx, until));
        this.is_over(cx, over)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.turns = 0;
        let Some(Own { at, code }) = refusal::own(buf) else { return this.write(cx, buf) };
        if at > 0 {
            return this.write(cx, buf.get(..at).unwrap_or(buf));
        }
        if this.last_word.is_none() {
            // A broken body is refused by whoever reads it, and one answer is enough.
            let answered = this.connection.answered_early();
            let word = if answered { Vec::new() } else { refusal::answer(&this.door, code) };
            this.last_word = Some(word);
        }
        ready!(this.end(cx))?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // While a request is inside, requests behind it that fill the server's buffer have it wake
        // itself up without end.
        this.turns += 1;
        if this.turns > TURNS {
            info!("a client that sends on and on behind a request is cut off");
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
