//! One container's group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oncebox_guest::cgroup::number;
use oncebox_guest::wire::Usage;

use super::{Controller, Version, files};
use crate::engine::hardening::{CPU_PERIOD_US, cpu_quota_us};
use crate::engine::native::protocol::MakeLimits;

/// The group's directory in each hierarchy. Removing it is [`Tree::remove_group`], not `Drop`: the
/// kernel refuses for as long as a process is inside.
///
/// [`Tree::remove_group`]: super::Tree::remove_group
pub struct Group {
    pub(super) version: Version,
    pub(super) directories: Vec<(OwnedFd, Vec<Controller>)>,
}

/// Where a counter is: the controller on v1, and file and key on v1 and on v2.
type Counter =
    (Controller, (&'static str, Option<&'static str>), (&'static str, Option<&'static str>));

/// In the order in which the guest inherits them.
const COUNTERS: [Counter; 5] = [
    (
        Controller::Memory,
        ("memory.oom_control", Some("oom_kill")),
        ("memory.events", Some("oom_kill")),
    ),
    (Controller::Memory, ("memory.max_usage_in_bytes", None), ("memory.peak", None)),
    (Controller::Cpuacct, ("cpuacct.usage", None), ("cpu.stat", Some("usage_usec"))),
    (Controller::Pids, ("pids.events", Some("max")), ("pids.events", Some("max"))),
    (Controller::Pids, ("pids.peak", None), ("pids.peak", None)),
];

impl Group {
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    fn directory(&self, controller: Controller) -> io::Result<BorrowedFd<'_>> {
        self.directories
            .iter()
            .find(|(_, controllers)| controllers.contains(&controller))
            .map(|(dir, _)| dir.as_fd())
            .ok_or_else(|| io::Error::other(format!("no hierarchy for {}", controller.name())))
    }

    /// Writes every limit and reads it back. Swap is not allowed at all.
    ///
    /// # Errors
    /// The first limit that does not hold.
    pub fn limit(&self, limits: &MakeLimits) -> io::Result<()> {
        // The kernel counts whole pages.
        let memory = (limits.memory / 4096 * 4096).to_string();
        let quota = cpu_quota_us(limits.cpu_millis);
        let (memory_dir, cpu, pids) = (
            self.directory(Controller::Memory)?,
            self.directory(Controller::Cpu)?,
            self.directory(Controller::Pids)?,
        );
        match self.version {
            Version::V1 => {
                let without_swap = || files::set(memory_dir, "memory.limit_in_bytes", &memory);
                let with_swap =
                    || files::set_if_there(memory_dir, "memory.memsw.limit_in_bytes", &memory);
                // The limit with swap is never below the one without: it goes first when both grow.
                match without_swap() {
                    Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                        with_swap()?;
                        without_swap()?;
                    }
                    set => {
                        set?;
                        with_swap()?;
                    }
                }
                files::keep(memory_dir, "memory.swappiness", "0")?;
                files::keep(cpu, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                files::set(cpu, "cpu.cfs_quota_us", &quota.to_string())?;
            }
            Version::V2 => {
                files::set(memory_dir, "memory.max", &memory)?;
                files::set_if_there(memory_dir, "memory.swap.max", "0")?;
                files::set(cpu, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
            }
        }
        files::set(pids, "pids.max", &limits.pids.to_string())
    }

    /// Gives what has been killed all the processor time there is: held to its limit, a crowd of
    /// processes takes seconds to die.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unthrottle(&self) -> io::Result<()> {
        let cpu = self.directory(Controller::Cpu)?;
        match self.version {
            Version::V1 => files::write(cpu, "cpu.cfs_quota_us", "-1"),
            Version::V2 => files::write(cpu, "cpu.max", "max"),
        }
    }

    /// Moves the calling process in; on v2 it was born inside. To be called by the child itself:
    /// a parent's write would wait for a kernel grace period.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn enter(&self) -> io::Result<()> {
        if self.version == Version::V1 {
            for (dir, _) in &self.directories {
                files::write(dir, "tasks", "0")?;
            }
        }
        Ok(())
    }

    /// The directory to be born in, on v2.
    #[must_use]
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match self.version {
            Version::V1 => None,
            Version::V2 => self.directories.first().map(|(dir, _)| dir.as_fd()),
        }
    }

    /// The counters' files in the guest's order; `None` where this kernel has no such file.
    #[must_use]
    pub fn counters(&self) -> [Option<OwnedFd>; 5] {
        COUNTERS.map(|counter| {
            let (file, _) = self.place(&counter);
            files::open(self.directory(counter.0).ok()?, file).ok()
        })
    }

    /// The counters as they stand.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let [oom_kills, max_memory, cpu, pids_refused, max_pids] = COUNTERS.map(|counter| {
            let (file, key) = self.place(&counter);
            number(&files::read(self.directory(counter.0).ok()?, file).ok()?, key)
        });
        let to_ns = if self.version == Version::V1 { 1 } else { 1000 };
        let cpu_ns = cpu.map(|value| value.saturating_mul(to_ns));
        Usage { cpu_ns, max_memory, max_pids, oom_kills, pids_refused, tmp_full: false }
    }

    fn place(&self, counter: &Counter) -> (&'static str, Option<&'static str>) {
        match self.version {
            Version::V1 => counter.1,
            Version::V2 => counter.2,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::fs::{Mode, open};

    use super::super::tree::DIRECTORY;
    use super::*;

    const LIMITS: MakeLimits =
        MakeLimits { memory: 64 * 1024 * 1024 + 5, cpu_millis: 1500, pids: 64, tmp: 1 << 20 };

    /// A directory of plain files with the names of a group's files.
    fn fake(version: Version, files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let fd = open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        let directories = vec![(fd, Controller::ALL.to_vec())];
        (dir, Group { version, directories })
    }

    fn text(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn limits_on_v2() {
        let names = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"];
        let (dir, group) = fake(Version::V2, &names.map(|name| (name, "max\n")));
        group.limit(&LIMITS).unwrap();
        let found = names.map(|name| text(dir.path(), name));
        assert_eq!(found, ["67108864", "0", "150000 100000", "64"]);
    }

    #[test]
    fn limits_on_v1() {
        let names = [
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.swappiness",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "pids.max",
        ];
        let (dir, group) = fake(Version::V1, &names.map(|name| (name, "-1\n")));
        group.limit(&LIMITS).unwrap();
        let found = names.map(|name| text(dir.path(), name));
        assert_eq!(found, ["67108864", "67108864", "0", "100000", "150000", "64"]);
        group.unthrottle().unwrap();
        assert_eq!(text(dir.path(), "cpu.cfs_quota_us"), "-1");
    }

    #[test]
    fn a_kernel_without_swap_accounting_is_no_error_but_one_without_a_limit_is() {
        let (_dir, group) =
            fake(Version::V2, &[("memory.max", ""), ("cpu.max", ""), ("pids.max", "")]);
        group.limit(&LIMITS).unwrap();
        let (_dir, group) = fake(Version::V2, &[("memory.max", ""), ("cpu.max", "")]);
        let error = group.limit(&LIMITS).unwrap_err().to_string();
        assert!(error.starts_with("pids.max = 64: "), "{error}");
    }

    #[test]
    fn a_limit_that_does_not_hold_is_found_by_reading_back() {
        // The one plain file that takes a value and answers another.
        let (_dir, group) = fake(Version::V2, &[]);
        let comm = open(format!("/proc/{}", std::process::id()), DIRECTORY, Mode::empty()).unwrap();
        let error = files::set(comm, "comm", "a name longer than fifteen").unwrap_err();
        assert_eq!(error.to_string(), "comm is a name longer t, wanted a name longer than fifteen");
        assert!(group.limit(&LIMITS).is_err());
    }

    #[test]
    fn counters_on_v2() {
        let (_dir, group) = fake(
            Version::V2,
            &[
                ("memory.events", "low 0\noom 4\noom_kill 2\n"),
                ("memory.peak", "1048576\n"),
                ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
                ("pids.events", "max 7\n"),
            ],
        );
        let usage = group.usage();
        assert_eq!(usage.oom_kills, Some(2));
        assert_eq!(usage.max_memory, Some(1_048_576));
        assert_eq!(usage.cpu_ns, Some(1_500_000));
        assert_eq!(usage.pids_refused, Some(7));
        assert_eq!(usage.max_pids, None);
        assert_eq!(
            group.counters().map(|counter| counter.is_some()),
            [true, true, true, true, false]
        );
    }

    #[test]
    fn counters_on_v1() {
        let (_dir, group) = fake(
            Version::V1,
            &[
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
                ("memory.max_usage_in_bytes", "4096\n"),
                ("cpuacct.usage", "12345\n"),
                ("pids.events", "max 0\n"),
                ("pids.peak", "9\n"),
            ],
        );
        let usage = group.usage();
        assert_eq!(
            (usage.oom_kills, usage.cpu_ns, usage.max_pids),
            (Some(1), Some(12345), Some(9))
        );
    }
}
