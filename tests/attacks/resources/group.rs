//! A container's control group, read from outside as long as its script runs.

use std::fs;
use std::path::PathBuf;
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
        Self { folder: host::control_group(script, controller), script }
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
