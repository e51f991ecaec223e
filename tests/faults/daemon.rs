//! A Docker daemon of the test's own, which may die: no other one is ever touched.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tempfile::TempDir;

use super::support::disk::Disk;
use super::support::{BUSYBOX, host, until};

const START: Duration = Duration::from_secs(60);

/// A daemon with a folder of its own for everything, and one image in it.
pub struct Daemon {
    process: Option<Child>,
    folder: TempDir,
    data: PathBuf,
}

impl Daemon {
    pub fn start() -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        Self::start_in(folder, data)
    }

    /// One that keeps all it has on this disk.
    pub fn start_on(disk: &Disk) -> Self {
        Self::start_in(folder(), disk.folder().join("data"))
    }

    fn start_in(folder: TempDir, data: PathBuf) -> Self {
        let mut daemon = Self { process: None, folder, data };
        daemon.begin();
        daemon.load(BUSYBOX);
        daemon
    }

    /// As `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Of its folder and of its control groups, so that what is in those is known as its own.
    fn name(&self) -> &str {
        self.folder.path().file_name().and_then(OsStr::to_str).expect("text")
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    /// Starts it, after it has ended as well. One that was killed does not always come back at the
    /// first try, so that it is started as a service manager does it: until it stays.
    pub fn begin(&mut self) {
        until("a daemon of the test's own", START, || {
            match self.process.as_mut().map(|process| process.try_wait().expect("a child")) {
                Some(None) => {}
                None | Some(Some(_)) => self.process = Some(self.spawn()),
            }
            self.docker(&["version"]).output().ok().filter(|output| output.status.success())
        });
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        let log = log.expect("a log");
        let mut command = Command::new("dockerd");
        command.args(["--host", &self.host(), "--data-root", self.data.to_str().expect("text")]);
        command.args(["--exec-root", &self.path("exec"), "--pidfile", &self.path("pid")]);
        // No bridge and no firewall rules: no container of ours has a network.
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--shutdown-timeout", "2", "--cgroup-parent", &format!("/{}", self.name())]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        command.spawn().expect("dockerd, which tests/run installs")
    }

    pub fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).args(args);
        command
    }

    /// Its own copy of an image of the suite's.
    fn load(&self, image: &str) {
        let mut save = Command::new("docker");
        let mut save = save.args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker");
        let image = save.stdout.take().expect("a pipe");
        let loaded = self.docker(&["load", "--quiet"]).stdin(image).output().expect("docker");
        assert!(loaded.status.success() && save.wait().expect("docker").success(), "{loaded:?}");
    }

    pub fn signal(&self, signal: Signal) {
        host::signal(self.process.as_ref().expect("it lives").id(), signal);
    }

    /// Sends it the signal that ends it, and waits for its end.
    pub fn end(&mut self, by: Signal) {
        self.signal(by);
        let mut process = self.process.take().expect("it lives");
        until("the daemon's end", START, || process.try_wait().expect("a child"));
    }

    /// How many containers it has, when all of them run.
    pub fn guests(&self) -> Option<usize> {
        let all = self.containers();
        all.iter().all(|container| container.ends_with(" running")).then_some(all.len())
    }

    /// Containers of any kind and state.
    pub fn containers(&self) -> Vec<String> {
        let output = self.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]).output();
        let output = output.expect("docker");
        String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
    }

    /// What a daemon that was killed has left: its own containerd, what that looks after, and what is
    /// in the control groups of its containers.
    fn left(&self) -> Vec<u32> {
        let name = self.name();
        let is_ours = |pid: &u32| {
            host::args(*pid).iter().any(|arg| arg.contains(name))
                || host::proc(*pid, "cgroup").is_some_and(|groups| groups.contains(name))
        };
        host::pids().into_iter().filter(is_ours).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let id = process.id();
            for signal in [Signal::CONT, Signal::TERM] {
                host::try_signal(id, signal);
            }
            let _ = process.wait();
        }
        let began = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() || began.elapsed() > START {
                break;
            }
            for pid in left {
                host::try_signal(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&controller.path().join(self.name()));
        }
        for mount in mounts(self.folder.path()).into_iter().chain(mounts(&self.data)) {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
    }
}

/// A control group and those beneath it.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Where residue is looked for, this name is the suite's.
fn folder() -> TempDir {
    let made = tempfile::Builder::new().prefix("oncebox-tests.").tempdir_in("/var/tmp");
    made.expect("a folder")
}

/// Mounts beneath a folder, the deepest first.
fn mounts(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut own: Vec<_> = places
        .filter(|place| Path::new(place).starts_with(folder))
        .map(ToOwned::to_owned)
        .collect();
    own.sort();
    own.reverse();
    own
}
