//! The list. It starts from Docker's default profile (moby, `profiles/seccomp/default_linux.go`)
//! and leaves out what no honest script needs and exploits have used.

use super::{Allowed, Answered, Argument, Pattern};

/// The newest call the list knows (Linux 5.17); anything above answers `ENOSYS`.
pub(super) const NEWEST: Answered =
    Answered { name: "set_mempolicy_home_node", number: 450, errno: libc::EPERM };

/// Calls with an answer of their own. `clone3` hides its flags in memory, where no filter sees
/// them; the splice family was a step of several page-cache exploits.
pub(super) const ANSWERED: &[Answered] = &[
    Answered { name: "clone3", number: libc::SYS_clone3 as u32, errno: libc::ENOSYS },
    Answered { name: "splice", number: libc::SYS_splice as u32, errno: libc::EINVAL },
    Answered { name: "tee", number: libc::SYS_tee as u32, errno: libc::EINVAL },
    Answered { name: "vmsplice", number: libc::SYS_vmsplice as u32, errno: libc::EINVAL },
];

/// Without `SYS_`.
const fn name(constant: &'static str) -> &'static str {
    constant.split_at(4).1
}

macro_rules! calls {
    ($($number:ident),* $(,)?) => {
        &[$(Allowed { name: name(stringify!($number)), number: libc::$number as u32, patterns: &[], feigned: &[] }),*]
    };
}

macro_rules! when {
    ($number:ident, $patterns:expr) => {
        when!($number, $patterns, feigned: &[])
    };
    ($number:ident, $patterns:expr, feigned: $feigned:expr) => {
        Allowed {
            name: name(stringify!($number)),
            number: libc::$number as u32,
            patterns: $patterns,
            feigned: $feigned,
        }
    };
}

/// A 32-bit argument equals `value`.
const fn is(index: u8, value: u64) -> Argument {
    masked(index, 0xffff_ffff, value)
}

const fn masked(index: u8, mask: u64, value: u64) -> Argument {
    Argument { index, mask, value }
}

const UNIX: u64 = libc::AF_UNIX as u64;
const INET: u64 = libc::AF_INET as u64;
const INET6: u64 = libc::AF_INET6 as u64;
const NETLINK: u64 = libc::AF_NETLINK as u64;
const STREAM: Argument = masked(1, 0xf, libc::SOCK_STREAM as u64);
const DGRAM: Argument = masked(1, 0xf, libc::SOCK_DGRAM as u64);
const RAW: Argument = masked(1, 0xf, libc::SOCK_RAW as u64);
const TCP: u64 = libc::IPPROTO_TCP as u64;
const UDP: u64 = libc::IPPROTO_UDP as u64;

/// Unix sockets of any type, TCP and UDP over IPv4 and IPv6, and netlink's route protocol (its
/// number is 0). No raw sockets, no packets, no other family: rxrpc, tipc, alg, vsock and the like
/// are where kernel exploits begin.
const SOCKETS: &[Pattern] = &[
    &[is(0, UNIX)],
    &[is(0, INET), STREAM, is(2, 0)],
    &[is(0, INET), STREAM, is(2, TCP)],
    &[is(0, INET), DGRAM, is(2, 0)],
    &[is(0, INET), DGRAM, is(2, UDP)],
    &[is(0, INET6), STREAM, is(2, 0)],
    &[is(0, INET6), STREAM, is(2, TCP)],
    &[is(0, INET6), DGRAM, is(2, 0)],
    &[is(0, INET6), DGRAM, is(2, UDP)],
    &[is(0, NETLINK), RAW, is(2, 0)],
    &[is(0, NETLINK), DGRAM, is(2, 0)],
];

/// Every option of every usual level but `TCP_ULP` (31 of level 6), which swaps a socket's inner
/// protocol: options of TCP below 31 by their leading bits, and 32 to 63.
const SOCKET_OPTIONS: &[Pattern] = &[
    &[is(1, libc::SOL_SOCKET as u64)],
    &[is(1, libc::IPPROTO_IP as u64)],
    &[is(1, libc::IPPROTO_IPV6 as u64)],
    &[is(1, UDP)],
    &[is(1, libc::SOL_NETLINK as u64)],
    &[is(1, TCP), masked(2, 0xffff_fff0, 0)],
    &[is(1, TCP), masked(2, 0xffff_fff8, 16)],
    &[is(1, TCP), masked(2, 0xffff_fffc, 24)],
    &[is(1, TCP), masked(2, 0xffff_fffe, 28)],
    &[is(1, TCP), is(2, 30)],
    &[is(1, TCP), masked(2, 0xffff_ffe0, 32)],
];

/// Every operation but the two that requeue to a priority-inheriting futex (11 and 12).
const FUTEX: &[Pattern] =
    &[&[masked(1, 0x78, 0)], &[masked(1, 0x7e, 8)], &[masked(1, 0x7f, 10)], &[masked(1, 0x7f, 13)]];

/// No flag that makes a namespace: `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`,
/// `NEWPID`, `NEWNET`.
const CLONE: &[Pattern] = &[&[masked(0, 0x7e02_0000, 0)]];

/// Regular files, FIFOs and sockets; no devices.
const fn node(index: u8) -> [Argument; 4] {
    const TYPE: u64 = libc::S_IFMT as u64;
    [
        masked(index, TYPE, 0),
        masked(index, TYPE, libc::S_IFREG as u64),
        masked(index, TYPE, libc::S_IFIFO as u64),
        masked(index, TYPE, libc::S_IFSOCK as u64),
    ]
}
const AT_NODE: [Argument; 4] = node(2);
const AT_NODES: &[Pattern] = &[&[AT_NODE[0]], &[AT_NODE[1]], &[AT_NODE[2]], &[AT_NODE[3]]];

/// The execution domains Docker allows: Linux, with or without a 26-bit address space or
/// randomisation switched off for `uname26`, and the query.
const PERSONALITIES: &[Pattern] =
    &[&[is(0, 0)], &[is(0, 8)], &[is(0, 0x2_0000)], &[is(0, 0x2_0008)], &[is(0, 0xffff_ffff)]];

/// Not `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const SECCOMP: &[Pattern] = &[&[masked(1, 8, 0)]];

/// Every resource but the core limit, of the 16 there are. Set to 0, that would let the kernel start
/// the machine's own handler of cores (`hardening::RLIMITS`).
const fn resources(index: u8) -> [Argument; 4] {
    [
        masked(index, 0xffff_fffc, 0),
        is(index, 5),
        masked(index, 0xffff_fffe, 6),
        masked(index, 0xffff_fff8, 8),
    ]
}
const CORE: u64 = libc::RLIMIT_CORE as u64;
const SET: [Argument; 4] = resources(0);
const SETRLIMIT: &[Pattern] = &[&[SET[0]], &[SET[1]], &[SET[2]], &[SET[3]]];
const CORE_SET: &[Pattern] = &[&[is(0, CORE)]];
/// A null pointer.
const fn none(index: u8) -> Argument {
    masked(index, u64::MAX, 0)
}
/// The same, and every limit can be asked for.
const OF: [Argument; 4] = resources(1);
const PRLIMIT: &[Pattern] = &[&[OF[0]], &[OF[1]], &[OF[2]], &[OF[3]], &[is(1, CORE), none(2)]];
/// Without the question for the old one, which nobody would answer.
const CORE_OF: &[Pattern] = &[&[is(1, CORE), none(3)]];

/// Calls allowed with some arguments only.
pub(super) const CONDITIONAL: &[Allowed] = &[
    when!(SYS_clone, CLONE),
    when!(SYS_futex, FUTEX),
    when!(SYS_mknodat, AT_NODES),
    when!(SYS_personality, PERSONALITIES),
    when!(SYS_prlimit64, PRLIMIT, feigned: CORE_OF),
    when!(SYS_seccomp, SECCOMP),
    when!(SYS_setrlimit, SETRLIMIT, feigned: CORE_SET),
    when!(SYS_setsockopt, SOCKET_OPTIONS),
    when!(SYS_socket, SOCKETS),
    #[cfg(target_arch = "x86_64")]
    when!(SYS_mknod, MKNOD),
];

#[cfg(target_arch = "x86_64")]
const NODE: [Argument; 4] = node(1);
#[cfg(target_arch = "x86_64")]
const MKNOD: &[Pattern] = &[&[NODE[0]], &[NODE[1]], &[NODE[2]], &[NODE[3]]];

/// Calls allowed whatever their arguments.
#[rustfmt::skip]
pub(super) const ALLOWED: &[Allowed] = calls![
    // Files and directories.
    SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_read, SYS_write, SYS_readv,
    SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
    SYS_lseek, SYS_sendfile, SYS_copy_file_range, SYS_fallocate, SYS_fadvise64, SYS_readahead,
    SYS_truncate, SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_sync_file_range,
    SYS_newfstatat, SYS_fstat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2,
    SYS_readlinkat, SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_mkdirat, SYS_unlinkat,
    SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat, SYS_fchown,
    SYS_fchownat, SYS_umask, SYS_utimensat, SYS_flock, SYS_fcntl, SYS_ioctl, SYS_dup, SYS_dup3,
    SYS_pipe2, SYS_memfd_create,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr,
    SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
    // Waiting.
    SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
    SYS_eventfd2, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime,
    SYS_nanosleep, SYS_clock_nanosleep, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday,
    SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
    SYS_timer_getoverrun, SYS_timer_delete, SYS_restart_syscall,
    // Memory.
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mincore, SYS_msync,
    SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_membarrier,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_remap_file_pages,
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_semget, SYS_semop, SYS_semctl,
    SYS_semtimedop, SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl,
    SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify,
    SYS_mq_getsetattr,
    // Processes, threads, signals.
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill,
    SYS_tkill, SYS_tgkill, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending,
    SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_rt_sigreturn, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_sigaltstack, SYS_pidfd_open, SYS_pidfd_send_signal,
    SYS_set_tid_address, SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_futex_waitv,
    SYS_gettid, SYS_getpid, SYS_getppid, SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam,
    SYS_sched_setparam, SYS_sched_getscheduler, SYS_sched_setscheduler, SYS_sched_getattr,
    SYS_sched_setattr, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_rr_get_interval, SYS_getpriority, SYS_setpriority, SYS_ioprio_get, SYS_ioprio_set,
    SYS_getcpu, SYS_prctl, SYS_getrlimit, SYS_getrusage, SYS_times,
    // Identity: harmless without capabilities, and asked for by honest programs.
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid,
    SYS_getgroups, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid,
    SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_capget, SYS_capset,
    // Sockets; which ones, `socket` decides.
    SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown,
    SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg,
    SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
    // The machine, as far as it may be seen; and giving up one's own rights.
    SYS_uname, SYS_sysinfo, SYS_getrandom, SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self,
];

/// Calls that only x86-64 still has; newer ones above do the same.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const LEGACY: &[Allowed] = calls![
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_getdents, SYS_mkdir,
    SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_symlink, SYS_chmod, SYS_chown, SYS_lchown,
    SYS_utime, SYS_utimes, SYS_futimesat, SYS_dup2, SYS_pipe, SYS_poll, SYS_select,
    SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_signalfd, SYS_inotify_init, SYS_alarm,
    SYS_pause, SYS_time, SYS_fork, SYS_vfork, SYS_getpgrp, SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LEGACY: &[Allowed] = &[];
