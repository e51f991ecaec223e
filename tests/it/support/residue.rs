//! What a service leaves behind on the machine: nothing, or the test fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::host;

/// For what goes away behind an answer.
const SETTLE: Duration = Duration::from_secs(5);

/// How many services of this suite run now. They make the same kinds of things, so the look at
/// the machine is taken when there is none.
static SERVICES: Mutex<Count> = Mutex::new(Count { running: 0, baseline: BTreeSet::new() });

struct Count {
    running: usize,
    baseline: BTreeSet<String>,
}

/// One service's duty to leave nothing behind.
#[must_use]
pub struct Residue {
    paid: bool,
}

impl Residue {
    /// Before a service starts: what is on the machine already.
    pub fn before() -> Self {
        let mut count = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        if count.running == 0 {
            count.baseline = everything();
        }
        count.running += 1;
        Self { paid: false }
    }

    /// The service is gone, and so must be all it made, unless another one runs now; then the last
    /// one checks for all.
    pub fn gone(mut self) {
        let baseline = self.pay();
        let Some(baseline) = baseline else { return };
        still_there(&baseline, |_| true);
    }

    /// The same, except for things that `spared` names; they stay another's to check.
    pub fn gone_except(&self, spared: impl Fn(&str) -> bool) {
        let count = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let baseline = count.baseline.clone();
        drop(count);
        still_there(&baseline, |thing| !spared(thing));
    }

    /// Docker's containers from before the first service started.
    pub fn containers_before(&self) -> BTreeSet<String> {
        let count = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        count.baseline.iter().filter(|thing| thing.starts_with("container ")).cloned().collect()
    }

    fn pay(&mut self) -> Option<BTreeSet<String>> {
        let mut count = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        self.paid = true;
        count.running -= 1;
        (count.running == 0).then(|| count.baseline.clone())
    }
}

impl Drop for Residue {
    fn drop(&mut self) {
        if !self.paid {
            self.pay();
        }
    }
}

fn still_there(baseline: &BTreeSet<String>, counts: impl Fn(&str) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let now = everything();
        let left: Vec<&String> = now.difference(baseline).filter(|thing| counts(thing)).collect();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < SETTLE, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything on the machine that a service could have made, each as one line.
fn everything() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    processes(&mut all);
    cgroups(Path::new("/sys/fs/cgroup"), &mut all);
    mounts(&mut all);
    folders(&mut all);
    containers(&mut all);
    all
}

/// Processes that run our program or live in namespaces of their own, zombies too. The network
/// namespaces that are held by processes are seen here as well.
fn processes(all: &mut BTreeSet<String>) {
    let own = |link: &str| host::proc_link(std::process::id(), link);
    let (pid_namespace, net_namespace) = (own("ns/pid"), own("ns/net"));
    for pid in host::pids() {
        let Some(name) = host::proc(pid, "comm") else { continue };
        let name = name.trim().to_owned();
        if host::status(pid, "State").is_some_and(|state| state.starts_with('Z')) {
            all.insert(format!("zombie {pid} {name}"));
        }
        let program = host::proc_link(pid, "exe").unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        if ["oncebox", "containerd-shim", "runc"].iter().any(|ours| program.contains(ours)) {
            all.insert(format!("process {pid} {name}"));
        }
        let net = host::proc_link(pid, "ns/net");
        if let Some(net) = net.filter(|net| Some(net) != net_namespace.as_ref()) {
            all.insert(format!("network namespace {net} of process {pid} {name}"));
        }
        let other = host::proc_link(pid, "ns/pid").filter(|ns| Some(ns) != pid_namespace.as_ref());
        if other.is_some() {
            all.insert(format!("process {pid} {name} in a pid namespace of its own"));
        }
    }
}

fn cgroups(folder: &Path, all: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Docker makes this one for all containers, with the first of them.
        let dockers_own = entry.file_name() == "docker";
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !dockers_own {
            all.insert(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), all);
    }
}

fn mounts(all: &mut BTreeSet<String>) {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    for line in table.lines() {
        let mut fields = line.split(' ');
        let (id, place) = (fields.next().unwrap_or_default(), fields.nth(3).unwrap_or_default());
        all.insert(format!("mount {id} at {place}"));
    }
}

/// Folders and sockets in the places where a service keeps such things.
fn folders(all: &mut BTreeSet<String>) {
    for place in ["/tmp", "/var/tmp", "/run", "/var/lib", "/dev/shm"] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // The suite's own folders go when their service does.
            if name.contains("oncebox") && !name.starts_with("oncebox-it-") {
                all.insert(format!("folder {place}/{name}"));
            }
        }
    }
}

fn containers(all: &mut BTreeSet<String>) {
    all.extend(host::containers());
}
