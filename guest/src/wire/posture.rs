//! What the guest finds when it looks at itself: the limits and privileges that really hold.

use super::codec::{Malformed, Reader, Writer};

/// Privileges and limits as PID 1 of a container sees them before it takes a job. The service
/// compares every field with what it asked for and refuses the container where one differs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Posture {
    /// [`super::VERSION`] of the guest.
    pub version: u16,
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups other than `gid`.
    pub groups: u32,
    /// Inheritable, permitted, effective, bounding, ambient (capabilities(7)).
    pub capabilities: [u64; 5],
    pub no_new_privs: bool,
    /// 2 is filter mode (proc_pid_status(5)).
    pub seccomp: u8,
    pub root_read_only: bool,
    pub tmp_bytes: u64,
    pub tmp_inodes: u64,
    pub tmp_nosuid: bool,
    pub tmp_nodev: bool,
    /// Hard limits.
    pub nofile: u64,
    pub fsize: u64,
    pub core: u64,
    pub memlock: u64,
    /// The container's own cgroup limits, where the guest can read them (on Docker).
    pub cgroup: Option<CgroupLimits>,
}

/// Limits from a cgroup's own files; `None` is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupLimits {
    pub memory: Option<u64>,
    /// Memory and swap together (on cgroup v2: memory plus `memory.swap.max`); `None` also where
    /// the kernel does not account swap.
    pub memory_and_swap: Option<u64>,
    pub pids: Option<u64>,
    /// Microseconds of CPU time per second, all cores together.
    pub cpu_us_per_s: Option<u64>,
}

impl Posture {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.version).u32(self.pid).u32(self.uid).u32(self.gid).u32(self.groups);
        for set in self.capabilities {
            w.u64(set);
        }
        w.flag(self.no_new_privs)
            .u8(self.seccomp)
            .flag(self.root_read_only)
            .u64(self.tmp_bytes)
            .u64(self.tmp_inodes)
            .flag(self.tmp_nosuid)
            .flag(self.tmp_nodev)
            .u64(self.nofile)
            .u64(self.fsize)
            .u64(self.core)
            .u64(self.memlock)
            .flag(self.cgroup.is_some());
        if let Some(limits) = &self.cgroup {
            w.option(limits.memory)
                .option(limits.memory_and_swap)
                .option(limits.pids)
                .option(limits.cpu_us_per_s);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            version: r.u16()?,
            pid: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            groups: r.u32()?,
            capabilities: [r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?],
            no_new_privs: r.flag()?,
            seccomp: r.u8()?,
            root_read_only: r.flag()?,
            tmp_bytes: r.u64()?,
            tmp_inodes: r.u64()?,
            tmp_nosuid: r.flag()?,
            tmp_nodev: r.flag()?,
            nofile: r.u64()?,
            fsize: r.u64()?,
            core: r.u64()?,
            memlock: r.u64()?,
            cgroup: if r.flag()? {
                Some(CgroupLimits {
                    memory: r.option()?,
                    memory_and_swap: r.option()?,
                    pids: r.option()?,
                    cpu_us_per_s: r.option()?,
                })
            } else {
                None
            },
        })
    }
}
