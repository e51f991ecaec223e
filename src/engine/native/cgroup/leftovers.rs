//! Folders that dead instances have left behind.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::tree::DIRECTORY;
use super::{Layout, files};
use crate::engine::owner::{Owner, Process, Standing};

const PREFIX: &str = "oncebox-";

/// The name of an owner's folder. Control groups do not outlive a boot, so it need not say which.
pub(super) fn folder(owner: &Owner) -> String {
    format!("{PREFIX}{}-{}-{}", owner.pid, owner.started, owner.namespace)
}

/// The owner of a folder of this boot; `None` for a folder that is not of this form.
fn owner_of(folder: &str, boot: &str) -> Option<Owner> {
    let mut parts = folder.strip_prefix(PREFIX)?.split('-');
    let owner = Owner {
        boot: boot.to_owned(),
        pid: parts.next()?.parse().ok()?,
        started: parts.next()?.parse().ok()?,
        namespace: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(owner)
}

/// Kills what runs in folders of dead instances and removes them; folders of living instances are
/// left alone. `mine` is emptied as well: a new spawner of this instance begins with nothing.
/// Answers how many groups were removed.
///
/// # Errors
/// What the kernel says of a hierarchy; folders that are still busy stay for the next time.
pub fn sweep(layout: &Layout, mine: &Owner) -> io::Result<usize> {
    let mut removed = 0;
    for (path, _) in &layout.directories {
        let above = open(path, DIRECTORY, Mode::empty())?;
        for name in directories(&above)? {
            let owner = name.to_str().and_then(|name| owner_of(name, &mine.boot));
            let Some(owner) = owner else { continue };
            if owner == *mine || owner.standing(mine, Process::look) == Standing::Dead {
                removed += empty(&above, &name)?;
                remove(&above, &name)?;
            }
        }
    }
    Ok(removed)
}

fn empty(above: &OwnedFd, folder: &OsStr) -> io::Result<usize> {
    let folder = openat(above, folder, DIRECTORY, Mode::empty())?;
    let mut removed = 0;
    for name in directories(&folder)? {
        let group = openat(&folder, &name, DIRECTORY, Mode::empty())?;
        kill_all(&group)?;
        remove(&folder, &name)?;
        removed += 1;
    }
    Ok(removed)
}

/// By pidfd, and only while the pid is still listed, so that no other process can be hit.
fn kill_all(group: &OwnedFd) -> io::Result<()> {
    for line in files::read(group, "cgroup.procs")?.lines() {
        let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else { continue };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if files::read(group, "cgroup.procs")?.lines().any(|listed| listed == line) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    Ok(())
}

/// A group whose processes are dying stays busy for a moment; then it is left for the next time.
fn remove(above: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match unlinkat(above.as_fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if tries < 100 => {
                tries += 1;
                let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
                    tv_sec: 0,
                    tv_nsec: 10_000_000,
                });
            }
            Err(Errno::BUSY) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

fn directories(dir: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_owner() {
        let boot = "this boot".to_owned();
        let owner = Owner { boot, pid: 12, started: 3456, namespace: 4_026_531_836 };
        assert_eq!(folder(&owner), "oncebox-12-3456-4026531836");
        assert_eq!(owner_of(&folder(&owner), "this boot"), Some(owner));
        for other in
            ["oncebox-service", "oncebox-1-2", "oncebox-1-2-3-4", "docker", "oncebox-x-1-2"]
        {
            assert_eq!(owner_of(other, "this boot"), None, "{other}");
        }
    }

    #[test]
    fn only_a_process_that_is_gone_is_dead() {
        let mine = Owner::this().unwrap();
        let dead = |owner: Owner| owner.standing(&mine, Process::look) == Standing::Dead;
        assert!(!dead(mine.clone()));
        assert!(dead(Owner { started: mine.started + 1, ..mine.clone() }));
        assert!(dead(Owner { pid: u32::MAX, ..mine.clone() }));
        assert!(!dead(Owner { pid: u32::MAX, namespace: mine.namespace + 1, ..mine.clone() }));
    }
}
