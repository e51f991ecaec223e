//! The control stream: orders come in on descriptor 0, reports go out on descriptor 1.
//!
//! The native engine passes one socket as both, Docker two pipes. Nothing here waits except
//! [`Control::wait`] and what is built on it, and that always notices the end of the stream.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use oncebox_guest::wire::{self, CHUNK, HEADER_LEN, MAX_ORDER, Malformed, Order, Report};

use crate::end::Fatal;
use crate::sys::{self, POLLERR, POLLHUP, POLLIN, POLLOUT, PollFd};

pub(crate) struct Control {
    input: File,
    output: File,
    /// Bytes received; those before `taken` have been handed out as orders.
    inbox: Vec<u8>,
    taken: usize,
    /// Frames to send; those before `sent` have been.
    outbox: Vec<u8>,
    sent: usize,
}

impl Control {
    pub(crate) fn open() -> io::Result<Self> {
        let closed = || io::Error::from_raw_os_error(libc::EBADF);
        let input = sys::inherited(0).ok_or_else(closed)?;
        let output = sys::inherited(1).ok_or_else(closed)?;
        sys::set_nonblocking(&input)?;
        sys::set_nonblocking(&output)?;
        let (inbox, outbox) = (Vec::new(), Vec::new());
        Ok(Self { input, output, inbox, taken: 0, outbox, sent: 0 })
    }

    /// The next order among the bytes received, if it is complete.
    pub(crate) fn order(&mut self) -> Result<Option<Order<'_>>, Malformed> {
        let unread = &self.inbox[self.taken..];
        let Some(head) = unread.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let (kind, len) = wire::header(*head, MAX_ORDER)?;
        let Some(payload) = unread.get(HEADER_LEN..HEADER_LEN + len) else { return Ok(None) };
        self.taken += HEADER_LEN + len;
        Order::decode(kind, payload).map(Some)
    }

    /// Takes in what has arrived, if anything.
    pub(crate) fn receive(&mut self) -> Result<(), Fatal> {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        match sys::read_some(&self.input, &mut self.inbox, CHUNK + HEADER_LEN) {
            Ok(0) => Err(Fatal::Lost),
            Ok(_) => Ok(()),
            Err(e) => later(&e),
        }
    }

    /// Puts a report into the queue. The caller keeps the queue short: see [`Control::has_room`].
    pub(crate) fn push(&mut self, report: &Report<'_>) {
        report.encode(&mut self.outbox);
    }

    /// Whether another chunk may be queued: the queue never grows far beyond two of them.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() - self.sent < CHUNK
    }

    /// Sends what the other side takes now.
    pub(crate) fn flush(&mut self) -> Result<(), Fatal> {
        while self.sent < self.outbox.len() {
            match (&self.output).write(&self.outbox[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) => {
                    later(&e)?;
                    // The part already sent goes once it outweighs the rest: amortised, the
                    // queue is moved at most once.
                    if self.sent > CHUNK {
                        self.outbox.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(())
    }

    /// What to poll for the stream: the input, and the output, where being closed always counts.
    pub(crate) fn poll_fds(&self) -> [PollFd; 2] {
        let wanted = if self.sent < self.outbox.len() { POLLOUT } else { 0 };
        [wait_for(&self.input, POLLIN), wait_for(&self.output, wanted)]
    }

    /// Acts on what [`Control::poll_fds`] found: receives, and finds out that the stream closed.
    pub(crate) fn polled(&mut self, [input, output]: [PollFd; 2]) -> Result<(), Fatal> {
        if output.revents & (POLLERR | POLLHUP) != 0 {
            return Err(Fatal::Lost);
        }
        if input.revents != 0 { self.receive() } else { Ok(()) }
    }

    /// Waits until the stream takes more of what is queued or brings something, and receives that.
    /// False when the time was up.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> Result<bool, Fatal> {
        let left = until.map(millis_until);
        let mut fds = self.poll_fds();
        sys::poll(&mut fds, left).map_err(Fatal::broken("poll"))?;
        self.polled(fds)?;
        Ok(left != Some(0))
    }

    /// As [`Control::wait`], without a time, and also for others: which of them are ready.
    pub(crate) fn wait_beside<const N: usize>(
        &mut self,
        others: [PollFd; N],
    ) -> Result<[bool; N], Fatal> {
        let mut fds: Vec<PollFd> = self.poll_fds().into_iter().chain(others).collect();
        sys::poll(&mut fds, None).map_err(Fatal::broken("poll"))?;
        self.polled([fds[0], fds[1]])?;
        Ok(std::array::from_fn(|n| fds[2 + n].revents != 0))
    }

    /// Waits until everything queued is sent.
    pub(crate) fn finish(&mut self) -> Result<(), Fatal> {
        self.send_until(|control| control.outbox.is_empty())
    }

    /// Waits until another chunk may be queued.
    pub(crate) fn make_room(&mut self) -> Result<(), Fatal> {
        if self.has_room() { Ok(()) } else { self.send_until(Self::has_room) }
    }

    /// Orders that come meanwhile come too late.
    fn send_until(&mut self, enough: impl Fn(&Self) -> bool) -> Result<(), Fatal> {
        loop {
            self.flush()?;
            if enough(self) {
                return Ok(());
            }
            self.wait(None)?;
            self.taken = self.inbox.len();
        }
    }

    /// Sends what is queued and throws away what comes, until the other side closes the stream or
    /// the time is up: it may be in the middle of sending a job, and reads our word after that.
    pub(crate) fn linger(&mut self, patience: Duration) {
        let until = Instant::now().checked_add(patience);
        while let (Ok(()), Ok(true)) = (self.flush(), self.wait(until)) {
            self.taken = self.inbox.len();
        }
    }
}

/// An entry for [`sys::poll`].
pub(crate) fn wait_for(file: &impl AsRawFd, events: libc::c_short) -> PollFd {
    PollFd { fd: file.as_raw_fd(), events, revents: 0 }
}

/// Milliseconds until then, rounded up, so that a wait never ends early.
pub(crate) fn millis_until(then: Instant) -> libc::c_int {
    let left = then.saturating_duration_since(Instant::now());
    left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX)
}

/// Not now is no error on a stream that never waits; anything else is the stream's end.
fn later(e: &io::Error) -> Result<(), Fatal> {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(Fatal::Lost),
    }
}
