//! The container's cgroup counters, on both versions of the cgroup interface.
//!
//! The files are opened before the script starts and only read again after it: nothing the script
//! does to the mounts can change what they say.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use oncebox_guest::cgroup::{limits_v1, limits_v2, number};
use oncebox_guest::wire::{CgroupLimits, Usage};

use crate::sys;

/// The first of the five descriptors that an engine passes the counters in.
const FIRST_FD: i32 = 3;

/// The counter files, in the order [`Layout`] gives.
#[derive(Default)]
pub(crate) struct Counters {
    layout: Layout,
    files: [Option<File>; 5],
}

/// Which files the counters are in: out-of-memory kills, peak memory, CPU time, refused forks,
/// peak processes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Layout {
    #[default]
    V1,
    V2,
}

impl Layout {
    /// Beneath the cgroup file system; v1 has a folder for each controller, and CPU time may be
    /// in one of two.
    fn paths(self) -> [&'static [&'static str]; 5] {
        match self {
            Self::V1 => [
                &["memory/memory.oom_control"],
                &["memory/memory.max_usage_in_bytes"],
                &["cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage"],
                &["pids/pids.events"],
                &["pids/pids.peak"],
            ],
            Self::V2 => [
                &["memory.events"],
                &["memory.peak"],
                &["cpu.stat"],
                &["pids.events"],
                &["pids.peak"],
            ],
        }
    }
}

/// Finds the counters as the first argument says: `v1` and `v2` are passed in descriptors, `none`
/// is none at all, and without an argument (on Docker) they are beneath `/sys/fs/cgroup`, as are
/// the limits. Also closes every descriptor that is not a counter.
pub(crate) fn find(argument: Option<&OsStr>) -> std::io::Result<(Counters, Option<CgroupLimits>)> {
    let layout = match argument.and_then(OsStr::to_str) {
        Some("v1") => Layout::V1,
        Some("v2") => Layout::V2,
        given => {
            sys::close_from(FIRST_FD)?;
            return Ok(match given {
                None if argument.is_none() => beneath(Path::new("/sys/fs/cgroup")),
                _ => (Counters::default(), None),
            });
        }
    };
    let files = [0, 1, 2, 3, 4].map(|n| sys::inherited(FIRST_FD + n));
    sys::close_from(FIRST_FD + 5)?;
    Ok((Counters { layout, files }, None))
}

fn beneath(root: &Path) -> (Counters, Option<CgroupLimits>) {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let (layout, limits) = if root.join("cgroup.controllers").exists() {
        (Layout::V2, Some(limits_v2(read)))
    } else if root.join("memory").exists() || root.join("pids").exists() {
        (Layout::V1, Some(limits_v1(read)))
    } else {
        return (Counters::default(), None);
    };
    let files =
        layout.paths().map(|names| names.iter().find_map(|name| File::open(root.join(name)).ok()));
    (Counters { layout, files }, limits)
}

impl Counters {
    /// The container's CPU time so far.
    pub(crate) fn cpu_ns(&self) -> Option<u64> {
        let [_, _, cpu, _, _] = &self.files;
        match self.layout {
            Layout::V1 => value(cpu.as_ref(), None),
            Layout::V2 => {
                value(cpu.as_ref(), Some("usage_usec")).and_then(|us| us.checked_mul(1000))
            }
        }
    }

    /// The most memory the container has taken so far, in bytes.
    pub(crate) fn max_memory(&self) -> Option<u64> {
        let [_, memory, _, _, _] = &self.files;
        value(memory.as_ref(), None)
    }

    /// Reads every counter, and whether `/tmp` is full. CPU time counts from `before`: what it took
    /// to make the container is not the script's.
    pub(crate) fn read(&self, before: Option<u64>) -> Usage {
        let [oom, _, _, refused, peak] = &self.files;
        Usage {
            cpu_ns: self.cpu_ns().zip(before).map(|(now, before)| now.saturating_sub(before)),
            max_memory: self.max_memory(),
            max_pids: value(peak.as_ref(), None),
            oom_kills: value(oom.as_ref(), Some("oom_kill")),
            pids_refused: value(refused.as_ref(), Some("max")),
            tmp_full: tmp_full(),
        }
    }
}

/// [`number`] of a file as it stands now.
fn value(file: Option<&File>, key: Option<&str>) -> Option<u64> {
    let mut buffer = [0; 4096];
    let len = file?.read_at(&mut buffer, 0).ok()?;
    number(std::str::from_utf8(&buffer[..len]).ok()?, key)
}

fn tmp_full() -> bool {
    sys::statvfs(c"/tmp").is_ok_and(|tmp| {
        (tmp.bytes > 0 && tmp.free_bytes == 0) || (tmp.inodes > 0 && tmp.free_inodes == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of files for one test.
    fn tree(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("counters-{}-{name}", std::process::id()));
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn reads_v1() {
        let root = tree(
            "v1",
            &[
                ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
                ("memory/memory.max_usage_in_bytes", "4096\n"),
                ("memory/memory.limit_in_bytes", "67108864\n"),
                ("memory/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
                ("cpu,cpuacct/cpuacct.usage", "12345\n"),
                ("cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ("pids/pids.events", "max 2\n"),
                ("pids/pids.max", "64\n"),
            ],
        );
        let (counters, limits) = beneath(&root);
        std::fs::remove_dir_all(&root).unwrap();
        let usage = Usage {
            cpu_ns: Some(12345),
            max_memory: Some(4096),
            max_pids: None,
            oom_kills: Some(3),
            pids_refused: Some(2),
            tmp_full: tmp_full(),
        };
        assert_eq!(counters.read(Some(0)), usage);
        let expected = CgroupLimits {
            memory: Some(64 << 20),
            memory_and_swap: None,
            pids: Some(64),
            cpu_us_per_s: Some(500_000),
        };
        assert_eq!(limits, Some(expected));
    }

    #[test]
    fn reads_v2() {
        let root = tree(
            "v2",
            &[
                ("cgroup.controllers", "cpu memory pids\n"),
                ("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"),
                ("memory.peak", "8192\n"),
                ("memory.max", "67108864\n"),
                ("memory.swap.max", "0\n"),
                ("cpu.stat", "usage_usec 77\nuser_usec 70\nsystem_usec 7\n"),
                ("cpu.max", "150000 100000\n"),
                ("pids.events", "max 0\n"),
                ("pids.peak", "5\n"),
                ("pids.max", "max\n"),
            ],
        );
        let (counters, limits) = beneath(&root);
        std::fs::remove_dir_all(&root).unwrap();
        let usage = Usage {
            cpu_ns: Some(77_000),
            max_memory: Some(8192),
            max_pids: Some(5),
            oom_kills: Some(1),
            pids_refused: Some(0),
            tmp_full: tmp_full(),
        };
        assert_eq!(counters.read(Some(0)), usage);
        let expected = CgroupLimits {
            memory: Some(64 << 20),
            memory_and_swap: Some(64 << 20),
            pids: None,
            cpu_us_per_s: Some(1_500_000),
        };
        assert_eq!(limits, Some(expected));
    }

    #[test]
    fn no_file_and_no_line_are_none() {
        assert_eq!(value(None, None), None);
        assert_eq!(value(Some(&File::open("/dev/null").unwrap()), Some("max")), None);
    }
}
