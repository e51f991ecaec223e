//! Taking in the job: its files go straight to the disk, only stdin is held in memory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};

use oncebox_guest::WORKDIR;
use oncebox_guest::wire::{CHUNK, Job, Order, Report};

use crate::control::{Control, wait_for};
use crate::counters::Counters;
use crate::end::Fatal;
use crate::prestart::Prestarted;
use crate::sys::{self, Open, POLLIN};

/// All that the service sends before it says go.
pub(crate) struct Received {
    pub(crate) job: Job,
    pub(crate) stdin: Option<Vec<u8>>,
    /// The interpreter that is to read the script, where one was started ahead.
    pub(crate) prestarted: Option<Prestarted>,
}

/// Makes the working directory, for this user alone, and opens it.
pub(crate) fn make_workdir() -> io::Result<File> {
    let tmp = File::open("/tmp")?;
    let name = c_string(WORKDIR.trim_start_matches("/tmp/").as_bytes())?;
    sys::mkdir_at(&tmp, &name, 0o700)?;
    sys::open_at(&tmp, &name, Open::Directory)
}

/// Reads orders up to [`Order::Go`], and starts an interpreter ahead where it is told to.
pub(crate) fn receive(
    control: &mut Control,
    signals: &mut File,
    counters: &Counters,
    workdir: &File,
) -> Result<Received, Fatal> {
    let mut intake = Intake { workdir, job: None, stdin: None, current: None };
    let mut prestarted: Option<Prestarted> = None;
    loop {
        while let Some(order) = control.order()? {
            match order {
                Order::Prestart(wanted) if prestarted.is_none() && intake.job.is_none() => {
                    prestarted = Prestarted::start(&wanted, control, signals, workdir)?;
                    let (waits, memory) = (prestarted.is_some(), counters.max_memory());
                    control.push(&Report::Prestarted { waits, memory });
                    control.flush()?;
                }
                Order::Job(job) if intake.job.is_none() => {
                    match (&prestarted, job.prestarted) {
                        (Some(waiting), true) => waiting
                            .make_way(workdir)
                            .map_err(Fatal::broken("make way for the script"))?,
                        (None, true) => return Err(Fatal::protocol("order: none was started")),
                        (_, false) => prestarted
                            .take()
                            .map_or(Ok(()), |waiting| waiting.end(signals, workdir))?,
                    }
                    intake.job = Some(job);
                }
                Order::Go => {
                    let (job, stdin) = intake.complete()?;
                    if prestarted.is_some() && stdin.is_some() {
                        return Err(Fatal::protocol("order: stdin comes too late"));
                    }
                    return Ok(Received { job, stdin, prestarted });
                }
                order => intake.take(order)?,
            }
        }
        let [ended] = control.wait_beside([wait_for(signals, POLLIN)])?;
        // Without one there is no other process.
        if ended && prestarted.as_ref().is_some_and(|waiting| waiting.has_ended(signals)) {
            return Err(Fatal::Broken { step: "keep the interpreter waiting", errno: sys::ECHILD });
        }
    }
}

struct Intake<'a> {
    workdir: &'a File,
    job: Option<Job>,
    stdin: Option<Vec<u8>>,
    /// Where the next data belongs.
    current: Option<Current>,
}

struct Current {
    target: Target,
    /// Bytes still to come, never 0.
    left: u64,
}

enum Target {
    File { file: File, path: Vec<u8> },
    Stdin,
}

impl Intake<'_> {
    /// Acts on one order for a file or for stdin.
    fn take(&mut self, order: Order<'_>) -> Result<(), Fatal> {
        match order {
            Order::Data(bytes) => self.data(bytes)?,
            // Nothing has run, so nothing is to be told.
            Order::Stop => return Err(Fatal::Lost),
            _ if self.current.is_some() => return Err(Fatal::protocol("order: data is missing")),
            Order::File { path, executable, size } if self.job.is_some() => {
                let refused = |e| Fatal::refused(path, &e);
                let file = create(self.workdir, path, executable).map_err(refused)?;
                self.expect(Target::File { file, path: path.to_vec() }, size);
            }
            Order::Stdin { size } if self.job.is_some() && self.stdin.is_none() => {
                self.stdin = Some(Vec::new());
                self.expect(Target::Stdin, size);
            }
            _ => return Err(Fatal::protocol("order: out of turn")),
        }
        Ok(())
    }

    /// The job and its stdin, once all of it is there.
    fn complete(&mut self) -> Result<(Job, Option<Vec<u8>>), Fatal> {
        if self.current.is_some() {
            return Err(Fatal::protocol("order: data is missing"));
        }
        let job = self.job.take().ok_or(Fatal::protocol("order: go without a job"))?;
        Ok((job, self.stdin.take()))
    }

    fn expect(&mut self, target: Target, size: u64) {
        self.current = (size > 0).then_some(Current { target, left: size });
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        let current = self.current.as_mut().ok_or(Fatal::protocol("order: data for nothing"))?;
        let len = bytes.len() as u64;
        if len > current.left || bytes.len() > CHUNK || bytes.is_empty() {
            return Err(Fatal::protocol("order: data of the wrong size"));
        }
        match &mut current.target {
            Target::File { file, path } => {
                file.write_all(bytes).map_err(|e| Fatal::refused(path, &e))?;
            }
            Target::Stdin => self.stdin.get_or_insert_default().extend_from_slice(bytes),
        }
        current.left -= len;
        if current.left == 0 {
            self.current = None;
        }
        Ok(())
    }
}

/// Makes a file beneath the working directory, and the directories on its way, one component at a
/// time and without following a link.
fn create(workdir: &File, path: &[u8], executable: bool) -> io::Result<File> {
    let mut components = path.split(|byte| *byte == b'/').map(component);
    let mut name = components.next().unwrap_or_else(|| component(b""))?;
    let mut deeper: Option<File> = None;
    for next in components {
        let dir = deeper.as_ref().unwrap_or(workdir);
        deeper = Some(enter(dir, &name)?);
        name = next?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    sys::open_at(deeper.as_ref().unwrap_or(workdir), &name, Open::New(mode))
}

fn enter(dir: &File, name: &CStr) -> io::Result<File> {
    match sys::mkdir_at(dir, name, 0o755) {
        Err(e) if e.raw_os_error() != Some(sys::EEXIST) => Err(e),
        _ => sys::open_at(dir, name, Open::Directory),
    }
}

fn component(name: &[u8]) -> io::Result<CString> {
    match name {
        b"" | b"." | b".." => Err(io::Error::from_raw_os_error(sys::EINVAL)),
        name => c_string(name),
    }
}

/// A string for the kernel; EINVAL where it holds a NUL.
pub(crate) fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(sys::EINVAL))
}
