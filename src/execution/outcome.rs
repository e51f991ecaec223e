//! How an execution ended: a closed list.

use std::time::Duration;

use oncebox_guest::wire::Exit;
use uuid::Uuid;

use super::limits::Limits;
use super::output::Captured;
use super::quantity::{Seconds, Size};
use crate::engine::{ResultFile, RunEnd, Stop};
use crate::registry::Image;

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
    /// One sentence on how the script was ended, naming the limit; `None` when it exited by itself.
    pub error: Option<String>,
    /// From just before the script was started to its end.
    pub execution_time: Duration,
    /// The reference asked for, normalised.
    pub image: String,
    /// `None` for the image `host`.
    pub image_digest: Option<String>,
    /// The runtime that the request has named.
    pub runtime: Option<String>,
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

impl Outcome {
    /// The verdict on a run. What we ended is ours whatever else happened; else any process killed
    /// for want of memory decides, also one that the script itself survived.
    #[must_use]
    pub fn conclude(
        id: Uuid,
        image: &Image,
        limits: &Limits,
        end: RunEnd,
        (stdout, stderr): (Captured, Captured),
        timings: Timings,
    ) -> Self {
        let out_of_memory = end.usage.oom_kills.is_some_and(|kills| kills > 0);
        let status = match (end.stopped, end.exit) {
            (Some(Stop::Deadline), _) => Status::TimedOut,
            (Some(Stop::Cancelled), _) => Status::Cancelled,
            (None, _) if out_of_memory => Status::OutOfMemory,
            (None, Exit::Signal(_)) => Status::Signaled,
            (None, Exit::Code(_)) => Status::Completed,
        };
        let (exit_code, signal) = match end.exit {
            Exit::Code(code) => (u16::from(code), None),
            Exit::Signal(signal) => (128 + u16::from(signal), Some(signal_name(signal))),
        };
        let stdout = counted(stdout, end.stdout_total);
        let stderr = counted(stderr, end.stderr_total);
        let hits = [
            (LimitHit::Memory, out_of_memory),
            (LimitHit::Pids, end.usage.pids_refused.is_some_and(|refused| refused > 0)),
            (LimitHit::Tmp, end.usage.tmp_full),
            (LimitHit::Output, stdout.truncated() || stderr.truncated()),
        ];
        Self {
            id,
            status,
            exit_code,
            error: sentence(status, signal.as_deref(), limits),
            signal,
            stdout,
            stderr,
            execution_time: end.wall,
            image: image.reference.to_string(),
            image_digest: image.digest.clone(),
            runtime: None,
            limits_hit: hits.into_iter().filter_map(|(limit, hit)| hit.then_some(limit)).collect(),
            usage: Usage {
                cpu_time: end.usage.cpu_ns.map(Duration::from_nanos),
                max_memory_bytes: end.usage.max_memory,
                max_pids: end.usage.max_pids,
            },
            timings,
            files: end.files,
        }
    }

    /// Bytes of output and of result files that are kept.
    #[must_use]
    pub fn size(&self) -> usize {
        let kept = |file: &ResultFile| file.content.as_ref().map_or(0, |kept| kept.bytes.len());
        let files = self.files.iter().map(kept).sum::<usize>();
        self.stdout.bytes.len() + self.stderr.bytes.len() + files
    }

    /// The script ended by itself and said that all was well.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Status::Completed && self.exit_code == 0
    }
}

impl Status {
    pub const ALL: [Self; 5] =
        [Self::Completed, Self::Signaled, Self::TimedOut, Self::OutOfMemory, Self::Cancelled];

    /// The word for it in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Signaled => "signaled",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::Cancelled => "cancelled",
        }
    }
}

impl LimitHit {
    pub const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Tmp, Self::Output];

    /// The word for it in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Tmp => "tmp",
            Self::Output => "output",
        }
    }
}

/// The guest's count includes what it dropped; without one, what came is all that is known.
fn counted(captured: Captured, total: Option<u64>) -> Captured {
    Captured { total: captured.total.max(total.unwrap_or(0)), ..captured }
}

fn sentence(status: Status, signal: Option<&str>, limits: &Limits) -> Option<String> {
    Some(match status {
        Status::Completed => return None,
        Status::Signaled => format!("The script was ended by {}.", signal.unwrap_or("a signal")),
        Status::TimedOut => format!(
            "The script ran longer than its timeout of {} and was killed.",
            Seconds(limits.timeout)
        ),
        Status::OutOfMemory => format!(
            "The script needed more memory than its limit of {}, and the kernel killed it or one \
             of its processes.",
            Size(limits.memory)
        ),
        Status::Cancelled => "The execution was cancelled and the script killed.".into(),
    })
}

/// Signals 1 to 31, by number (signal(7)); the same on x86-64 and on 64-bit ARM.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// glibc's `SIGRTMIN`; it keeps 32 and 33 for itself.
const RT_MIN: u8 = 34;

fn signal_name(signal: u8) -> String {
    let name = usize::from(signal).checked_sub(1).and_then(|index| SIGNALS.get(index));
    match (name, signal) {
        (Some(name), _) => (*name).into(),
        (None, RT_MIN) => "SIGRTMIN".into(),
        (None, RT_MIN..=64) => format!("SIGRTMIN+{}", signal - RT_MIN),
        (None, other) => format!("SIG{other}"),
    }
}

#[cfg(test)]
mod tests {
    use oncebox_guest::wire;
    use rstest::rstest;

    use super::*;
    use crate::engine::Sink;
    use crate::execution::output::Output;
    use crate::execution::testing::CEILINGS;

    fn end(exit: Exit) -> RunEnd {
        RunEnd {
            exit,
            stopped: None,
            wall: Duration::from_millis(5),
            stdout_total: Some(0),
            stderr_total: Some(0),
            usage: wire::Usage::default(),
            files: Vec::new(),
        }
    }

    fn conclude(end: RunEnd, output: Output<'_>) -> Outcome {
        let output = (output.stdout, output.stderr);
        let reference = "alpine".parse().unwrap();
        let image = Image { reference, digest: Some("sha256:0".into()), ..Image::host() };
        let limits = CEILINGS.default;
        Outcome::conclude(Uuid::nil(), &image, &limits, end, output, Timings::default())
    }

    fn oom(kills: u64) -> wire::Usage {
        wire::Usage { oom_kills: Some(kills), ..wire::Usage::default() }
    }

    const KILLED: Exit = Exit::Signal(9);

    #[rstest]
    #[case(Exit::Code(0), None, 0, Status::Completed, None)]
    #[case(Exit::Code(255), None, 0, Status::Completed, None)]
    #[case(Exit::Signal(11), None, 0, Status::Signaled, Some("The script was ended by SIGSEGV."))]
    #[case(KILLED, None, 0, Status::Signaled, Some("The script was ended by SIGKILL."))]
    #[case(
        KILLED,
        None,
        1,
        Status::OutOfMemory,
        Some(
            "The script needed more memory than its \
        limit of 256 MiB, and the kernel killed it or one of its processes."
        )
    )]
    #[case(
        Exit::Code(0),
        None,
        2,
        Status::OutOfMemory,
        Some(
            "The script needed more memory than \
        its limit of 256 MiB, and the kernel killed it or one of its processes."
        )
    )]
    #[case(
        KILLED,
        Some(Stop::Deadline),
        0,
        Status::TimedOut,
        Some("The script ran longer than its timeout of 30 s and was killed.")
    )]
    #[case(
        KILLED,
        Some(Stop::Deadline),
        3,
        Status::TimedOut,
        Some("The script ran longer than its timeout of 30 s and was killed.")
    )]
    #[case(
        KILLED,
        Some(Stop::Cancelled),
        0,
        Status::Cancelled,
        Some("The execution was cancelled and the script killed.")
    )]
    fn the_verdict(
        #[case] exit: Exit,
        #[case] stopped: Option<Stop>,
        #[case] oom_kills: u64,
        #[case] status: Status,
        #[case] error: Option<&str>,
    ) {
        let outcome =
            conclude(RunEnd { stopped, usage: oom(oom_kills), ..end(exit) }, Output::new(10, &()));
        assert_eq!(outcome.status, status);
        assert_eq!(outcome.error.as_deref(), error);
        assert_eq!(outcome.success(), status == Status::Completed && exit == Exit::Code(0));
        assert_eq!(outcome.limits_hit.contains(&LimitHit::Memory), oom_kills > 0);
        assert_eq!(outcome.image, "alpine:latest");
    }

    #[rstest]
    #[case(Exit::Code(3), 3, None)]
    #[case(Exit::Signal(1), 129, Some("SIGHUP"))]
    #[case(Exit::Signal(9), 137, Some("SIGKILL"))]
    #[case(Exit::Signal(31), 159, Some("SIGSYS"))]
    #[case(Exit::Signal(32), 160, Some("SIG32"))]
    #[case(Exit::Signal(34), 162, Some("SIGRTMIN"))]
    #[case(Exit::Signal(64), 192, Some("SIGRTMIN+30"))]
    #[case(Exit::Signal(0), 128, Some("SIG0"))]
    #[case(Exit::Signal(255), 383, Some("SIG255"))]
    fn exit_codes_are_a_shells(
        #[case] exit: Exit,
        #[case] code: u16,
        #[case] signal: Option<&str>,
    ) {
        let outcome = conclude(end(exit), Output::new(10, &()));
        assert_eq!((outcome.exit_code, outcome.signal.as_deref()), (code, signal));
    }

    #[test]
    fn every_limit_hit_is_named() {
        let usage = wire::Usage {
            oom_kills: Some(1),
            pids_refused: Some(7),
            tmp_full: true,
            ..wire::Usage::default()
        };
        let run = RunEnd { usage, stderr_total: Some(11), ..end(Exit::Code(0)) };
        let mut output = Output::new(10, &());
        output.stderr(&[b'x'; 10]);
        let outcome = conclude(run, output);
        assert_eq!(outcome.limits_hit, LimitHit::ALL);
        assert!(conclude(end(Exit::Code(0)), Output::new(10, &())).limits_hit.is_empty());
    }

    #[rstest]
    #[case(None, 12, true)]
    #[case(Some(40), 40, true)]
    // A guest that says less than it sent is not believed.
    #[case(Some(1), 12, true)]
    fn totals_come_from_the_guest_where_it_can_say(
        #[case] said: Option<u64>,
        #[case] total: u64,
        #[case] truncated: bool,
    ) {
        let mut output = Output::new(10, &());
        output.stdout(&[b'x'; 12]);
        let outcome = conclude(RunEnd { stdout_total: said, ..end(KILLED) }, output);
        assert_eq!(outcome.stdout.bytes.len(), 10);
        assert_eq!((outcome.stdout.total, outcome.stdout.truncated()), (total, truncated));
    }
}
