//! Control groups, of either version, and swap.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Check;
use crate::engine::native::cgroup::mountinfo::{self, mounts};

/// The controllers behind the limits, by their names in version 1 and version 2.
const V1: &[&str] = &["memory", "cpu", "cpuacct", "pids"];
const V2: &[&str] = &["memory", "cpu", "pids"];

pub(super) fn checks() -> Vec<Check> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mounts = Mounts::parse(&mountinfo::read().unwrap_or_default());
    let own = own_paths(&read(Path::new("/proc/self/cgroup")));
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    let mut checks = match &mounts {
        Mounts { v1, .. } if !v1.is_empty() => version_1(v1, &own, writable),
        Mounts { v2: Some(root), .. } => {
            let path = own.get("").map_or("", |path| path.trim_start_matches('/'));
            let directory = root.join(path);
            let controllers = read(&directory.join("cgroup.controllers"));
            let delegated =
                writable(&directory) && writable(&directory.join("cgroup.subtree_control"));
            version_2(&controllers, delegated)
        }
        Mounts { .. } => vec![Check::missing(
            "version",
            "no control groups are mounted",
            "mount -t cgroup2 none /sys/fs/cgroup",
        )],
    };
    let counted = mounts.v1.get("memory").is_none_or(|memory| {
        let path = own.get("memory").map_or("", |path| path.trim_start_matches('/'));
        // A container sees its own group as the root of the mount.
        [memory.join(path), memory.clone()]
            .iter()
            .any(|group| group.join("memory.memsw.usage_in_bytes").exists())
    });
    checks.push(swap(&read(Path::new("/proc/swaps")), counted));
    checks
}

/// Where control groups are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    /// By controller.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Mounts {
    /// From `/proc/self/mountinfo`. A version 2 without controllers beside a version 1 counts as
    /// version 1.
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for mount in mounts(mountinfo) {
            let point = PathBuf::from(&*mount.point);
            match mount.kind {
                "cgroup2" => found.v2 = found.v2.or(Some(point)),
                "cgroup" => {
                    for controller in V1.iter().filter(|controller| mount.has(controller)) {
                        found.v1.entry((*controller).to_owned()).or_insert_with(|| point.clone());
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Our own group by controller, from `/proc/self/cgroup`; version 2's has the empty name.
fn own_paths(text: &str) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        for controller in controllers.split(',') {
            paths.insert(controller.to_owned(), path.to_owned());
        }
    }
    paths
}

fn version_1(
    mounts: &BTreeMap<String, PathBuf>,
    own: &BTreeMap<String, String>,
    writable: impl Fn(&Path) -> bool,
) -> Vec<Check> {
    let mut checks = vec![Check::ok("version", "1")];
    for name in V1 {
        let Some(point) = mounts.get(*name) else {
            let fix = format!("mount -t cgroup -o {name} none /sys/fs/cgroup/{name}");
            checks.push(Check::missing(*name, "not mounted", fix));
            continue;
        };
        let path = own.get(*name).map_or("", |path| path.trim_start_matches('/'));
        if writable(&point.join(path)) || writable(point) {
            checks.push(Check::ok(*name, "mounted and writable"));
        } else {
            let fix = "start oncebox as root";
            checks.push(Check::missing(*name, "mounted, and not ours to write", fix));
        }
    }
    checks
}

fn version_2(controllers: &str, delegated: bool) -> Vec<Check> {
    let mut checks = vec![Check::ok("version", "2")];
    let found: Vec<_> = controllers.split_whitespace().collect();
    for name in V2 {
        checks.push(if found.contains(name) {
            Check::ok(*name, "available in our own group")
        } else {
            let fix = format!("write +{name} into cgroup.subtree_control of the group above ours");
            Check::missing(*name, "not available in our own group", fix)
        });
    }
    checks.push(if delegated {
        Check::ok("delegation", "our own group is ours to divide")
    } else {
        Check::missing(
            "delegation",
            "our own group is not ours to divide",
            "start it by `systemd-run --user --scope -p Delegate=yes oncebox`, or as root",
        )
    });
    checks
}

/// Swap is refused to containers; version 1 can do that only where swap is counted.
fn swap(swaps: &str, counted: bool) -> Check {
    let areas = swaps.lines().skip(1).count();
    if areas == 0 {
        Check::ok("swap", "none")
    } else if counted {
        Check::ok("swap", format!("{areas} in use; containers get none"))
    } else {
        let fix = "start the kernel with swapaccount=1, or run swapoff -a";
        Check::missing("swap", format!("{areas} in use, and not counted per group"), fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn mounts_of_both_versions_are_found() {
        let hybrid = Mounts::parse(HYBRID);
        let points: Vec<_> = hybrid.v1.iter().map(|(k, v)| (k.as_str(), v.to_str())).collect();
        assert_eq!(
            points,
            [
                ("cpu", Some("/sys/fs/cgroup/cpu,cpuacct")),
                ("cpuacct", Some("/sys/fs/cgroup/cpu,cpuacct")),
                ("memory", Some("/sys/fs/cgroup/memory")),
            ]
        );
        let unified = Mounts::parse(UNIFIED);
        assert!(unified.v1.is_empty());
        assert_eq!(unified.v2.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(Mounts::parse("nonsense\n - \n"), Mounts::default());
    }

    #[test]
    fn our_own_group_is_found() {
        let own = own_paths("4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/user.slice/x:y\n");
        assert_eq!(own["memory"], "/a/b");
        assert_eq!(own["cpuacct"], "/c");
        assert_eq!(own[""], "/user.slice/x:y");
    }

    fn missing(checks: &[Check]) -> Vec<&str> {
        checks.iter().filter(|check| check.fix.is_some()).map(|check| &*check.name).collect()
    }

    #[test]
    fn a_controller_can_be_absent_or_not_ours() {
        let Mounts { v1, .. } = Mounts::parse(HYBRID);
        let own = BTreeMap::new();
        assert_eq!(missing(&version_1(&v1, &own, |_| true)), ["pids"]);
        assert_eq!(missing(&version_1(&v1, &own, |_| false)), V1);
        assert_eq!(missing(&version_2("cpuset cpu io memory pids", true)), [""; 0]);
        assert_eq!(missing(&version_2("memory pids\n", false)), ["cpu", "delegation"]);
    }

    #[test]
    fn swap_must_be_counted_where_there_is_some() {
        let header = "Filename Type Size Used Priority\n";
        let some = format!("{header}/dev/sda2 partition 1 0 -2\n");
        assert_eq!(swap(header, false).fix, None);
        assert_eq!(swap(&some, true).fix, None);
        assert!(swap(&some, false).fix.is_some());
    }
}
