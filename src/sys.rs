//! The system calls that no safe wrapper offers. The only unsafe code of the service.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// `libc` has it too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of [`clone`] this is.
pub enum Cloned {
    /// The new process, with a copy of everything.
    Child,
    /// The caller, with the child's pid and pidfd.
    Parent(Pid, OwnedFd),
}

/// Makes a process in new namespaces (clone3(2)): `flags` are `CLONE_NEW*`, and `cgroup` is a
/// directory of cgroup v2 to be born in.
///
/// The child goes on with a copy of this process's memory, so the caller must have one thread only:
/// a lock held by another thread would stay locked for ever in the child.
///
/// # Errors
/// What the kernel says.
pub fn clone(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero bytes are a valid `clone_args`, a struct of integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (flags | libc::CLONE_PIDFD).cast_unsigned().into();
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: `args` is initialised and outlives the call, `pidfd` outlives it and is where the
    // kernel writes one int. Without CLONE_VM and without a stack the child runs on its own copy
    // of this one, as after fork(2).
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other("clone3 answered no pid"))?;
            // SAFETY: the kernel has just opened this descriptor for us, and nothing else owns it.
            Ok(Cloned::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Leaves namespaces behind for new ones (unshare(2)); `flags` are `CLONE_NEW*`.
///
/// # Errors
/// What the kernel says.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes an integer; namespace flags touch no memory and no descriptor of this process.
    check(unsafe { libc::unshare(flags) })
}

/// Replaces this process by the program behind `program` (execveat(2)), with one argument at most
/// and an empty environment. Only returns when it failed.
#[must_use]
pub fn exec(program: BorrowedFd<'_>, name: &CStr, argument: Option<&CStr>) -> io::Error {
    let argv = [name.as_ptr(), argument.map_or(std::ptr::null(), CStr::as_ptr), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end in a null pointer, their strings end in a zero byte, and all of them
    // live until the call returns, which it only does when it failed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Makes `to` a duplicate of `from` that survives exec, whatever `to` was before. For a process
/// that is about to exec and whose own descriptors above 2 no longer matter.
///
/// # Errors
/// What the kernel says.
pub fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: takes two integers. If `to` was open, its owner in this process is never used again:
    // the caller execs or exits.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) })
}

/// Closes everything but standard input, output and error (close_range(2)). For a process that has
/// just begun and has opened nothing itself yet.
///
/// # Errors
/// What the kernel says.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: takes three integers. What is open above 2 was left by another program, so nothing
    // in this process owns it.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the loopback interface of this network namespace up (netdevice(7)).
///
/// # Errors
/// What the kernel says.
pub fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `ifreq`, a struct of integers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// What SIGINT, SIGTERM and SIGHUP do to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignals {
    Ignored,
    Usual,
}

/// Decides about the signals by which a terminal or a service manager stops whole groups of
/// processes (signal(7)).
pub fn stop_signals(what: StopSignals) {
    let action = match what {
        StopSignals::Ignored => libc::SIG_IGN,
        StopSignals::Usual => libc::SIG_DFL,
    };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: both actions are the kernel's own, so no code of ours runs in a handler.
        unsafe { libc::signal(signal, action) };
    }
}

/// Ends this process at once, without unwinding and without any handler (_exit(2)): the way out of
/// a child made by [`clone`], whose copied guards belong to its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::fs::{Mode, OFlags, open};
    use std::os::fd::AsFd;

    use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

    use super::*;

    /// A directory of cgroup v2, gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn make() -> Self {
            let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mount = mountinfo.lines().find(|line| line.contains(" - cgroup2 "));
            let point = mount.and_then(|line| line.split(' ').nth(4)).expect("a cgroup2 mount");
            let folder = PathBuf::from(point).join(format!("oncebox-test-{}", std::process::id()));
            std::fs::create_dir(&folder).expect("root's right to make a cgroup");
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn a_process_is_born_in_its_cgroup_and_its_namespace() {
        let folder = Folder::make();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&folder.0, flags, Mode::empty()).unwrap();
        let (pid, pidfd) = match clone(libc::CLONE_NEWUTS, Some(fd.as_fd())).unwrap() {
            // The test process has other threads: nothing here may take a lock.
            Cloned::Child => loop {
                let long = rustix::thread::Timespec { tv_sec: 60, tv_nsec: 0 };
                let _ = rustix::thread::nanosleep(&long);
            },
            Cloned::Parent(pid, pidfd) => (pid.as_raw_pid(), pidfd),
        };
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let uts = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/uts")).unwrap();
        let apart = uts(&pid.to_string()) != uts("self");
        pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
        let name = folder.0.file_name().unwrap().to_str().unwrap();
        assert!(cgroup.lines().any(|line| line.starts_with("0::") && line.ends_with(name)));
        assert!(apart);
    }
}
