//! CLEAN: after an attack, nothing of it is left.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Service, host, until};

/// From an answer until all behind it has gone.
const SETTLE: Duration = Duration::from_secs(2);
/// Descriptors of the service that may come and go with its connections.
const DESCRIPTORS: usize = 2;
/// What one execution may leave in the service's memory, in KiB.
const GROWTH: u64 = 4 * 1024;

/// What a service has on the machine while it runs nothing.
#[derive(Debug)]
pub struct Belongings {
    /// Containers, control groups, mounts, folders, processes and zombies (`support::residue`).
    held: BTreeSet<String>,
    network_namespaces: BTreeSet<String>,
    descriptors: usize,
    /// Resident memory, in KiB.
    resident: u64,
    /// Lines in which the kernel complains.
    complaints: usize,
}

impl Belongings {
    pub fn of(service: &Service) -> Self {
        Self {
            held: service.holds(),
            network_namespaces: network_namespaces(),
            descriptors: fs::read_dir(format!("/proc/{}/fd", service.pid()))
                .map_or(0, Iterator::count),
            resident: resident(service.pid()),
            complaints: complaints(),
        }
    }

    /// Waits until all is as it was.
    #[track_caller]
    pub fn again(&self, service: &Service) {
        let mut differs = String::new();
        let began = Instant::now();
        until_or(SETTLE, || {
            differs = self.differs(&Self::of(service));
            differs.is_empty()
        });
        assert!(differs.is_empty(), "not clean after {:?}: {differs}", began.elapsed());
    }

    fn differs(&self, now: &Self) -> String {
        let mut told = Vec::new();
        let new: Vec<_> = now.held.difference(&self.held).collect();
        if !new.is_empty() {
            told.push(format!("left behind: {new:#?}"));
        }
        let spaces = now.network_namespaces.difference(&self.network_namespaces).count();
        if spaces > 0 {
            told.push(format!("{spaces} network namespaces"));
        }
        if now.descriptors.abs_diff(self.descriptors) > DESCRIPTORS {
            told.push(format!("{} descriptors, not {}", now.descriptors, self.descriptors));
        }
        if now.resident > self.resident + GROWTH {
            told.push(format!("{} KiB resident, not {}", now.resident, self.resident));
        }
        if now.complaints > self.complaints {
            told.push(format!("the kernel complained {} times", now.complaints - self.complaints));
        }
        told.join("; ")
    }
}

fn until_or(limit: Duration, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    until("a clean machine", limit * 2, || (ready() || began.elapsed() > limit).then_some(()));
}

/// Those in which a process is that the suite started, or Docker's daemon for it.
fn network_namespaces() -> BTreeSet<String> {
    let mut pids = host::descendants(std::process::id());
    pids.extend(host::pids().into_iter().filter(|pid| {
        host::proc(*pid, "cgroup").is_some_and(|cgroups| cgroups.contains(":/docker/"))
    }));
    pids.into_iter().filter_map(|pid| host::proc_link(pid, "ns/net")).collect()
}

fn resident(pid: u32) -> u64 {
    let line = host::status(pid, "VmRSS").unwrap_or_default();
    line.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// 0 where the kernel's log can't be read.
fn complaints() -> usize {
    let log = std::process::Command::new("dmesg").output();
    let log = log.map(|output| output.stdout).unwrap_or_default();
    let complains =
        |line: &&str| ["WARNING: ", "BUG: ", "Oops"].iter().any(|word| line.contains(word));
    String::from_utf8_lossy(&log).lines().filter(complains).count()
}
