//! How an execution ended: a closed list.

use std::time::Duration;

use uuid::Uuid;

use super::output::Captured;
use crate::engine::ResultFile;

/// The five ways a script can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited by itself, with any code.
    Completed,
    /// A signal ended it that was not ours.
    Signaled,
    /// Its deadline passed and we killed it.
    TimedOut,
    /// The kernel killed one of its processes for want of memory, by the cgroup's own counter.
    OutOfMemory,
    /// Nobody wanted the answer any more, and we killed it.
    Cancelled,
}

/// A limit that the script ran into, whatever its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    Memory,
    Pids,
    Tmp,
    Output,
}

/// Everything there is to say about one execution that ran.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub id: Uuid,
    pub status: Status,
    /// The exit code, or 128 + signal, as a shell reports it.
    pub exit_code: u16,
    /// `SIGKILL` and the like; real-time signals are `SIGRTMIN+n`.
    pub signal: Option<String>,
    pub stdout: Captured,
    pub stderr: Captured,
    /// From just before the script was started to its end.
    pub execution_time: Duration,
    /// The reference asked for, normalised.
    pub image: String,
    /// `None` for the image `host`.
    pub image_digest: Option<String>,
    pub limits_hit: Vec<LimitHit>,
    pub usage: Usage,
    pub timings: Timings,
    pub files: Vec<ResultFile>,
}

/// From the container's cgroup; `None` where the kernel has no such counter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_time: Option<Duration>,
    pub max_memory_bytes: Option<u64>,
    pub max_pids: Option<u64>,
}

/// Where a request's time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Waiting for a permit.
    pub queued: Duration,
    /// Getting an image and a container.
    pub prepared: Duration,
    /// From handing the job over to its end.
    pub ran: Duration,
}
