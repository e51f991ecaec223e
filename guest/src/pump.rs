//! The time a script runs: one loop that passes its output on, feeds its input, takes orders and
//! reaps, until no process but the guest is left.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::time::{Duration, Instant};

use oncebox_guest::wire::{CHUNK, Ended, Exit, Job, Order, Report, Usage};

use crate::control::{Control, millis_until, wait_for};
use crate::end::Fatal;
use crate::script::{Feed, Script};
use crate::sys::{self, POLLIN, POLLOUT, PollFd, Reaped};

/// How long the word that a script was started may wait for company, in milliseconds: most scripts
/// say something by then, or have ended, and the service is woken once instead of twice.
const COMPANY: i32 = 2;

/// Runs a started script to its end and everything else in the container with it. The counters
/// are left for the caller to fill in.
pub(crate) fn run(
    control: &mut Control,
    signals: &mut File,
    job: &Job,
    script: Script,
) -> Result<Ended, Fatal> {
    let Script { pid, started, stdin, stdout, stderr } = script;
    let mut pump = Pump {
        control,
        signals,
        pid,
        started,
        timer: started.checked_add(Duration::from_millis(job.timer_ms)),
        stdin,
        stdout: Stream::new(stdout, job.output_cap, |bytes| Report::Stdout(bytes)),
        stderr: Stream::new(stderr, job.output_cap, |bytes| Report::Stderr(bytes)),
        scratch: Vec::new(),
        alone_with_start: true,
        killed: false,
        end: None,
        alone: false,
    };
    while !pump.is_done() {
        pump.step()?;
    }
    let (exit, wall) =
        pump.end.ok_or(Fatal::protocol("the script's process was not seen to end"))?;
    Ok(Ended {
        exit,
        // A script that ended by itself while the order was on its way was not stopped.
        stopped: pump.killed && exit == Exit::Signal(libc::SIGKILL as u8),
        wall_ns: wall.as_nanos().try_into().unwrap_or(u64::MAX),
        stdout_total: pump.stdout.total,
        stderr_total: pump.stderr.total,
        usage: Usage::default(),
    })
}

struct Pump<'a> {
    control: &'a mut Control,
    signals: &'a mut File,
    pid: i32,
    started: Instant,
    /// When the guest itself stops the script; `None` when that is beyond counting, or done.
    timer: Option<Instant>,
    stdin: Option<Feed>,
    stdout: Stream,
    stderr: Stream,
    scratch: Vec<u8>,
    /// Nothing is queued but the word that the script was started.
    alone_with_start: bool,
    /// The script was killed by order, not having ended by itself.
    killed: bool,
    /// How and after what time the script's own process ended.
    end: Option<(Exit, Duration)>,
    /// No other process is left in the container.
    alone: bool,
}

impl Pump<'_> {
    fn is_done(&self) -> bool {
        self.alone && self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Waits for whatever comes first and deals with all that has come.
    fn step(&mut self) -> Result<(), Fatal> {
        let room = self.control.has_room();
        let [input, mut output] = self.control.poll_fds();
        if self.alone_with_start {
            output.events = 0;
        }
        let mut fds = [
            input,
            output,
            wait_for(self.signals, POLLIN),
            self.stdout.wait(room),
            self.stderr.wait(room),
            self.stdin.as_ref().map_or(NOTHING, |feed| wait_for(&feed.pipe, POLLOUT)),
        ];
        let timeout = self.timeout(room);
        sys::poll(&mut fds, timeout).map_err(Fatal::broken("poll"))?;
        let [input, output, signals, stdout, stderr, stdin] = fds;
        self.alone_with_start = false;
        self.control.polled([input, output])?;
        self.take_orders()?;
        if self.timer.is_some_and(|timer| timer <= Instant::now()) {
            self.stop();
        }
        if signals.revents != 0 {
            // What it says may be forged; only that there is something to reap counts.
            let _ = self.signals.read(&mut [0; 1024]);
            self.reap();
        }
        // Once the writers are dead the pipes hold all there will ever be, and no report of
        // readiness is needed to read it.
        for (stream, found) in [(&mut self.stdout, stdout), (&mut self.stderr, stderr)] {
            if found.revents != 0 || self.alone {
                while stream.pass_on(self.control, &mut self.scratch, self.alone) && self.alone {}
            }
        }
        if stdin.revents != 0 {
            self.stdin = self.stdin.take().and_then(Feed::give);
        }
        // The last words go together with the report of the end.
        if self.is_done() { Ok(()) } else { self.control.flush() }
    }

    /// How long to wait at most: not at all for what is known to be there.
    fn timeout(&self, room: bool) -> Option<i32> {
        match self.timer {
            _ if self.alone && room => Some(0),
            _ if self.alone_with_start => Some(COMPANY),
            Some(timer) => Some(millis_until(timer)),
            None => None,
        }
    }

    fn take_orders(&mut self) -> Result<(), Fatal> {
        while let Some(order) = self.control.order()? {
            match order {
                Order::Stop => self.stop(),
                _ => return Err(Fatal::protocol("order: out of turn")),
            }
        }
        Ok(())
    }

    /// Kills the script, unless it has ended already.
    fn stop(&mut self) {
        self.timer = None;
        self.reap();
        if self.end.is_none() {
            self.killed = true;
            sys::kill_everyone();
        }
    }

    /// Reaps all that has ended, orphans included, and when the script has, kills the rest.
    fn reap(&mut self) {
        loop {
            let (pid, exit) = match sys::reap() {
                Reaped::Code(pid, code) => (pid, Exit::Code(code)),
                Reaped::Signal(pid, signal) => (pid, Exit::Signal(signal)),
                Reaped::Running => break,
                Reaped::Alone => {
                    self.alone = true;
                    break;
                }
            };
            if pid == self.pid && self.end.is_none() {
                self.end = Some((exit, self.started.elapsed()));
                self.timer = None;
                self.stdin = None;
            }
        }
        if self.end.is_some() && !self.alone {
            sys::kill_everyone();
        }
    }
}

/// An entry that poll leaves out.
const NOTHING: PollFd = PollFd { fd: -1, events: 0, revents: 0 };

/// One output stream of the script: the first bytes are passed on, the rest is counted.
struct Stream {
    /// `None` at its end.
    pipe: Option<PipeReader>,
    report: for<'a> fn(&'a [u8]) -> Report<'a>,
    /// Bytes that may still be passed on.
    left: u64,
    total: u64,
}

impl Stream {
    fn new(pipe: PipeReader, cap: u64, report: for<'a> fn(&'a [u8]) -> Report<'a>) -> Self {
        Self { pipe: Some(pipe), report, left: cap, total: 0 }
    }

    /// Without room for its bytes a stream is not waited for, so that the script waits for a
    /// service that reads slowly. What is only counted needs no room.
    fn wait(&self, room: bool) -> PollFd {
        match &self.pipe {
            Some(pipe) if room || self.left == 0 => wait_for(pipe, POLLIN),
            _ => NOTHING,
        }
    }

    /// Reads once; true where there may be more. With `last`, nobody can write any more: an empty
    /// pipe is at its end even where a descriptor of it is stuck somewhere in the kernel.
    fn pass_on(&mut self, control: &mut Control, scratch: &mut Vec<u8>, last: bool) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        if !control.has_room() && self.left > 0 {
            return false;
        }
        scratch.clear();
        match sys::read_some(pipe, scratch, CHUNK) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                let read = read as u64;
                let passed = read.min(self.left);
                self.total += read;
                self.left -= passed;
                if passed > 0 {
                    control.push(&(self.report)(&scratch[..passed as usize]));
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !last => {}
            Err(_) => self.pipe = None,
        }
        false
    }
}
