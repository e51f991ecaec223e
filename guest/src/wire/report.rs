//! What the guest tells the service.

use super::codec::{Malformed, Reader, Writer};
use super::frame;
use super::posture::Posture;

/// How the script's own process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal(u8),
}

/// What the container used, from its cgroup's counters; `None` where the kernel has no such
/// counter or it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub cpu_ns: Option<u64>,
    pub max_memory: Option<u64>,
    pub max_pids: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Forks refused by the process limit.
    pub pids_refused: Option<u64>,
    /// `/tmp` was full, in bytes or in inodes, when the script ended.
    pub tmp_full: bool,
}

/// The end of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// The script was still running when [`super::Order::Stop`] came, and was killed for it.
    pub stopped: bool,
    /// From just before the script was started to its end.
    pub wall_ns: u64,
    /// Bytes written, those past the cap included.
    pub stdout_total: u64,
    pub stderr_total: u64,
    pub usage: Usage,
}

/// Why a file that matched an output pattern did not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    NotRegular,
    TooLarge,
    TooMany,
    Unreadable,
}

/// A frame from the guest to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report<'a> {
    /// The guest waits for a job, and this is what it was given.
    Ready(Posture),
    /// The container could not be set up: the step, and the kernel's error number.
    Broken {
        step: &'a [u8],
        errno: i32,
    },
    /// A file of the job could not be written: its path, and the kernel's error number.
    Refused {
        path: &'a [u8],
        errno: i32,
    },
    /// The answer to [`super::Order::Prestart`].
    Prestarted {
        /// The interpreter has opened its program and waits for it. Otherwise there is none that
        /// could be started ahead, and the guest waits for a job as before.
        waits: bool,
        /// Bytes of memory the container has taken so far, at the most; `None` as in [`Usage`].
        memory: Option<u64>,
    },
    /// The script's process was started.
    Started,
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// The script has ended and everything else in the container with it.
    Ended(Ended),
    /// A result file follows: `size` bytes in [`Report::Data`] frames.
    File {
        path: &'a [u8],
        executable: bool,
        size: u64,
    },
    Data(&'a [u8]),
    Skipped {
        path: &'a [u8],
        reason: SkipReason,
    },
    /// Nothing follows; the guest exits.
    Done,
}

const READY: u8 = 65;
const BROKEN: u8 = 66;
const REFUSED: u8 = 67;
const STARTED: u8 = 68;
const STDOUT: u8 = 69;
const STDERR: u8 = 70;
const ENDED: u8 = 71;
const FILE: u8 = 72;
const DATA: u8 = 73;
const SKIPPED: u8 = 74;
const DONE: u8 = 75;
const PRESTARTED: u8 = 76;

impl<'a> Report<'a> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Report::Ready(posture) => frame(out, READY, |w| posture.write(w)),
            Report::Broken { step, errno } => frame(out, BROKEN, |w| failure(w, step, *errno)),
            Report::Refused { path, errno } => frame(out, REFUSED, |w| failure(w, path, *errno)),
            Report::Prestarted { waits, memory } => frame(out, PRESTARTED, |w| {
                w.flag(*waits).option(*memory);
            }),
            Report::Started => frame(out, STARTED, |_| {}),
            Report::Stdout(bytes) => frame(out, STDOUT, |w| {
                w.raw(bytes);
            }),
            Report::Stderr(bytes) => frame(out, STDERR, |w| {
                w.raw(bytes);
            }),
            Report::Ended(ended) => frame(out, ENDED, |w| ended.write(w)),
            Report::File { path, executable, size } => frame(out, FILE, |w| {
                w.bytes(path).flag(*executable).u64(*size);
            }),
            Report::Data(bytes) => frame(out, DATA, |w| {
                w.raw(bytes);
            }),
            Report::Skipped { path, reason } => frame(out, SKIPPED, |w| {
                w.bytes(path).u8(reason.code());
            }),
            Report::Done => frame(out, DONE, |_| {}),
        }
    }

    /// Reads a payload of the given kind.
    ///
    /// # Errors
    /// [`Malformed`] for an unknown kind and for a payload that is too short or too long.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let report = match kind {
            READY => Report::Ready(Posture::read(&mut r)?),
            BROKEN => Report::Broken { step: r.bytes()?, errno: errno(&mut r)? },
            REFUSED => Report::Refused { path: r.bytes()?, errno: errno(&mut r)? },
            PRESTARTED => Report::Prestarted { waits: r.flag()?, memory: r.option()? },
            STARTED => Report::Started,
            STDOUT => Report::Stdout(r.rest()),
            STDERR => Report::Stderr(r.rest()),
            ENDED => Report::Ended(Ended::read(&mut r)?),
            FILE => Report::File { path: r.bytes()?, executable: r.flag()?, size: r.u64()? },
            DATA => Report::Data(r.rest()),
            SKIPPED => {
                Report::Skipped { path: r.bytes()?, reason: SkipReason::from_code(r.u8()?)? }
            }
            DONE => Report::Done,
            _ => return Err(Malformed("unknown report")),
        };
        r.end()?;
        Ok(report)
    }
}

fn failure(w: &mut Writer<'_>, what: &[u8], errno: i32) {
    w.bytes(what).u32(errno.cast_unsigned());
}

fn errno(r: &mut Reader<'_>) -> Result<i32, Malformed> {
    r.u32().map(u32::cast_signed)
}

impl Ended {
    fn write(&self, w: &mut Writer<'_>) {
        match self.exit {
            Exit::Code(code) => w.u8(0).u8(code),
            Exit::Signal(signal) => w.u8(1).u8(signal),
        };
        w.flag(self.stopped).u64(self.wall_ns).u64(self.stdout_total).u64(self.stderr_total);
        self.usage.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let exit = match (r.u8()?, r.u8()?) {
            (0, code) => Exit::Code(code),
            (1, signal) => Exit::Signal(signal),
            _ => return Err(Malformed("unknown kind of exit")),
        };
        Ok(Self {
            exit,
            stopped: r.flag()?,
            wall_ns: r.u64()?,
            stdout_total: r.u64()?,
            stderr_total: r.u64()?,
            usage: Usage::read(r)?,
        })
    }
}

impl Usage {
    /// Appends the counters to a payload.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.option(self.cpu_ns)
            .option(self.max_memory)
            .option(self.max_pids)
            .option(self.oom_kills)
            .option(self.pids_refused)
            .flag(self.tmp_full);
    }

    /// # Errors
    /// [`Malformed`] when the payload is too short.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cpu_ns: r.option()?,
            max_memory: r.option()?,
            max_pids: r.option()?,
            oom_kills: r.option()?,
            pids_refused: r.option()?,
            tmp_full: r.flag()?,
        })
    }
}

impl SkipReason {
    const ALL: [Self; 4] = [Self::NotRegular, Self::TooLarge, Self::TooMany, Self::Unreadable];

    fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(code)).copied().ok_or(Malformed("unknown reason"))
    }

    /// The word for it in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotRegular => "not_regular",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Unreadable => "unreadable",
        }
    }
}
