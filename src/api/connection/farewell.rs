//! The end of a connection that is told why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::deadline::Deadline;

/// For a client to stop sending.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Takes what a client is still sending once it has been told everything: a connection that ends
/// with something unread ends at once, and what it was told with it.
#[derive(Default)]
pub(super) struct Farewell {
    until: Option<Instant>,
    deadline: Deadline,
}

impl Farewell {
    pub(super) fn poll(&mut self, io: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        if self.until.is_none() {
            // Nothing more comes from us; where that can't be said the client knows already.
            let _: Poll<io::Result<()>> = Pin::new(&mut *io).poll_shutdown(cx);
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + LINGER);
        let mut bytes = [0; 4096];
        loop {
            let mut rest = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *io).poll_read(cx, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        ready!(self.deadline.poll(cx, until));
        Poll::Ready(())
    }
}
