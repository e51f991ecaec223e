//! A container's control group, read from outside as long as it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{host, until};

pub struct Group(PathBuf);

impl Group {
    /// The one of a controller that a process is in.
    pub fn of(pid: u32, controller: &str) -> Self {
        let groups = host::proc(pid, "cgroup").expect("a living process");
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        });
        let path = path.unwrap_or_else(|| panic!("no {controller} of cgroup v1 in {groups}"));
        Self(Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')))
    }

    /// The last number of a counter that only grows, before the container's end.
    pub fn last(&self, counter: &str) -> u64 {
        let mut last = None;
        until("the container's end", Duration::from_secs(30), || {
            let busy = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            let count = fs::read_to_string(self.0.join(counter)).ok();
            // An empty one may be another container's next.
            let Some(count) = count.filter(|_| !busy.is_empty()) else { return Some(()) };
            last = Some(count.trim().parse().expect("a number"));
            None
        });
        last.expect("a living group")
    }
}
