//! The ways a guest ends before its time.

use std::io;
use std::time::Duration;

use oncebox_guest::wire::{CHUNK, Malformed, Report};

use crate::control::Control;
use crate::sys;

/// How long the service may take to notice that the guest has given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the guest cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fatal {
    /// The control stream is closed: nobody wants an answer.
    Lost,
    /// A step that always works has failed.
    Broken { step: &'static str, errno: i32 },
    /// A file of the job could not be written.
    Refused { path: Vec<u8>, errno: i32 },
}

impl Fatal {
    /// Turns the error of a named step into the end.
    pub(crate) fn broken(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |e| Self::Broken { step, errno: errno(&e) }
    }

    /// An order that does not follow the protocol.
    pub(crate) fn protocol(step: &'static str) -> Self {
        Self::Broken { step, errno: sys::EPROTO }
    }

    pub(crate) fn refused(path: &[u8], e: &io::Error) -> Self {
        // The path came in one order, which may be longer than a report.
        let path = path[..path.len().min(CHUNK)].to_vec();
        Self::Refused { path, errno: errno(e) }
    }

    /// Tells the service, where it still listens.
    pub(crate) fn tell(&self, control: &mut Control) {
        match self {
            Self::Lost => return,
            Self::Broken { step, errno } => {
                control.push(&Report::Broken { step: step.as_bytes(), errno: *errno });
            }
            Self::Refused { path, errno } => {
                control.push(&Report::Refused { path, errno: *errno });
            }
        }
        control.linger(PATIENCE);
    }
}

impl From<Malformed> for Fatal {
    fn from(Malformed(what): Malformed) -> Self {
        Self::protocol(what)
    }
}

fn errno(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(sys::EINVAL)
}
