//! Folders that dead instances have left behind.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::tree::DIRECTORY;
use super::{Layout, files};

const PREFIX: &str = "oncebox-";

/// Who a folder belongs to: a process that can be told from every other one, dead or alive, of
/// this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// In clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub started: u64,
    /// The inode of the pid namespace in which `pid` means anything.
    pub pid_namespace: u64,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn this_process() -> io::Result<Self> {
        let pid = std::process::id();
        let started = started(&std::fs::read_to_string("/proc/self/stat")?)
            .ok_or_else(|| io::Error::other("/proc/self/stat has no start time"))?;
        Ok(Self { pid, started, pid_namespace: pid_namespace()? })
    }

    pub(super) fn folder(&self) -> String {
        format!("{PREFIX}{}-{}-{}", self.pid, self.started, self.pid_namespace)
    }

    fn parse(folder: &str) -> Option<Self> {
        let mut parts = folder.strip_prefix(PREFIX)?.split('-');
        let owner = Self {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
            pid_namespace: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Dead for certain: a process of another pid namespace may live, for all we can see.
    fn is_dead(&self, our_namespace: u64) -> bool {
        if self.pid_namespace != our_namespace {
            return false;
        }
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => started(&stat) != Some(self.started),
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn pid_namespace() -> io::Result<u64> {
    Ok(rustix::fs::stat("/proc/self/ns/pid")?.st_ino)
}

/// The command name in field 2 may hold anything, so fields are counted from its closing bracket.
fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
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
            let Some(owner) = name.to_str().and_then(Owner::parse) else { continue };
            if owner == *mine || owner.is_dead(mine.pid_namespace) {
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
        let owner = Owner { pid: 12, started: 3456, pid_namespace: 4_026_531_836 };
        assert_eq!(Owner::parse(&owner.folder()), Some(owner));
        for other in
            ["oncebox-service", "oncebox-1-2", "oncebox-1-2-3-4", "docker", "oncebox-x-1-2"]
        {
            assert_eq!(Owner::parse(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_process_that_is_gone_is_dead() {
        let mine = Owner::this_process().unwrap();
        let here = mine.pid_namespace;
        assert!(!mine.is_dead(here));
        assert!(Owner { started: mine.started + 1, ..mine.clone() }.is_dead(here));
        assert!(Owner { pid: u32::MAX, ..mine.clone() }.is_dead(here));
        assert!(!Owner { pid: u32::MAX, pid_namespace: here + 1, ..mine }.is_dead(here));
    }

    #[test]
    fn a_command_name_cannot_hide_the_start_time() {
        let fields: Vec<String> = (3..=24).map(|n| n.to_string()).collect();
        let stat = format!("1 (a) b) (c) {}", fields.join(" "));
        assert_eq!(started(&stat), Some(22));
    }
}
