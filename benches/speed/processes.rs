//! The service's processes and those of its waiting native containers, from `/proc` and cgroups.

use std::collections::BTreeMap;
use std::fs;

use crate::machine::kib;

/// Memory of a set of processes and groups, in KiB.
#[derive(Debug, Default, Clone, Copy)]
pub struct Memory {
    /// Shared pages divided among those who share them (`smaps_rollup`).
    pub pss: u64,
    /// What the kernel has charged to the groups for its own objects.
    pub kernel: u64,
}

/// The containers beneath a process: their cgroup, and the pids in it.
pub fn containers(service: u32) -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::<String, Vec<u32>>::new();
    for pid in descendants(service) {
        if let Some(group) = container_group(pid) {
            found.entry(group).or_default().push(pid);
        }
    }
    found
}

/// The resident memory of the service, and of those of its processes that are no container, in KiB.
pub fn resident(service: u32) -> (u64, u64) {
    let helpers = descendants(service).into_iter().filter(|pid| container_group(*pid).is_none());
    (status(service, "VmRSS"), helpers.map(|pid| status(pid, "VmRSS")).sum())
}

/// The memory of these containers.
pub fn memory(containers: &BTreeMap<String, Vec<u32>>) -> Memory {
    let pss = containers.values().flatten().map(|pid| field(*pid, "smaps_rollup", "Pss"));
    let kernel = containers.keys().map(|group| kernel_memory(group));
    Memory { pss: pss.sum(), kernel: kernel.sum() }
}

fn descendants(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u64)> = pids.map(|pid| (pid, status(pid, "PPid"))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = u64::from(found[next]);
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The memory group of a process where it is one container's: a group in a folder of ours. Only v2
/// has no name of a controller there.
fn container_group(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let of = |controller: &str| {
        groups.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path))
    };
    let path = of(":memory:").or_else(|| of("0::"))?;
    let (_, inside) = path.split_once("/oncebox-")?;
    inside.contains('/').then(|| path.to_owned())
}

/// In KiB.
fn kernel_memory(group: &str) -> u64 {
    let bytes = |text: String| text.trim().parse::<u64>().unwrap_or(0);
    let v1 = format!("/sys/fs/cgroup/memory{group}/memory.kmem.usage_in_bytes");
    if let Ok(text) = fs::read_to_string(v1) {
        return bytes(text) / 1024;
    }
    let stat = fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.stat")).unwrap_or_default();
    let kernel = stat.lines().find_map(|line| line.strip_prefix("kernel "));
    kernel.map_or(0, |text| bytes(text.to_owned()) / 1024)
}

fn status(pid: u32, name: &str) -> u64 {
    field(pid, "status", name)
}

/// One number of a file of `/proc/PID`; 0 when the process is gone.
fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or(0, kib)
}
