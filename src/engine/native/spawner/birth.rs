//! What happens in the new process of a container, from `clone3` to the guest's `exec`.
//!
//! It runs as root of the machine (or of the spawner's user namespace) until every mount stands,
//! then gives up everything it has, step by step, and becomes the guest. The order matters: each
//! step needs a right that a later one gives up.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oncebox_guest::wire::Report;
use rustix::fs::{Gid, Mode, OFlags, Uid, open, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, chdir, pivot_root, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::system::sethostname;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::Privilege;
use super::template::{DEV, HOST, INNER_ID, ROOT, overlay_root, tmpfs_options};
use crate::engine::hardening::seccomp::{self, Program};
use crate::engine::hardening::{
    DEVICES, HOSTNAME, MASKED_PATHS, OOM_SCORE_ADJ, READ_ONLY_PATHS, RLIMITS, SHM_BYTES,
    SHM_INODES, tmp_inodes,
};
use crate::engine::native::cgroup::{Group, Version};
use crate::sys;

/// The namespaces a container is born into; the cgroup and user namespaces follow once it is in
/// its group and has its mounts.
pub const NAMESPACES: i32 = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Everything the new process needs from its spawner.
pub struct Plan<'a> {
    pub privilege: Privilege,
    pub guest: BorrowedFd<'a>,
    pub seccomp: &'a Program,
    pub root: Root<'a>,
    /// `None` where the operator accepts that limits are not enforced.
    pub group: Option<&'a Group>,
    pub counters: [Option<OwnedFd>; 5],
    /// The guest's end of its control stream.
    pub control: OwnedFd,
    pub tmp_bytes: u64,
    pub pids: u32,
    /// The uid and gid outside, different for each living container.
    pub outer_id: u32,
    /// The kernel lets an unprivileged uid have a user namespace.
    pub user_namespace: bool,
}

/// What the container's root is made of, by names in the spawner's view.
pub enum Root<'a> {
    /// Directories of the machine that the image `host` shows.
    Host(&'a [&'static str]),
    /// The lowest first.
    Layers(Vec<String>),
}

/// Becomes the guest, or says on the control stream what failed and ends.
pub fn become_guest(plan: Plan<'_>) -> ! {
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| steps(&plan)));
    let (step, errno) = match failed {
        Ok(Err(Failed { step, error })) => (step, error.raw_os_error().unwrap_or(libc::EIO)),
        Ok(Ok(never)) => match never {},
        Err(_) => ("panic", libc::EIO),
    };
    let mut frame = Vec::new();
    Report::Broken { step: step.as_bytes(), errno }.encode(&mut frame);
    let _ = rustix::io::write(&plan.control, &frame);
    sys::exit_now(1)
}

struct Failed {
    step: &'static str,
    error: io::Error,
}

/// Gives a failure the name of its step.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failed> {
        self.map_err(|e| Failed { step, error: e.into() })
    }
}

fn steps(plan: &Plan<'_>) -> Result<std::convert::Infallible, Failed> {
    sys::stop_signals(sys::StopSignals::Usual);
    if let Some(group) = plan.group {
        group.enter().step("enter the cgroup")?;
    }
    // After entering the groups, or their paths would show inside.
    sys::unshare(libc::CLONE_NEWCGROUP).step("cgroup namespace")?;
    sethostname(HOSTNAME.as_bytes()).step("host name")?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .step("loopback socket")?;
    sys::loopback_up(socket.as_fd()).step("loopback up")?;
    drop(socket);
    mounts(plan)?;
    let proc_user = open("/proc/sys/user", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    hide()?;
    limits(plan)?;
    identity(plan)?;
    no_more_namespaces(proc_user);
    capabilities(plan).step("give up capabilities")?;
    descriptors(plan).step("descriptors")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("dumpable")?;
    // Last, because a change of credentials clears it.
    set_parent_process_death_signal(Some(Signal::KILL)).step("parent death signal")?;
    seccomp::load(plan.seccomp).map_err(io::Error::other).step("seccomp filter")?;
    let argument = plan.group.map_or(c"none", |group| match group.version() {
        Version::V1 => c"v1",
        Version::V2 => c"v2",
    });
    Err(Failed {
        step: "exec the guest",
        error: sys::exec(plan.guest, c"oncebox-guest", Some(argument)),
    })
}

/// The container's root: an overlay of the image's layers, or of the template and of the machine's
/// programs, `/tmp`,
/// `/dev/shm` and a fresh `/proc`. The old view is gone afterwards.
fn mounts(plan: &Plan<'_>) -> Result<(), Failed> {
    let read_only = MountFlags::RDONLY | MountFlags::NOSUID;
    let (layers, programs) = match &plan.root {
        Root::Host(programs) => (None, *programs),
        Root::Layers(layers) => (Some(layers.as_slice()), [].as_slice()),
    };
    let options = overlay_root(layers).step("root overlay")?;
    mount("oncebox", ROOT, "overlay", read_only, Some(options.as_c_str())).step("root overlay")?;
    for name in programs {
        let layers =
            CString::new(format!("lowerdir={HOST}/{name}:/empty")).map_err(io::Error::other);
        let layers = layers.step("program overlay")?;
        let target = format!("{ROOT}/{name}");
        mount("oncebox", target, "overlay", read_only | MountFlags::NODEV, Some(layers.as_c_str()))
            .step("program overlay")?;
    }
    if plan.privilege == Privilege::User {
        for (name, _, _) in DEVICES {
            mount_bind(format!("{DEV}/{name}"), format!("{ROOT}/dev/{name}")).step("device")?;
        }
    }
    let tmpfs = MountFlags::NOSUID | MountFlags::NODEV;
    let options = tmpfs_options(plan.tmp_bytes, tmp_inodes(plan.tmp_bytes)).step("/tmp")?;
    mount("tmpfs", format!("{ROOT}/tmp"), "tmpfs", tmpfs, Some(options.as_c_str())).step("/tmp")?;
    let options = tmpfs_options(SHM_BYTES, SHM_INODES).step("/dev/shm")?;
    let shm = tmpfs | MountFlags::NOEXEC;
    mount("shm", format!("{ROOT}/dev/shm"), "tmpfs", shm, Some(options.as_c_str()))
        .step("/dev/shm")?;
    let proc = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", format!("{ROOT}/proc"), "proc", proc, None).step("/proc")?;
    chdir(ROOT).step("chdir to the root")?;
    pivot_root(".", ".").step("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).step("detach the spawner's root")?;
    chdir("/").step("chdir")
}

/// Masked and read-only paths. A path this kernel does not have needs no hiding.
fn hide() -> Result<(), Failed> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for path in READ_ONLY_PATHS {
        match mount_bind(*path, *path) {
            Err(rustix::io::Errno::NOENT) => continue,
            result => result.step("read-only path")?,
        }
        mount_remount(*path, MountFlags::BIND | flags, "").step("read-only path")?;
    }
    for path in MASKED_PATHS {
        match mount_bind("/dev/null", *path) {
            // Where a directory is, an empty one of this container's own goes over it.
            Err(rustix::io::Errno::NOTDIR) => mount_bind("/sys", *path).step("masked path")?,
            Err(rustix::io::Errno::NOENT) => {}
            result => result.step("masked path")?,
        }
    }
    Ok(())
}

fn limits(plan: &Plan<'_>) -> Result<(), Failed> {
    if plan.group.is_none() {
        // Not what a cgroup does, but counted by user namespace, so it ends a fork bomb.
        let pids = Some(u64::from(plan.pids));
        setrlimit(Resource::Nproc, Rlimit { current: pids, maximum: pids }).step("nproc")?;
    }
    for (name, value) in RLIMITS {
        let resource = match *name {
            "core" => Resource::Core,
            "fsize" => Resource::Fsize,
            "memlock" => Resource::Memlock,
            "msgqueue" => Resource::Msgqueue,
            "nofile" => Resource::Nofile,
            "sigpending" => Resource::Sigpending,
            _ => {
                return Err(Failed {
                    step: "unknown limit",
                    error: io::ErrorKind::InvalidInput.into(),
                });
            }
        };
        let limit = Rlimit { current: Some(*value), maximum: Some(*value) };
        setrlimit(resource, limit).step("resource limit")?;
    }
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ.to_string()).step("oom_score_adj")
}

/// From root to a uid that nothing else has, and into a user namespace that knows only that one.
fn identity(plan: &Plan<'_>) -> Result<(), Failed> {
    let outer = plan.outer_id;
    if plan.privilege == Privilege::Root {
        if !plan.user_namespace {
            clear_bounding_set().step("bounding set")?;
        }
        set_thread_groups(&[]).step("supplementary groups")?;
        let gid = Gid::from_raw(outer);
        set_thread_res_gid(gid, gid, gid).step("gid")?;
        let uid = Uid::from_raw(outer);
        set_thread_res_uid(uid, uid, uid).step("uid")?;
    }
    if !plan.user_namespace {
        return Ok(());
    }
    // A change of uid has made this process's /proc files root's; its maps are written there.
    set_dumpable_behavior(DumpableBehavior::Dumpable).step("dumpable")?;
    sys::unshare(libc::CLONE_NEWUSER).step("user namespace")?;
    std::fs::write("/proc/self/setgroups", "deny").step("setgroups")?;
    std::fs::write("/proc/self/gid_map", format!("{INNER_ID} {outer} 1")).step("gid map")?;
    std::fs::write("/proc/self/uid_map", format!("{INNER_ID} {outer} 1")).step("uid map")
}

/// No further user namespaces inside. The filter says so too, and not every kernel lets a
/// namespace lower its own count, so a refusal here is no failure.
fn no_more_namespaces(proc_user: rustix::io::Result<OwnedFd>) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = proc_user.and_then(|dir| openat(dir, "max_user_namespaces", flags, Mode::empty()));
    if let Ok(file) = opened {
        let _ = rustix::io::write(file, b"0");
    }
}

/// A new user namespace comes with every capability and a full bounding set, whatever was given up
/// before; without one, giving up root has left the bounding set alone to be cleared, before.
fn capabilities(plan: &Plan<'_>) -> io::Result<()> {
    if plan.user_namespace {
        clear_bounding_set()?;
    }
    let none = CapabilitySet::empty();
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?)
}

/// Every capability this kernel knows, whatever its number: the first unknown one ends the list.
fn clear_bounding_set() -> io::Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The control stream as 0 and 1, `/dev/null` as 2, the counters from 3 on; everything else is
/// closed on exec.
fn descriptors(plan: &Plan<'_>) -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // First out of the way of the numbers they are to have.
    let away = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 32);
    let control = away(plan.control.as_fd())?;
    let null = away(null.as_fd())?;
    let counters = plan
        .counters
        .iter()
        .map(|counter| away(counter.as_ref().map_or(null.as_fd(), AsFd::as_fd)))
        .collect::<Result<Vec<_>, _>>()?;
    sys::duplicate_onto(control.as_fd(), 0)?;
    sys::duplicate_onto(control.as_fd(), 1)?;
    sys::duplicate_onto(null.as_fd(), 2)?;
    if plan.group.is_some() {
        for (counter, number) in counters.iter().zip(3..) {
            sys::duplicate_onto(counter.as_fd(), number)?;
        }
    }
    Ok(())
}
