//! The stream under HTTP, with the deadlines, and with a problem document in place of each answer
//! that the server below gives by itself.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::web;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::info;

use super::refusal::{self, Own};
use super::slots::Slot;
use super::state::{Connection, Over};
use crate::api::{Code, Door};

/// How often the server below may come round without reading or writing.
const TURNS: u32 = 10_000;

/// One connection's stream.
pub(super) struct Stream {
    io: TcpStream,
    connection: Rc<Connection>,
    door: web::Data<Door>,
    reading: Deadline,
    writing: Deadline,
    /// What is being written in place of an answer of the server's own.
    instead: Option<Vec<u8>>,
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
            instead: None,
            turns: 0,
            _slot: slot,
        }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Says why, as far as the client takes it at once, and ends the connection.
    fn refuse(&mut self, cx: &mut Context<'_>, code: Code) -> io::Error {
        let answer = refusal::answer(&self.door, code);
        let _ = Pin::new(&mut self.io).poll_write(cx, &answer);
        // Whoever is still sending would not see the answer if there were something left unread.
        let mut rest = [0; 16 * 1024];
        for _ in 0..16 {
            let mut rest = ReadBuf::new(&mut rest);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut rest);
            if !matches!(read, Poll::Ready(Ok(()))) || rest.filled().is_empty() {
                break;
            }
        }
        io::ErrorKind::InvalidData.into()
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

    /// Writes what stands in place of an answer of the server's own, which was so long.
    fn write_instead(&mut self, cx: &mut Context<'_>, own: usize) -> Poll<io::Result<usize>> {
        while let Some(mut rest) = self.instead.take() {
            if rest.is_empty() {
                break;
            }
            let written = match self.write(cx, &rest) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.instead = Some(rest);
                    return Poll::Pending;
                }
            };
            rest.drain(..written);
            self.instead = Some(rest);
        }
        Poll::Ready(Ok(own))
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
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buf) {
            read?;
            let came = buf.filled().get(before..).unwrap_or_default();
            return Poll::Ready(match came {
                [] => Ok(()),
                came => this.connection.came(came).map_err(|code| this.refuse(cx, code)),
            });
        }
        let Some((until, over)) = this.connection.reading_until(cx.waker()) else {
            return Poll::Pending;
        };
        ready!(this.reading.poll(cx, until));
        Poll::Ready(match over {
            // As if the client had left.
            Over::Silence => Ok(()),
            Over::Refused(code) => Err(this.refuse(cx, code)),
        })
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
        if this.instead.is_none() {
            // A broken body is refused by whoever reads it, and one answer is enough.
            let answered = this.connection.answered_early();
            let instead = if answered { Vec::new() } else { refusal::answer(&this.door, code) };
            this.instead = Some(instead);
        }
        this.write_instead(cx, buf.len())
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

/// A timer that is set again only when it has gone off too early: deadlines move all the time, and
/// mostly nobody reaches them.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready when it is over; otherwise the task is woken up then.
    fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}
