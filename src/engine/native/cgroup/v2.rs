//! What only cgroup v2 asks for: controllers are handed down one level at a time, and a group that
//! hands them down may hold no process itself (`cgroup-v2.rst`, "No Internal Process Constraint").

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, mkdirat, openat};

use super::{NoCgroup, files};

/// The controllers our groups need; `cpu` carries the accounting of `cpuacct`.
const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// The leaf that the service's own processes move to.
const SERVICE: &str = "oncebox-service";

/// Why controllers can't be handed down.
pub(super) enum NotHanded {
    Missing(String),
    Refused(io::Error),
}

impl NotHanded {
    pub(super) fn at(self, path: &Path) -> NoCgroup {
        match self {
            Self::Missing(names) => NoCgroup::NotDelegated(names),
            Self::Refused(e) => {
                NoCgroup::NotWritable { path: path.display().to_string(), reason: e.to_string() }
            }
        }
    }
}

/// Hands the needed controllers of `group` down to its children. Where the kernel refuses because
/// `group` holds processes, they move to a leaf first.
///
/// # Errors
/// The controllers that `group` itself does not have, or the kernel's refusal.
pub(super) fn delegate(group: &OwnedFd) -> Result<(), NotHanded> {
    let have = files::read(group, "cgroup.controllers").map_err(NotHanded::Refused)?;
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !have.split_whitespace().any(|h| h == *name)).collect();
    if !missing.is_empty() {
        return Err(NotHanded::Missing(missing.join(", ")));
    }
    let handed = files::read(group, "cgroup.subtree_control").map_err(NotHanded::Refused)?;
    if NEEDED.iter().all(|name| handed.split_whitespace().any(|h| h == *name)) {
        return Ok(());
    }
    let wanted = NEEDED.map(|name| format!("+{name}")).join(" ");
    match files::write(group, "cgroup.subtree_control", &wanted) {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            move_to_leaf(group).map_err(NotHanded::Refused)?;
            files::write(group, "cgroup.subtree_control", &wanted).map_err(NotHanded::Refused)
        }
        result => result.map_err(NotHanded::Refused),
    }
}

fn move_to_leaf(group: &OwnedFd) -> io::Result<()> {
    match mkdirat(group, SERVICE, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let leaf = openat(group.as_fd(), SERVICE, super::tree::DIRECTORY, Mode::empty())?;
    for pid in files::read(group, "cgroup.procs")?.lines() {
        match files::write(&leaf, "cgroup.procs", pid) {
            // It ended meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fs::open;

    use super::super::tree::DIRECTORY;
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let fd = open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn needed_controllers_are_handed_down() {
        let (dir, fd) = group(&[
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("cgroup.subtree_control", "cpuset\n"),
        ]);
        assert!(delegate(&fd).is_ok());
        let written = std::fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(written, "+memory +cpu +pids");
    }

    #[test]
    fn what_was_handed_down_already_is_left_alone() {
        let (dir, fd) = group(&[
            ("cgroup.controllers", "cpu memory pids\n"),
            ("cgroup.subtree_control", "cpu memory pids\n"),
        ]);
        assert!(delegate(&fd).is_ok());
        let written = std::fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(written, "cpu memory pids\n");
    }

    #[test]
    fn a_controller_that_is_not_ours_to_hand_down_is_named() {
        let (_dir, fd) = group(&[("cgroup.controllers", "hugetlb pids\n")]);
        let Err(NotHanded::Missing(names)) = delegate(&fd) else { panic!("must be missing") };
        assert_eq!(names, "memory, cpu");
    }

    #[test]
    fn the_service_moves_to_a_leaf() {
        let (dir, fd) = group(&[("cgroup.procs", "")]);
        std::fs::create_dir(dir.path().join(SERVICE)).unwrap();
        std::fs::write(dir.path().join(SERVICE).join("cgroup.procs"), "").unwrap();
        std::fs::write(dir.path().join("cgroup.procs"), "17\n").unwrap();
        assert!(move_to_leaf(&fd).is_ok());
        let moved = dir.path().join(SERVICE).join("cgroup.procs");
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "17");
    }
}
