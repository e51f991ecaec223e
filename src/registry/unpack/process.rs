//! The process that unpacks: confined before it reads, and gone with whoever started it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::archive::Archive;
use super::confine::confine;
use super::report::Report;
use super::stream::Stream;
use super::tree::Tree;
use super::{Caps, UnpackError, Unpacked};
use crate::sys;

/// The hidden subcommand `unpacker BYTES ENTRIES`: standard input is the layer, standard output
/// takes what came of it, and standard error is the folder.
#[must_use]
pub fn unpacker_main() -> ExitCode {
    let report = serde_json::to_vec(&Report::from(unpack()));
    let told = report.map_err(io::Error::from).and_then(|report| io::stdout().write_all(&report));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn unpack() -> Result<Unpacked, UnpackError> {
    let caps = caps(std::env::args().skip(2))?;
    let _ = rustix::thread::set_name(c"oncebox-unpack");
    let root = confine(io::stderr().as_fd(), caps)?;
    end_with_the_caller()?;
    let layer = io::stdin().as_fd().try_clone_to_owned();
    let layer = layer.map_err(|e| UnpackError::Failed(format!("standard input: {e}")))?;
    unpack_into(root, File::from(layer), caps)
}

fn caps(args: impl Iterator<Item = String>) -> Result<Caps, UnpackError> {
    match args.map(|arg| arg.parse()).collect::<Vec<_>>()[..] {
        [Ok(bytes), Ok(entries)] => Ok(Caps { bytes, entries }),
        _ => Err(UnpackError::Failed("usage: unpacker BYTES ENTRIES".into())),
    }
}

/// Ends this process as soon as nobody can read its report any more. (The kernel's own signal for
/// this comes when the *thread* ends that started us, which may be long before its process does.)
fn end_with_the_caller() -> Result<(), UnpackError> {
    let watch = || {
        let stdout = io::stdout();
        loop {
            let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
            if poll(&mut fds, None).is_ok() {
                sys::exit_now(1);
            }
        }
    };
    let started = thread::Builder::new().spawn(watch);
    started.map(|_| ()).map_err(|e| UnpackError::Failed(format!("starting a thread: {e}")))
}

/// Unpacks `layer` into `root`, which is open for reading, empty, and this process's own.
pub(super) fn unpack_into(
    root: OwnedFd,
    layer: impl Read + Send + 'static,
    caps: Caps,
) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(Stream::start(layer, caps.bytes)?);
    let mut tree = Tree::new(root, caps)?;
    while let Some(entry) = archive.next()? {
        tree.add(entry, &mut archive)?;
    }
    let id = archive.finish()?;
    tree.settle()?;
    Ok(Unpacked { id, bytes: tree.bytes(), entries: tree.entries() })
}
