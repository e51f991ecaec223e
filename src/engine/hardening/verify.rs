//! What the guest found, held against what was asked for.

use oncebox_guest::wire::{CgroupLimits, Posture, VERSION};

use super::{CPU_PERIOD_US, RLIMITS, cpu_quota_us, tmp_inodes};
use crate::engine::ContainerSpec;

/// What only the engine knows about a container it made.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The uid and gid as seen inside.
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups that could not be given up: none, but for an ordinary user's engine.
    pub groups: u32,
    /// The guest must have read the cgroup's limits itself; otherwise the engine has done so.
    pub cgroup_inside: bool,
}

/// Compares every field of a posture with the specification.
///
/// # Errors
/// A sentence that names the first field that differs, what it is and what it should be.
pub fn verify(posture: &Posture, spec: &ContainerSpec, expected: &Expected) -> Result<(), String> {
    let limit = |name: &str| RLIMITS.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v);
    // Taken apart by name, so that a new field cannot be forgotten here.
    let Posture {
        version,
        pid,
        uid,
        gid,
        groups,
        capabilities,
        no_new_privs,
        seccomp,
        root_read_only,
        tmp_bytes,
        tmp_inodes: inodes,
        tmp_nosuid,
        tmp_nodev,
        nofile,
        fsize,
        core,
        memlock,
        cgroup,
    } = posture;
    same("guest version", version, &VERSION)?;
    same("pid", pid, &1)?;
    same("uid", uid, &expected.uid)?;
    same("gid", gid, &expected.gid)?;
    same("supplementary groups", groups, &expected.groups)?;
    same("capabilities", capabilities, &[0; 5])?;
    same("no_new_privs", no_new_privs, &true)?;
    same("seccomp mode", seccomp, &2)?;
    same("read-only root", root_read_only, &true)?;
    same("/tmp bytes", tmp_bytes, &spec.tmp.next_multiple_of(4096))?;
    same("/tmp inodes", inodes, &tmp_inodes(spec.tmp))?;
    same("/tmp nosuid", tmp_nosuid, &true)?;
    same("/tmp nodev", tmp_nodev, &true)?;
    same("nofile", nofile, &limit("nofile"))?;
    same("fsize", fsize, &limit("fsize"))?;
    same("core", core, &limit("core"))?;
    same("memlock", memlock, &limit("memlock"))?;
    match (cgroup, expected.cgroup_inside) {
        (None, false) => Ok(()),
        (Some(limits), true) => cgroup_limits(limits, spec),
        _ => Err("cgroup limits could not be read inside the container".into()),
    }
}

fn cgroup_limits(found: &CgroupLimits, spec: &ContainerSpec) -> Result<(), String> {
    let memory = Some(spec.memory / 4096 * 4096);
    same("memory limit", &found.memory, &memory)?;
    if found.memory_and_swap.is_some() {
        same("memory and swap limit", &found.memory_and_swap, &memory)?;
    }
    same("pids limit", &found.pids, &Some(u64::from(spec.pids)))?;
    same(
        "cpu limit",
        &found.cpu_us_per_s,
        &Some(cpu_quota_us(spec.cpu_millis) * (1_000_000 / CPU_PERIOD_US)),
    )
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{name} is {found:?}, wanted {wanted:?}")) }
}
