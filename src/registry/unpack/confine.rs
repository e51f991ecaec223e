//! Giving up the machine: before a byte of a stranger's archive is read, the process keeps nothing
//! but the folder it fills.

use std::fmt::Display;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, chdir, fchdir, getegid, geteuid, pivot_root,
    set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::place::DEEPEST;
use super::{Caps, UnpackError, calls};
use crate::sys;

const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Going through a tree keeps one directory of each level open.
const DESCRIPTORS: u64 = DEEPEST as u64 + 64;
/// The largest window of a zstd frame, twice while it grows, and as much again for all the rest.
const MEMORY: u64 = 512 << 20;
const STDERR: i32 = 2;

/// Confines this process, which must have just begun and have one thread only, to `folder`, and
/// opens that as the root it has from then on. Standard error, too, becomes that, and whatever else
/// was left open is closed: a descriptor from before would still lead out.
///
/// # Errors
/// [`UnpackError::Failed`] with the step this machine refuses; nothing may be unpacked then.
pub(super) fn confine(folder: BorrowedFd<'_>, caps: Caps) -> Result<OwnedFd, UnpackError> {
    sys::close_inherited().map_err(refused("closing what it was left"))?;
    limit(caps)?;
    // A copy of a mount namespace takes the working directory along, but no descriptor.
    fchdir(folder).map_err(refused("entering the folder"))?;
    namespaces()?;
    let root = pivot()?;
    sys::duplicate_onto(root.as_fd(), STDERR).map_err(refused("replacing standard error"))?;
    // In a namespace of its own this process got every right over it, of which it needs none.
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(refused("giving up capabilities"))?;
    calls::restrict()?;
    Ok(root)
}

fn limit(caps: Caps) -> Result<(), UnpackError> {
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Data, MEMORY),
        (Resource::Fsize, caps.bytes),
        (Resource::Nofile, DESCRIPTORS),
    ] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(refused("limiting itself"))?;
    }
    Ok(())
}

/// New namespaces of every kind, in which this process is root of nothing but itself.
fn namespaces() -> Result<(), UnpackError> {
    let (uid, gid) = (geteuid(), getegid());
    // A change of uid has made this process's /proc files root's; its maps are written there.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(refused("becoming dumpable"))?;
    sys::unshare(NAMESPACES).map_err(refused(
        "making namespaces (it takes user namespaces, which this machine may forbid by \
         user.max_user_namespaces or kernel.unprivileged_userns_clone)",
    ))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".into()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).map_err(refused("mapping its user"))?;
    }
    Ok(())
}

/// Makes the working directory the root, and everything else unreachable.
fn pivot() -> Result<OwnedFd, UnpackError> {
    let step = refused("making the folder its root");
    let pivoted = || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, ".", flags)?;
        move_mount(&tree, "", CWD, ".", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        fchdir(&tree)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")?;
        open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    pivoted().map_err(step)
}

/// Names the step that failed.
fn refused<E: Display>(step: &'static str) -> impl Fn(E) -> UnpackError {
    move |e| UnpackError::Failed(format!("{step}: {e}"))
}
