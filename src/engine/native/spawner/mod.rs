//! The spawner: the single-threaded privileged process that makes the native engine's containers.
//!
//! `serve` starts it once, from a sealed copy of its own program ([`launch`]). It is two processes:
//! a *keeper* that does nothing but start the working spawner again when it dies, and the spawner
//! itself ([`worker`]). Both hold the same end of one socketpair, so the service's connection
//! outlives a spawner, and a service that has given up its privileges needs none to get a new one.

mod birth;
mod launch;
mod layers;
mod template;
mod uids;
mod worker;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, set_child_subreaper, set_parent_process_death_signal, setsid, waitpid,
};

use super::protocol::Reply;
use super::socket;
use crate::engine::owner::Owner;
use crate::sys;

pub use launch::{Spawner, sealed};

/// What the spawner may do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Root of the machine, or of the container the service runs in.
    Root,
    /// An ordinary user: root of a user namespace of its own.
    User,
}

/// What the service tells its spawner once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The operator accepts that cgroup limits may not hold.
    pub accept_unenforced: bool,
    /// The store's folder of unpacked layers, where there is a store.
    pub layers: Option<PathBuf>,
}

impl Options {
    const UNENFORCED: &str = "--unenforced";

    fn read(args: &[OsString]) -> Self {
        let (flags, paths): (Vec<_>, Vec<_>) =
            args.iter().partition(|arg| arg.as_os_str() == Self::UNENFORCED);
        Self { accept_unenforced: !flags.is_empty(), layers: paths.first().map(PathBuf::from) }
    }

    fn args(&self) -> impl Iterator<Item = &OsStr> {
        let flag = self.accept_unenforced.then_some(OsStr::new(Self::UNENFORCED));
        flag.into_iter().chain(self.layers.as_deref().map(Path::as_os_str))
    }
}

/// So many deaths within [`TOO_OFTEN_IN`] mean that a new spawner would die as well.
const TOO_OFTEN: usize = 5;
const TOO_OFTEN_IN: Duration = Duration::from_secs(10);

/// The hidden subcommand: its arguments are [`Options`], and the connection to the service is
/// standard input.
#[must_use]
pub fn spawner_main(args: &[OsString]) -> ExitCode {
    let options = Options::read(args);
    let result = io::stdin().as_fd().try_clone_to_owned().and_then(|s| keep(s, &options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("oncebox spawner: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps one spawner alive until the service is gone.
fn keep(connection: OwnedFd, options: &Options) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"oncebox-keeper");
    // Ctrl-C and service managers reach every process of a group; the service alone decides when
    // its containers end, and its hanging up is our signal.
    sys::stop_signals(sys::StopSignals::Ignored);
    let _ = setsid();
    // Containers of a dead spawner become our children, so that no zombie stays.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let owner = Owner::this()?;
    let mut deaths: Vec<Instant> = Vec::new();
    loop {
        let spawner = match sys::clone(0, None)? {
            sys::Cloned::Child => {
                let code = i32::from(spawn(&connection, &owner, options).is_err());
                sys::exit_now(code);
            }
            sys::Cloned::Parent(pid, _) => pid,
        };
        if reap_until(spawner)? {
            return Ok(());
        }
        deaths.retain(|death| death.elapsed() < TOO_OFTEN_IN);
        deaths.push(Instant::now());
        if deaths.len() > TOO_OFTEN {
            return Err(io::Error::other("the spawner dies again and again"));
        }
        socket::send(&connection, &Reply::Restarted.encode(), None)?;
    }
}

fn spawn(connection: &OwnedFd, owner: &Owner, options: &Options) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let _ = rustix::thread::set_name(c"oncebox-spawner");
    match worker::Worker::new(connection, owner, options) {
        Ok(worker) => worker.run().inspect_err(|e| eprintln!("oncebox spawner: {e}")),
        // A machine that can't run containers is an answer, not a death to be followed by another.
        Err(e) => {
            socket::send(connection, &Reply::Refused { reason: e.to_string() }.encode(), None)
        }
    }
}

/// Reaps every child until `spawner` has ended; whether it ended by itself.
fn reap_until(spawner: Pid) -> io::Result<bool> {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == spawner => return Ok(status.exit_status() == Some(0)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
