//! What the defaults depend on.

use std::fs;
use std::thread::available_parallelism;

use rustix::thread::sched_getaffinity;

/// The machine the service runs on, as far as settings depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process and what is beneath it may use.
    pub cores: usize,
    /// Cores that there are, whatever this process's cgroup gives it of them: a daemon's containers
    /// are not beneath it.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// `/proc/sys/kernel/pid_max`.
    pub pid_max: u64,
    /// This process may do everything.
    pub root: bool,
}

impl Machine {
    /// This machine; what can't be read counts as the smallest usual machine.
    #[must_use]
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cores,
            processors: sched_getaffinity(None).map_or(cores, |set| set.count() as usize),
            memory: total_memory(&read("/proc/meminfo")).unwrap_or(1 << 30),
            pid_max: read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(32_768),
            root: rustix::process::geteuid().is_root(),
        }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal:        8145408 kB\nMemFree:          123456 kB\n";
        assert_eq!(total_memory(meminfo), Some(8_145_408 * 1024));
        assert_eq!(total_memory("nothing of the kind"), None);
    }
}
