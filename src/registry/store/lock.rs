//! Advisory locks (flock(2)). The kernel lets go of them with the process that holds them, however
//! it ends.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Takes the lock for itself alone; `false` while anybody else has it.
pub(super) fn alone(file: impl AsFd) -> io::Result<bool> {
    taken(flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Takes the lock together with others; `false` while somebody has it alone.
pub(super) fn shared(file: impl AsFd) -> io::Result<bool> {
    taken(flock(file, FlockOperation::NonBlockingLockShared))
}

fn taken(result: rustix::io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
