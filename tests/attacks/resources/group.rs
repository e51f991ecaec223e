//! A container's control group, read from outside as long as its script runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{host, until};

pub struct Group {
    folder: PathBuf,
    script: u32,
}

impl Group {
    /// The one of a controller that a script is in, as soon as there is a process of it, which has
    /// this argument.
    pub fn of(argument: &str, controller: &str) -> Self {
        let script = host::await_argument(argument);
        let groups = host::proc(script, "cgroup").expect("a living process");
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        });
        let path = path.unwrap_or_else(|| panic!("no {controller} of cgroup v1 in {groups}"));
        let folder = Path::new("/sys/fs/cgroup").join(controller);
        Self { folder: folder.join(path.trim_start_matches('/')), script }
    }

    /// The last number of a counter that only grows.
    pub fn last(&self, counter: &str) -> u64 {
        let mut last = None;
        until("the script's end", Duration::from_secs(30), || {
            let count = fs::read_to_string(self.folder.join(counter)).ok();
            // Another container may have the group next.
            let Some(count) = count.filter(|_| self.has_the_script()) else { return Some(()) };
            last = Some(count.trim().parse().expect("a number"));
            None
        });
        last.expect("a running script")
    }

    fn has_the_script(&self) -> bool {
        let members = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        members.lines().any(|pid| pid.parse() == Ok(self.script))
    }
}
