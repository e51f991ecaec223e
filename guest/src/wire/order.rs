//! What the service tells the guest.

use super::codec::{Malformed, Reader, Writer};
use super::frame;

/// How to run the script, apart from its bytes, which follow as files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Job {
    /// Complete argument vectors, tried in order until one's program is found; the first element
    /// is looked up in `PATH` of `env` when it holds no slash.
    pub argvs: Vec<Vec<Vec<u8>>>,
    /// The whole environment, as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Bytes of stdout and of stderr to pass on, each; the rest is counted and dropped.
    pub output_cap: u64,
    /// Patterns of result files, relative to the working directory.
    pub outputs: Vec<Vec<u8>>,
    /// Bytes of one result file, at most; a larger one is skipped.
    pub file_cap: u64,
    /// Bytes of all result files together, at most.
    pub files_cap: u64,
    /// How many result files, at most.
    pub files_count: u32,
    /// The guest's own timer, in milliseconds: a courtesy, for when the service stalls.
    pub timer_ms: u64,
    /// The interpreter that was started ahead reads the script. Otherwise one that was is ended,
    /// and `argvs` and `env` say what to start.
    pub prestarted: bool,
}

/// An interpreter to start before there is a script. It reads its program from a FIFO that has the
/// script's name, so it must be one that takes such a file, and a script of at most
/// [`crate::PROGRAM_CAP`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prestart {
    /// As in [`Job`], the script's path among the arguments.
    pub argvs: Vec<Vec<Vec<u8>>>,
    /// As in [`Job`].
    pub env: Vec<Vec<u8>>,
    /// The script's file name beneath the working directory.
    pub entry: Vec<u8>,
}

/// A frame from the service to the guest. Before the job there may be one [`Order::Prestart`], which
/// is answered by [`super::Report::Prestarted`]. A job is [`Order::Job`], any number of files (each
/// [`Order::File`] and its data), at most one [`Order::Stdin`] with its data, and [`Order::Go`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order<'a> {
    Prestart(Prestart),
    Job(Job),
    /// A file follows: `size` bytes in [`Order::Data`] frames.
    File {
        path: &'a [u8],
        executable: bool,
        size: u64,
    },
    /// The script's standard input follows, in the same way. Without it stdin is `/dev/null`.
    Stdin {
        size: u64,
    },
    Data(&'a [u8]),
    /// All is sent: start the script.
    Go,
    /// Kill the script now and report: its deadline has passed, or nobody wants the answer.
    Stop,
}

const JOB: u8 = 1;
const FILE: u8 = 2;
const STDIN: u8 = 3;
const DATA: u8 = 4;
const GO: u8 = 5;
const STOP: u8 = 6;
const PRESTART: u8 = 7;

impl<'a> Order<'a> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Order::Prestart(Prestart { argvs, env, entry }) => frame(out, PRESTART, |w| {
                strings_of_strings(w, argvs);
                strings(w, env);
                w.bytes(entry);
            }),
            Order::Job(job) => frame(out, JOB, |w| {
                strings_of_strings(w, &job.argvs);
                strings(w, &job.env);
                strings(w, &job.outputs);
                w.u64(job.output_cap)
                    .u64(job.file_cap)
                    .u64(job.files_cap)
                    .u32(job.files_count)
                    .u64(job.timer_ms)
                    .flag(job.prestarted);
            }),
            Order::File { path, executable, size } => frame(out, FILE, |w| {
                w.bytes(path).flag(*executable).u64(*size);
            }),
            Order::Stdin { size } => frame(out, STDIN, |w| {
                w.u64(*size);
            }),
            Order::Data(bytes) => frame(out, DATA, |w| {
                w.raw(bytes);
            }),
            Order::Go => frame(out, GO, |_| {}),
            Order::Stop => frame(out, STOP, |_| {}),
        }
    }

    /// Reads a payload of the given kind.
    ///
    /// # Errors
    /// [`Malformed`] for an unknown kind and for a payload that is too short or too long.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let owned = |r: &mut Reader<'a>| r.bytes().map(<[u8]>::to_vec);
        let order = match kind {
            PRESTART => Order::Prestart(Prestart {
                argvs: r.list(|r| r.list(owned))?,
                env: r.list(owned)?,
                entry: owned(&mut r)?,
            }),
            JOB => Order::Job(Job {
                argvs: r.list(|r| r.list(owned))?,
                env: r.list(owned)?,
                outputs: r.list(owned)?,
                output_cap: r.u64()?,
                file_cap: r.u64()?,
                files_cap: r.u64()?,
                files_count: r.u32()?,
                timer_ms: r.u64()?,
                prestarted: r.flag()?,
            }),
            FILE => Order::File { path: r.bytes()?, executable: r.flag()?, size: r.u64()? },
            STDIN => Order::Stdin { size: r.u64()? },
            DATA => Order::Data(r.rest()),
            GO => Order::Go,
            STOP => Order::Stop,
            _ => return Err(Malformed("unknown order")),
        };
        r.end()?;
        Ok(order)
    }
}

fn strings(w: &mut Writer<'_>, list: &[Vec<u8>]) {
    w.list(list, |w, item| {
        w.bytes(item);
    });
}

fn strings_of_strings(w: &mut Writer<'_>, list: &[Vec<Vec<u8>>]) {
    w.list(list, |w, item| strings(w, item));
}
