//! The one profile both engines build containers from, and the check that it really holds.
//!
//! Nothing here is specific to an engine: `docker` turns the profile into a create request and
//! `native` into system calls. What the guest then finds when it looks at itself is held against
//! [`verify`]; a container that differs in one field is refused.

pub mod seccomp;
mod verify;

pub use verify::{Expected, verify};

/// Host name inside every container.
pub const HOSTNAME: &str = "oncebox";

/// Paths of `/proc` and `/sys` that are hidden: Docker's current list, and `key-users`, which
/// counts other users' keys.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of `/proc` that can be read and not written.
pub const READ_ONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The only device nodes there are, with their numbers (null(4), random(4), full(4)).
pub const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// One inode of `/tmp` for this many bytes of it: a cap on names as well as on bytes.
const TMP_BYTES_PER_INODE: u64 = 4 * 1024;

/// Inodes of a `/tmp` of the given size; never so few that an honest script starves.
#[must_use]
pub fn tmp_inodes(tmp_bytes: u64) -> u64 {
    (tmp_bytes / TMP_BYTES_PER_INODE).max(1024)
}

/// Bytes and inodes of `/dev/shm`, for POSIX semaphores and shared memory; counted in the memory
/// limit like every tmpfs page.
pub const SHM_BYTES: u64 = 16 * 1024 * 1024;
pub const SHM_INODES: u64 = 1024;

/// Hard and soft resource limits of every process in a container (getrlimit(2)), by Docker's names
/// for them. One byte of core is none at all, and the one limit with which the kernel starts no
/// program that `core_pattern` names: 0 keeps it from writing files only. No script can change it
/// (`seccomp`).
pub const RLIMITS: &[(&str, u64)] = &[
    ("core", 1),
    ("fsize", 1 << 30),
    ("memlock", 64 * 1024),
    ("msgqueue", 0),
    ("nofile", 1024),
    ("sigpending", 1024),
];

/// How willing the kernel is to kill the guest when the whole machine is out of memory; the guest
/// raises its scripts to 1000, so that a script always goes first.
pub const OOM_SCORE_ADJ: i32 = 500;

/// The CPU quota's period, in microseconds.
pub const CPU_PERIOD_US: u64 = 100_000;

/// The CPU quota for one period, in microseconds; the kernel takes no less than a millisecond.
#[must_use]
pub fn cpu_quota_us(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * CPU_PERIOD_US / 1000).max(1000)
}
