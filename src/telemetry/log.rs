//! Where lines of the log go: stderr, as long as somebody reads it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// For a reader that is slow to make room for a line.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Lines that nobody has counted yet, and those in all.
static LOST: AtomicU64 = AtomicU64::new(0);
static LOST_IN_ALL: AtomicU64 = AtomicU64::new(0);
/// The last line was lost: the next one does not wait.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Standard error for whole lines. One that can't be written, because its reader is gone or does not
/// read, is given up: a service goes on without its log, and neither panics nor waits for it.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = takes_a_line() && io::stderr().write_all(line).is_ok();
        STUCK.store(!written, Ordering::Relaxed);
        if !written {
            LOST.fetch_add(1, Ordering::Relaxed);
            LOST_IN_ALL.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that says so has room for a page, and a line is shorter (pipe(7), `PIPE_BUF`).
fn takes_a_line() -> bool {
    let patience = if stuck() { NONE } else { PATIENCE };
    let stderr = io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    // Where that can't be asked, the write says what is wrong.
    !matches!(poll(&mut ready, Some(&patience)), Ok(0))
}

/// Lines that were lost since this was asked last.
pub(super) fn take_lost() -> u64 {
    LOST.swap(0, Ordering::Relaxed)
}

/// Whether the last line was lost.
pub(crate) fn stuck() -> bool {
    STUCK.load(Ordering::Relaxed)
}

/// Lines that were lost in all.
pub(crate) fn lost() -> u64 {
    LOST_IN_ALL.load(Ordering::Relaxed)
}
