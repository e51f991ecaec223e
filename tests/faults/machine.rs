//! What the machine does to a service: it stops it, sets its clock, and takes its log away.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::driver::{Fault, pass, trial};
use super::seed::left_out;
use super::support::service::{oncebox, prepared};
use super::support::{Engine, host};
use super::{service, service_of};

const STILL: Duration = Duration::from_secs(3);

fn stopped_and_continued(engine: Engine) {
    if left_out(engine, "machine", 0, 7) {
        return;
    }
    let fault = Fault::new(
        "service stopped",
        "the service stood still",
        "oncebox_faults_total{fault=\"stood_still\"}",
    );
    let service = service(engine, &[]);
    trial(&service, engine, fault.still(STILL), |moment| {
        host::signal(service.pid(), Signal::STOP);
        pass(STILL);
        host::signal(service.pid(), Signal::CONT);
        // That it stood still is seen at its next beat.
        moment.felt();
    });
}

/// Debian's libfaketime, in the thread-safe form.
fn faketime() -> String {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let library = format!("{folder}/libfaketimeMT.so.1");
    assert!(Path::new(&library).exists(), "{library} is missing; use tests/run, which installs it");
    library
}

/// By an hour, there and back, and beyond: nobody may notice.
fn clock_set(engine: Engine) {
    if left_out(engine, "machine", 1, 7) {
        return;
    }
    let fault = Fault::new(
        "clock set by an hour",
        "the clock was set by",
        "oncebox_faults_total{fault=\"clock_set\"}",
    );
    let folder = TempDir::new().expect("a folder");
    let offset = folder.path().join("offset");
    let set = |hours: i32| {
        // In one step, so that it is never read half-written.
        let next = folder.path().join("next");
        fs::write(&next, format!("{hours:+}h\n")).expect("its folder");
        fs::rename(&next, &offset).expect("its folder");
    };
    set(0);
    let mut program = oncebox("serve", engine);
    program
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let service = service_of(program, engine, &[]);
    trial(&service, engine, fault.harmless(), |moment| {
        for hours in [1, 0, -1, 0] {
            set(hours);
            pass(moment.random.millis(700, 1200));
        }
    });
}

/// A reader of the service's log that can be told to go, or to stand still.
struct LogReader {
    folder: TempDir,
    reader: JoinHandle<()>,
    read: Sender<bool>,
}

impl LogReader {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("log");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let (read, told) = channel();
        let reader = std::thread::spawn(move || follow(&path, &told));
        Self { folder, reader, read }
    }

    /// The program with its output into the pipe, under its own pid.
    fn program(&self, engine: Engine) -> Command {
        let pipe = self.folder.path().join("log");
        let into = format!("exec >\"{}\" 2>&1", pipe.display());
        prepared(&into, &oncebox("serve", engine))
    }

    fn go_on(&self, reading: bool) {
        self.read.send(reading).expect("a reader");
    }

    fn close(self) -> TempDir {
        drop(self.read);
        self.reader.join().expect("a reader");
        self.folder
    }
}

/// Reads until it is told to stand still, and goes when nobody tells it anything any more.
fn follow(path: &Path, told: &Receiver<bool>) {
    use std::sync::mpsc::TryRecvError::{Disconnected, Empty};
    let mut pipe = File::open(path).expect("a pipe");
    // So that it is soon full.
    rustix::pipe::fcntl_setpipe_size(&pipe, 16 << 10).expect("a pipe");
    let mut copy = File::create(path.with_extension("copy")).expect("its folder");
    let mut buffer = [0; 4096];
    loop {
        match told.try_recv() {
            Ok(false) => while told.recv() == Ok(false) {},
            Ok(true) | Err(Empty) => {}
            Err(Disconnected) => return,
        }
        let read = pipe.read(&mut buffer).expect("a pipe");
        if read == 0 {
            return;
        }
        std::io::Write::write_all(&mut copy, &buffer[..read]).expect("its folder");
    }
}

const LOG_LOST: &str = "oncebox_faults_total{fault=\"log_lost\"}";

/// Nobody reads the log any more, as when what collects it has died.
fn log_closed(engine: Engine) {
    if left_out(engine, "machine", 2, 7) {
        return;
    }
    let reader = LogReader::new();
    let service = service_of(reader.program(engine), engine, &[]);
    // There is no log to say so.
    let fault = Fault::new("log closed", "", LOG_LOST).harmless().unlogged();
    let mut folder = None;
    trial(&service, engine, fault, |moment| {
        folder = Some(reader.close());
        moment.felt();
    });
}

/// What reads the log stands still for a while: lines are lost, and nothing else.
fn log_stuck(engine: Engine) {
    if left_out(engine, "machine", 3, 7) {
        return;
    }
    let reader = LogReader::new();
    let service = service_of(reader.program(engine), engine, &[]);
    let fault = Fault::new("log stuck", "", LOG_LOST).harmless().unlogged();
    trial(&service, engine, fault, |moment| {
        reader.go_on(false);
        pass(STILL);
        moment.felt();
        reader.go_on(true);
    });
    drop(service);
    let folder = reader.close();
    let log = fs::read_to_string(folder.path().join("log.copy")).expect("what was read");
    assert!(log.contains("lines of this log could not be written"), "{log}");
}

on_both_engines! {
    together: ;
    alone: stopped_and_continued, clock_set, log_closed, log_stuck
}
