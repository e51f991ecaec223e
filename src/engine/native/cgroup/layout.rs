//! Where this process's own control groups are, from `/proc/self/mountinfo` and
//! `/proc/self/cgroup` (proc(5), cgroups(7)).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::mountinfo::{Mount, mounts};
use super::{Controller, Version};

/// The directories beneath which our groups may be made: one a hierarchy, with its controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub version: Version,
    pub directories: Vec<(PathBuf, Vec<Controller>)>,
}

/// Why limits can't be enforced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCgroup {
    #[error("no cgroup controller for {0}")]
    Missing(String),
    #[error("cgroup v2 does not hand the controllers {0} to this process's group")]
    NotDelegated(String),
    #[error("{path}: {reason}")]
    NotWritable { path: String, reason: String },
}

/// Finds the directories. A controller is taken from v1 where it is mounted there, since then v2
/// cannot have it.
///
/// # Errors
/// The controllers that neither version offers.
pub fn discover(mountinfo: &str, own: &str) -> Result<Layout, NoCgroup> {
    let mounts: Vec<Mount<'_>> = mounts(mountinfo).collect();
    let mut directories: BTreeMap<PathBuf, Vec<Controller>> = BTreeMap::new();
    let mut missing = Vec::new();
    for controller in Controller::ALL {
        let mount = mounts.iter().find(|m| m.kind == "cgroup" && m.has(controller.name()));
        let group = own.lines().find_map(|line| own_v1(line, controller.name()));
        match mount.zip(group).and_then(|(mount, group)| directory(mount, group)) {
            Some(directory) => directories.entry(directory).or_default().push(controller),
            None => missing.push(controller),
        }
    }
    if missing.is_empty() {
        let directories = directories.into_iter().collect();
        return Ok(Layout { version: Version::V1, directories });
    }
    if missing.len() == Controller::ALL.len() {
        let mount = mounts.iter().find(|m| m.kind == "cgroup2");
        let group = own.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(directory) = mount.zip(group).and_then(|(mount, group)| directory(mount, group))
        {
            let directories = vec![(directory, Controller::ALL.to_vec())];
            return Ok(Layout { version: Version::V2, directories });
        }
    }
    let names: Vec<&str> = missing.iter().map(|controller| controller.name()).collect();
    Err(NoCgroup::Missing(names.join(", ")))
}

/// The directory of `group`, where the mount shows it: a bind-mounted subtree hides the part of the
/// path above its root, and a cgroup namespace has groups outside of it, written with `..`.
fn directory(mount: &Mount<'_>, group: &str) -> Option<PathBuf> {
    let beneath = Path::new(group).strip_prefix(&*mount.root).ok()?;
    let inside = beneath.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| Path::new(&*mount.point).join(beneath))
}

/// The path in a line like `4:memory:/user.slice`.
fn own_v1<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let mut fields = line.splitn(3, ':');
    let controllers = fields.nth(1)?;
    controllers.split(',').any(|name| name == controller).then(|| fields.next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATE: &str = "\
24 1 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:22 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
26 24 0:23 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
28 24 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 24 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 24 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn v1_hierarchies_of_their_own() {
        let own = "8:pids:/\n4:memory:/svc/a\n2:cpuacct:/\n1:cpu:/\n0::/\n";
        let layout = discover(SEPARATE, own).unwrap();
        assert_eq!(layout.version, Version::V1);
        let path = |s: &str| PathBuf::from(s);
        assert_eq!(
            layout.directories,
            [
                (path("/sys/fs/cgroup/cpu"), vec![Controller::Cpu]),
                (path("/sys/fs/cgroup/cpuacct"), vec![Controller::Cpuacct]),
                (path("/sys/fs/cgroup/memory/svc/a"), vec![Controller::Memory]),
                (path("/sys/fs/cgroup/pids"), vec![Controller::Pids]),
            ]
        );
    }

    #[test]
    fn v1_hierarchies_mounted_together_and_bound_from_a_subtree() {
        let mountinfo = "\
1 0 0:1 /docker/x /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
2 0 0:2 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
3 0 0:3 /docker/x /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
";
        let own = "3:cpu,cpuacct:/docker/x\n2:memory:/docker/x/in\n1:pids:/docker/x\n";
        let layout = discover(mountinfo, own).unwrap();
        let directories: Vec<&str> =
            layout.directories.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(
            directories,
            ["/sys/fs/cgroup/cpu,cpuacct/", "/sys/fs/cgroup/memory/in", "/sys/fs/cgroup/pids/"]
        );
        assert_eq!(layout.directories[0].1, [Controller::Cpu, Controller::Cpuacct]);
    }

    #[test]
    fn v2_alone() {
        let mountinfo = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = discover(mountinfo, "0::/user.slice/run.scope\n").unwrap();
        assert_eq!(layout.version, Version::V2);
        let directory = PathBuf::from("/sys/fs/cgroup/user.slice/run.scope");
        assert_eq!(layout.directories, [(directory, Controller::ALL.to_vec())]);
    }

    #[test]
    fn a_missing_controller_is_named() {
        let mountinfo = SEPARATE.replace("rw,pids", "rw,devices");
        let own = "4:memory:/\n2:cpuacct:/\n1:cpu:/\n0::/\n";
        assert_eq!(discover(&mountinfo, own), Err(NoCgroup::Missing("pids".into())));
        assert_eq!(
            discover("", "0::/\n"),
            Err(NoCgroup::Missing("memory, cpu, cpuacct, pids".into()))
        );
    }
}
