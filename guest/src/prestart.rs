//! An interpreter that is started before there is a script, and waits for it.
//!
//! Its script file is a FIFO, which it opens and reads like any file until it has to wait. When the
//! job comes, a regular file with the script takes the FIFO's name, so that whoever looks at the
//! script by its path finds it, and the same bytes go through the FIFO.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

use oncebox_guest::wire::Prestart;
use oncebox_guest::{PROGRAM_CAP, WORKDIR};

use crate::control::{Control, wait_for};
use crate::end::Fatal;
use crate::job::c_string;
use crate::script::{self, Script};
use crate::sys::{self, Open, POLLIN, Reaped};

/// An interpreter that has opened its program and finds nothing in it yet.
pub(crate) struct Prestarted {
    script: Script,
    entry: CString,
    /// Both ends: the interpreter meets the end of its program when this is dropped.
    program: File,
}

impl Prestarted {
    /// Starts an interpreter and waits until it has opened its program; `None` when it ended
    /// instead, and then nothing of it is left.
    pub(crate) fn start(
        wanted: &Prestart,
        control: &mut Control,
        signals: &mut File,
        workdir: &File,
    ) -> Result<Option<Self>, Fatal> {
        let (started, opened) =
            launch(wanted, workdir).map_err(Fatal::broken("start an interpreter ahead"))?;
        loop {
            let [signal, open] =
                control.wait_beside([wait_for(signals, POLLIN), wait_for(&opened, POLLIN)])?;
            if signal && started.has_ended(signals) {
                started.end(signals, workdir)?;
                return Ok(None);
            }
            if open {
                return Ok(Some(started));
            }
        }
    }

    /// Reaps whatever has ended, and answers whether the interpreter was among it.
    pub(crate) fn has_ended(&self, signals: &mut File) -> bool {
        // Only that there is something to reap counts.
        let _ = signals.read(&mut [0; 1024]);
        loop {
            match sys::reap() {
                Reaped::Code(pid, _) | Reaped::Signal(pid, _) if pid == self.script.pid => {
                    return true;
                }
                Reaped::Code(..) | Reaped::Signal(..) => {}
                Reaped::Running => return false,
                Reaped::Alone => return true,
            }
        }
    }

    /// Gives the FIFO's name free for the script itself.
    pub(crate) fn make_way(&self, workdir: &File) -> io::Result<()> {
        sys::unlink_at(workdir, &self.entry)
    }

    /// Lets the interpreter read the script, which is in its place by now.
    pub(crate) fn run(mut self, signals: &mut File, workdir: &File) -> io::Result<Script> {
        if self.has_ended(signals) {
            return Err(io::Error::from_raw_os_error(sys::ECHILD));
        }
        let mut program = Vec::new();
        let file = sys::open_at(workdir, &self.entry, Open::Read)?;
        file.take(PROGRAM_CAP as u64 + 1).read_to_end(&mut program)?;
        if program.len() > PROGRAM_CAP {
            return Err(io::Error::from_raw_os_error(sys::EINVAL));
        }
        self.script.started = Instant::now();
        self.program.write_all(&program)?;
        Ok(self.script)
    }

    /// Ends the interpreter and everything it may have started, and removes the FIFO.
    pub(crate) fn end(self, signals: &mut File, workdir: &File) -> Result<(), Fatal> {
        sys::kill_everyone();
        loop {
            match sys::reap() {
                Reaped::Alone => break,
                Reaped::Running => {
                    let broken = Fatal::broken("end the interpreter started ahead");
                    sys::poll(&mut [wait_for(signals, POLLIN)], None).map_err(broken)?;
                    let _ = signals.read(&mut [0; 1024]);
                }
                Reaped::Code(..) | Reaped::Signal(..) => {}
            }
        }
        self.make_way(workdir).map_err(Fatal::broken("remove the FIFO"))
    }
}

/// The interpreter, and what becomes readable when it opens its program.
fn launch(wanted: &Prestart, workdir: &File) -> io::Result<(Prestarted, File)> {
    let entry = c_string(&wanted.entry)?;
    sys::mkfifo_at(workdir, &entry, 0o644)?;
    let program = sys::open_at(workdir, &entry, Open::Fifo)?;
    let path = c_string(&[WORKDIR.as_bytes(), b"/", &wanted.entry].concat())?;
    let opened = sys::watch_opens(&path)?;
    let input = OwnedFd::from(File::open("/dev/null")?);
    let script = script::launch(&wanted.argvs, &wanted.env, &input, workdir)?;
    Ok((Prestarted { script, entry, program }, opened))
}
