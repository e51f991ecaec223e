//! A second daemon of a test's own, with nothing in it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::tools;
use crate::support::{host, until};

/// Ended when it is dropped, with all it has.
pub struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir_in("/var/tmp");
        let folder = folder.expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let log = File::create(path("log")).expect("a log");
        let mut dockerd = Command::new("dockerd");
        dockerd.args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--host"]);
        dockerd.arg(format!("unix://{}", path("docker.sock").display()));
        dockerd.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        dockerd.arg("--pidfile").arg(path("pid")).stdin(Stdio::null());
        dockerd.stdout(log.try_clone().expect("a handle")).stderr(log);
        let child = dockerd.spawn().expect("dockerd; use tests/run");
        let daemon = Self { child, folder };
        until("the second daemon's first answer", Duration::from_secs(60), || {
            daemon.docker(&["version"]).output().is_ok_and(|o| o.status.success()).then_some(())
        });
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// `docker` at this daemon.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.socket().display())).args(arguments);
        docker
    }

    /// Gives it an image of the suite's daemon.
    pub fn load(&self, image: &str) {
        let mut save = Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn();
        let save = save.as_mut().expect("docker runs");
        let saved = save.stdout.take().expect("its output");
        tools::run(self.docker(&["load"]).stdin(saved));
        assert!(save.wait().expect("an end").success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        host::signal(self.child.id(), Signal::TERM);
        let _ = self.child.wait();
        // What it leaves mounted, the deepest first.
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places = table.lines().filter_map(|line| line.split(' ').nth(4));
        let mut ours: Vec<&str> = places
            .filter(|place| place.starts_with(&*self.folder.path().to_string_lossy()))
            .collect();
        ours.sort_unstable();
        for place in ours.into_iter().rev() {
            let _ = Command::new("umount").arg(place).status();
        }
    }
}
