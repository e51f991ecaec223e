//! Control groups: one group a container, with its limits written and read back, in a folder that
//! belongs to this instance. cgroup v1 (cgroups(7), the kernel's `cgroup-v1/`) and v2
//! (`cgroup-v2.rst`).

mod files;
mod group;
mod layout;
mod leftovers;
pub(crate) mod mountinfo;
mod tree;
mod v2;

pub use group::Group;
pub use layout::{Layout, NoCgroup, discover};
pub use leftovers::sweep;
pub use tree::Tree;

/// The controllers a container needs, by their kernel names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Pids,
}

impl Controller {
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Cpuacct, Self::Pids];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
        }
    }
}

/// Which interface the kernel offers for the controllers we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}
