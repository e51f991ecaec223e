//! Serving HTTP as somebody else than root, for good.

use std::fs;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::config::User;

const NO_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

/// Becomes `user`: no supplementary group but the one given, no capabilities, no way back. To be
/// called while the process has one thread; the spawner is another process and keeps its own.
///
/// # Errors
/// A sentence that says what could not be given up; the process must not go on then.
pub(crate) fn become_user(user: &User, group: Option<u32>) -> Result<(), String> {
    let (uid, gid) = ids(user)?;
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(format!(
            "the process has {threads} threads, and each has privileges of its own"
        ));
    }
    let (wanted_uid, wanted_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = group.into_iter().map(Gid::from_raw).collect();
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(wanted_gid, wanted_gid, wanted_gid))
        .and_then(|()| set_thread_res_uid(wanted_uid, wanted_uid, wanted_uid))
        // A container's runtime may have made some of them inheritable.
        .and_then(|()| set_capabilities(None, NO_CAPABILITIES))
        .and_then(|()| set_no_new_privs(true))
        .map_err(|e| format!("this process may not become user {uid} with group {gid}: {e}"))?;
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|e| format!("/proc/self/status cannot be read: {e}"))?;
    verify(&status, uid, gid, group)
}

/// The uid and gid of a user.
///
/// # Errors
/// A sentence, for a name that is not known.
pub(crate) fn ids(user: &User) -> Result<(u32, u32), String> {
    match user {
        User::Ids { uid, gid } => Ok((*uid, *gid)),
        User::Name(name) => {
            let passwd = fs::read_to_string("/etc/passwd")
                .map_err(|e| format!("/etc/passwd cannot be read: {e}"))?;
            look_up(&passwd, name).ok_or_else(|| {
                format!("there is no user {name:?} other than root in /etc/passwd; name another, or UID:GID")
            })
        }
    }
}

/// The uid and gid of a name, never root's.
fn look_up(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?
        .into_iter()
        .skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0 && gid != 0).then_some((uid, gid))
}

/// Holds `/proc/self/status` against what was asked for.
fn verify(status: &str, uid: u32, gid: u32, group: Option<u32>) -> Result<(), String> {
    let wanted = [
        ("Uid", format!("{uid} {uid} {uid} {uid}")),
        ("Gid", format!("{gid} {gid} {gid} {gid}")),
        ("Groups", group.map(|group| group.to_string()).unwrap_or_default()),
        ("CapInh", "0000000000000000".into()),
        ("CapPrm", "0000000000000000".into()),
        ("CapEff", "0000000000000000".into()),
        ("CapAmb", "0000000000000000".into()),
        ("NoNewPrivs", "1".into()),
    ];
    for (name, wanted) in wanted {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let found = line.unwrap_or("absent").split_whitespace().collect::<Vec<_>>().join(" ");
        if found != wanted {
            return Err(format!(
                "privileges were not given up: {name} is {found:?}, not {wanted:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\toncebox\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \n\
        NoNewPrivs:\t1\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n";

    #[test]
    fn names_are_found_and_root_is_none() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbad:x:1:0::/:/bin/false\n";
        assert_eq!(look_up(passwd, "web"), Some((33, 34)));
        for name in ["root", "bad", "nobody", ""] {
            assert_eq!(look_up(passwd, name), None, "{name}");
        }
    }

    #[test]
    fn whatever_is_left_is_named() {
        assert_eq!(verify(STATUS, 7, 8, None), Ok(()));
        let with_group = STATUS.replace("Groups:\t ", "Groups:\t27 ");
        assert_eq!(verify(&with_group, 7, 8, Some(27)), Ok(()));
        assert!(verify(STATUS, 7, 8, Some(27)).is_err());
        let left = [
            ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7", "Uid"),
            ("Groups:\t ", "Groups:\t27 ", "Groups"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000000400", "CapPrm"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs"),
            ("CapAmb:\t0000000000000000\n", "", "CapAmb"),
        ];
        for (from, to, name) in left {
            let refused = verify(&STATUS.replace(from, to), 7, 8, None).expect_err("refused");
            assert!(refused.contains(name), "{refused}");
        }
    }
}
