//! What the guest was given: its privileges and limits, read from the kernel, not from anyone's
//! word.

use std::io;

use oncebox_guest::wire::{CgroupLimits, Posture, VERSION};

use crate::sys;

pub(crate) fn collect(cgroup: Option<CgroupLimits>) -> io::Result<Posture> {
    let root = sys::statvfs(c"/")?;
    let tmp = sys::statvfs(c"/tmp")?;
    Ok(Posture {
        version: VERSION,
        pid: std::process::id(),
        root_read_only: root.read_only,
        tmp_bytes: tmp.bytes,
        tmp_inodes: tmp.inodes,
        tmp_nosuid: tmp.nosuid,
        tmp_nodev: tmp.nodev,
        nofile: sys::hard_limit(sys::RLIMIT_NOFILE)?,
        fsize: sys::hard_limit(sys::RLIMIT_FSIZE)?,
        core: sys::hard_limit(sys::RLIMIT_CORE)?,
        memlock: sys::hard_limit(sys::RLIMIT_MEMLOCK)?,
        cgroup,
        ..privileges(&std::fs::read_to_string("/proc/self/status")?)?
    })
}

/// The part of a posture that `/proc/self/status` holds (proc_pid_status(5)). A line that is
/// missing is an error: nothing is taken for granted.
fn privileges(status: &str) -> io::Result<Posture> {
    let field = |name: &'static str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| io::Error::other(name))
    };
    let set = |name| Ok::<_, io::Error>(u64::from_str_radix(field(name)?, 16).unwrap_or(u64::MAX));
    let gid = one_id(field("Gid")?);
    let groups = field("Groups")?.split_whitespace();
    Ok(Posture {
        uid: one_id(field("Uid")?),
        gid,
        // Docker names the process's own group once more among these; that gives it nothing.
        groups: u32::try_from(groups.filter(|group| group.parse() != Ok(gid)).count())
            .unwrap_or(u32::MAX),
        capabilities: [
            set("CapInh")?,
            set("CapPrm")?,
            set("CapEff")?,
            set("CapBnd")?,
            set("CapAmb")?,
        ],
        no_new_privs: field("NoNewPrivs")? == "1",
        seccomp: field("Seccomp")?.parse().unwrap_or(u8::MAX),
        ..Posture::default()
    })
}

/// The real, effective, saved and file system id where all are the same, and an id that nobody
/// can have asked for where they are not.
fn one_id(ids: &str) -> u32 {
    let mut ids = ids.split_whitespace().map(|id| id.parse().unwrap_or(u32::MAX));
    let first = ids.next().unwrap_or(u32::MAX);
    if ids.all(|id| id == first) { first } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t4 8 20 \n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000001\nCapEff:\t0000000000000002\n\
        CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t1\n";

    #[test]
    fn reads_every_privilege() {
        let posture = privileges(STATUS).unwrap();
        assert_eq!((posture.uid, posture.gid, posture.groups), (7, 8, 2));
        assert_eq!(posture.capabilities, [0, 1, 2, 0x1ff_ffff_ffff, 0]);
        assert!(posture.no_new_privs);
        assert_eq!(posture.seccomp, 2);
    }

    #[test]
    fn a_saved_uid_of_another_user_shows() {
        let posture = privileges(&STATUS.replace("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7")).unwrap();
        assert_eq!(posture.uid, u32::MAX);
    }

    #[test]
    fn a_missing_line_is_an_error() {
        let error = privileges(&STATUS.replace("CapAmb", "CapNew")).unwrap_err();
        assert_eq!(error.to_string(), "CapAmb");
    }
}
