//! Every system call that `std` has no safe name for. All of the guest's unsafe code is here.
//!
//! The guest is single-threaded from its start to its end; several notes below rest on that.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

pub(crate) use libc::{
    EACCES, ECHILD, EEXIST, EINVAL, ELOOP, ENOENT, ENOEXEC, ENOTDIR, ENXIO, EPERM, EPROTO, POLLERR,
    POLLHUP, POLLIN, POLLOUT, RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_NOFILE,
    pollfd as PollFd,
};

/// The highest signal number (signal(7)).
const LAST_SIGNAL: c_int = 64;

/// The error of the system call that has just answered with a negative number.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether other processes of the same user may look into this one (ptrace(2)).
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: this prctl takes a number and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) })?;
    Ok(())
}

/// Takes over a descriptor the guest was started with; `None` where that number is not open.
///
/// Each number is asked for once, before anything else is opened.
pub(crate) fn inherited(fd: RawFd) -> Option<File> {
    // SAFETY: fcntl on a number touches no memory; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: the descriptor is open, as fcntl has just shown, and nobody else in this process
    // owns it: `std` opens none by itself and every number is asked for once.
    Some(unsafe { File::from_raw_fd(fd) })
}

/// Marks a descriptor that stays where it is close-on-exec; no error where it is not open.
pub(crate) fn close_on_exec(fd: RawFd) {
    // SAFETY: as in `inherited`.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Closes every descriptor from this number on: what an engine left open by mistake.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: called before the guest opens anything, so no descriptor that is closed has an
    // owner in this process.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) };
    if closed == 0 {
        return Ok(());
    }
    // A kernel before 5.9, or a filter without the call.
    let held: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= first)
        .collect();
    for fd in held {
        // SAFETY: as above; the directory's own descriptor is closed already, and closing its
        // number again is an error without effect.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

pub(crate) fn set_nonblocking(file: &impl AsRawFd) -> io::Result<()> {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl with these commands takes numbers and touches no memory of ours.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Appends at most `most` bytes to `to` by one read; 0 is the end of the stream.
///
/// The spare capacity is not zeroed first, so that memory nobody writes to is never touched.
pub(crate) fn read_some(from: &impl AsRawFd, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    to.reserve(most);
    let spare = to.spare_capacity_mut();
    // SAFETY: the pointer and the length describe the spare capacity, at least `most` bytes.
    let read = unsafe { libc::read(from.as_raw_fd(), spare.as_mut_ptr().cast(), most) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has initialised the first `read` bytes of the spare capacity.
    unsafe { to.set_len(to.len() + read) };
    Ok(read)
}

/// Gives every signal its default meaning (for PID 1: none at all, as long as no handler is
/// installed), ignores SIGPIPE, and turns SIGCHLD into reads of the descriptor returned.
///
/// `std` installs handlers for SIGSEGV and SIGBUS at start; these go too.
pub(crate) fn take_signals() -> io::Result<File> {
    // The kernel's own structure of a signal's action; all zero is the default action. libc's
    // function for it leaves out the two signals that libc keeps to itself, but those may have
    // been inherited as ignored like any other.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the structure is as large as the kernel reads and outlives the call; no old
        // action is asked for. SIGKILL and SIGSTOP are errors without effect.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: the set is initialised by sigemptyset before it is read, and outlives the calls.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// What a new program expects of its signals: SIGPIPE deadly, nothing blocked.
pub(crate) fn give_back_signals() {
    // SAFETY: a constant disposition, and a set that sigemptyset initialises before it is read.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

pub(crate) fn umask(mask: libc::mode_t) {
    // SAFETY: umask cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// A file system as statvfs(3) describes it.
pub(crate) struct FileSystem {
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
    pub(crate) read_only: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
}

pub(crate) fn statvfs(path: &CStr) -> io::Result<FileSystem> {
    // SAFETY: an all-zero statvfs is a valid value; the path is a C string, and both outlive the
    // call.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        check(libc::statvfs(path.as_ptr(), &raw mut stat))?;
        stat
    };
    let flag = |flag| stat.f_flag & flag != 0;
    Ok(FileSystem {
        bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: stat.f_files,
        free_inodes: stat.f_favail,
        read_only: flag(libc::ST_RDONLY),
        nosuid: flag(libc::ST_NOSUID),
        nodev: flag(libc::ST_NODEV),
    })
}

/// The hard limit of one resource (getrlimit(2)); no limit is `u64::MAX`.
pub(crate) fn hard_limit(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call that fills it.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    Ok(limit.rlim_max)
}

/// Makes a directory beneath an open one.
pub(crate) fn mkdir_at(dir: &File, name: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })?;
    Ok(())
}

/// Makes a FIFO beneath an open directory (fifo(7)).
pub(crate) fn mkfifo_at(dir: &File, name: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    check(unsafe { libc::mkfifoat(dir.as_raw_fd(), name.as_ptr(), mode) })?;
    Ok(())
}

/// Removes a name that is no directory from an open one.
pub(crate) fn unlink_at(dir: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// A descriptor that becomes readable when somebody opens this file (inotify(7)).
pub(crate) fn watch_opens(path: &CStr) -> io::Result<File> {
    // SAFETY: the path is a C string that outlives the call; the descriptor is new and ours.
    unsafe {
        let fd = check(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?;
        let watch = File::from_raw_fd(fd);
        check(libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_OPEN))?;
        Ok(watch)
    }
}

/// How [`open_at`] opens.
#[derive(Clone, Copy)]
pub(crate) enum Open {
    /// A directory.
    Directory,
    /// A new file, with this mode.
    New(libc::mode_t),
    /// Whatever is there, to be read, without ever waiting for it.
    Read,
    /// Both ends of a FIFO, so that neither opening it nor writing to it ever waits for somebody.
    Fifo,
}

/// Opens one name beneath an open directory; a symbolic link is never followed.
pub(crate) fn open_at(dir: &File, name: &CStr, how: Open) -> io::Result<File> {
    let (flags, mode) = match how {
        Open::Directory => (libc::O_RDONLY | libc::O_DIRECTORY, 0),
        Open::New(mode) => (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, mode),
        Open::Read => (libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0),
        Open::Fifo => (libc::O_RDWR | libc::O_NONBLOCK, 0),
    };
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name is a C string that outlives the call; the descriptor returned is new.
    unsafe {
        let fd = check(libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// One name in a directory.
pub(crate) struct Entry {
    pub(crate) name: CString,
    /// The file system says that it is no directory.
    pub(crate) no_directory: bool,
}

/// The names in an open directory, `most` at most, without `.` and `..`; and whether that is all.
pub(crate) fn entries(dir: &File, most: usize) -> io::Result<(Vec<Entry>, bool)> {
    let fd = OwnedFd::from(dir.try_clone()?).into_raw_fd();
    // SAFETY: fdopendir takes over the descriptor, which is ours and open; where it fails, the
    // guest, about to end, loses one number.
    let stream = unsafe { libc::fdopendir(fd) };
    if stream.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let complete = loop {
        // SAFETY: the stream is open; no other thread reads it.
        let entry = unsafe { libc::readdir(stream) };
        if entry.is_null() {
            break true;
        }
        if found.len() >= most {
            break false;
        }
        // SAFETY: the entry and its terminated name are valid until the next call on the stream;
        // the name is copied before.
        let (name, kind) =
            unsafe { (CStr::from_ptr((*entry).d_name.as_ptr()).to_owned(), (*entry).d_type) };
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            let no_directory = kind != libc::DT_DIR && kind != libc::DT_UNKNOWN;
            found.push(Entry { name, no_directory });
        }
    };
    // SAFETY: the stream is open and not used after this.
    unsafe { libc::closedir(stream) };
    Ok((found, complete))
}

/// Waits until one of the descriptors is ready or the time is up (poll(2)): `None` waits for ever.
/// A negative descriptor is left out. An interrupted wait is the same as nothing ready.
pub(crate) fn poll(fds: &mut [PollFd], timeout_ms: Option<c_int>) -> io::Result<()> {
    let count = fds.len() as libc::nfds_t;
    // SAFETY: pointer and count describe the slice, which outlives the call.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), count, timeout_ms.unwrap_or(-1)) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(())
        }
        other => other.map(drop),
    }
}

/// How a process ended, or that none has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    Code(c_int, u8),
    Signal(c_int, u8),
    /// There are processes, all of them running.
    Running,
    /// There is no other process in the container.
    Alone,
}

/// Takes the status of one process that has ended, without waiting.
pub(crate) fn reap() -> Reaped {
    let mut status = 0;
    // `__WALL`: whatever signal a child was made to end with.
    // SAFETY: the status outlives the call that fills it.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    match pid {
        0 => Reaped::Running,
        pid if pid < 0 => Reaped::Alone,
        pid if libc::WIFSIGNALED(status) => Reaped::Signal(pid, libc::WTERMSIG(status) as u8),
        pid => Reaped::Code(pid, libc::WEXITSTATUS(status) as u8),
    }
}

/// Kills every other process in the container.
///
/// Does nothing unless this is PID 1: anywhere else it would be every process of the user.
pub(crate) fn kill_everyone() {
    if std::process::id() == 1 {
        // SAFETY: kill takes numbers and touches no memory.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

/// Starts a process that runs `child` and ends with the code it returns.
pub(crate) fn fork(child: impl FnOnce() -> u8) -> io::Result<c_int> {
    // SAFETY: the guest has one thread, so the child's copy of its memory is consistent, locks
    // included, and everything may be called in it.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let code = child();
        // SAFETY: ends the process at once, without the parent's exit handlers.
        unsafe { libc::_exit(code.into()) };
    }
    Ok(pid)
}

/// Makes the calling process the leader of a new session, in `dir`, with these as its standard
/// streams.
pub(crate) fn settle(dir: &File, streams: [&dyn AsRawFd; 3]) -> io::Result<()> {
    // SAFETY: setsid, fchdir and dup2 take numbers. The descriptors that dup2 replaces are the
    // control stream's; the child, whose process this is, never uses it.
    unsafe {
        check(libc::setsid())?;
        check(libc::fchdir(dir.as_raw_fd()))?;
        for (number, stream) in (0..).zip(streams) {
            check(libc::dup2(stream.as_raw_fd(), number))?;
        }
    }
    Ok(())
}

/// Strings as execve(2) takes them.
pub(crate) struct Strings {
    /// Null-terminated; each points into `_owned`.
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

impl Strings {
    pub(crate) fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _owned: owned }
    }
}

/// Replaces the process by a program; returns only where that failed.
pub(crate) fn exec(path: &CStr, argv: &Strings, env: &Strings) -> io::Error {
    // SAFETY: both arrays end in a null pointer and point to C strings that live as long as they.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}
