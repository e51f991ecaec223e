//! A control group (cgroup v1) with a limit of the test's own, beneath the one that the suite is in.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::service::prepared;
use super::{host, until};

pub struct Group {
    folder: PathBuf,
    limit: &'static str,
}

impl Group {
    /// How many processes and threads there may be in it.
    pub fn of_processes() -> Self {
        Self::new("pids", "pids.max")
    }

    /// How many bytes of memory what is in it may use.
    pub fn of_memory() -> Self {
        Self::new("memory", "memory.limit_in_bytes")
    }

    fn new(controller: &str, limit: &'static str) -> Self {
        let suite = std::process::id();
        let folder = host::control_group(suite, controller).join(format!("suite-{suite}"));
        fs::create_dir(&folder).expect("as root");
        Self { folder, limit }
    }

    pub fn most(&self, most: &str) {
        fs::write(self.folder.join(self.limit), most).expect("a limit");
    }

    /// The program, started in here.
    pub fn around(&self, program: &Command) -> Command {
        prepared(&format!("echo 0 >{}/cgroup.procs", self.folder.display()), program)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = || fs::remove_dir(&self.folder).ok();
        until("its processes to be gone", Duration::from_secs(5), gone);
    }
}
