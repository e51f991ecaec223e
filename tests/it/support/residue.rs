//! What a service leaves behind on the machine: nothing, or the test fails.
//!
//! Other services of the same kind may run on the machine; a thing is this suite's when it names a
//! process of this suite as its owner, or belongs to such a thing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Engine, host};

/// For what goes away behind an answer, and for the sweep of a dead instance's leftovers.
const SETTLE: Duration = Duration::from_secs(5);

static SUITE: Mutex<Suite> =
    Mutex::new(Suite { running: 0, owners: BTreeSet::new(), before: BTreeSet::new() });

/// The services of this suite. The look at the machine is taken when none of them runs.
struct Suite {
    running: usize,
    /// The processes that may own something: the services ever started, and their keepers.
    owners: BTreeSet<u32>,
    /// What is not marked with an owner, and was there before the first of them.
    before: BTreeSet<String>,
}

impl Suite {
    /// What is new and bears no mark.
    fn strange(&self) -> Vec<String> {
        unmarked().difference(&self.before).cloned().collect()
    }
}

fn suite() -> MutexGuard<'static, Suite> {
    SUITE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One service's duty to leave nothing behind.
#[must_use]
pub struct Residue {
    paid: bool,
    owners: Mutex<BTreeSet<u32>>,
}

impl Residue {
    /// Before a service starts.
    pub fn before() -> Self {
        let mut suite = suite();
        if suite.running == 0 {
            suite.before = unmarked();
        }
        suite.running += 1;
        Self { paid: false, owners: Mutex::default() }
    }

    /// The service runs as this process; what it and its children make is this suite's.
    pub fn owned_by(&self, service: u32) {
        let mut owners = host::descendants(service);
        owners.push(service);
        suite().owners.extend(&owners);
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).extend(owners);
    }

    /// The service is gone, and so must be all it made, unless another one runs now; then the last
    /// one answers for all.
    pub fn gone(mut self) {
        self.pay();
        settle(|| {
            let suite = suite();
            // One may also have started while this one looks.
            if suite.running > 0 {
                return Vec::new();
            }
            marked(&suite.owners).into_iter().chain(suite.strange()).collect()
        });
    }

    /// All of this service is gone but Docker's records of containers in which nothing runs: those
    /// that have ended, and those that were being made and never started.
    pub fn ended(&self) {
        let is_record = |thing: &String| thing.contains(" exited ") || thing.contains(" created ");
        settle(|| self.marked().into_iter().filter(|thing| !is_record(thing)).collect());
    }

    /// What bears this service's mark now.
    pub fn marked(&self) -> BTreeSet<String> {
        marked(&self.owners.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, and all that is new and bears no mark.
    pub fn left(&self) -> BTreeSet<String> {
        self.marked().into_iter().chain(suite().strange()).collect()
    }

    fn pay(&mut self) {
        self.paid = true;
        suite().running -= 1;
    }
}

impl Drop for Residue {
    fn drop(&mut self) {
        if !self.paid {
            self.pay();
        }
    }
}

fn settle(left: impl Fn() -> Vec<String>) {
    let began = Instant::now();
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < SETTLE, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything on the machine that bears the mark of one of these, each as one line.
fn marked(owners: &BTreeSet<u32>) -> BTreeSet<String> {
    let containers = containers(owners);
    let mut marks: Vec<String> = containers.iter().map(|(id, _)| id.clone()).collect();
    marks.extend(owners.iter().map(|pid| format!("/oncebox-{pid}-")));
    let ours = |place: &str| marks.iter().any(|mark| place.contains(mark.as_str()));

    let mut left: BTreeSet<String> = containers.into_iter().map(|(_, line)| line).collect();
    cgroups(Path::new("/sys/fs/cgroup"), &ours, &mut left);
    processes(owners, &ours, &mut left);
    left
}

/// Docker's containers whose label names one of these owners: `boot:namespace:pid:start`.
fn containers(owners: &BTreeSet<u32>) -> Vec<(String, String)> {
    if !super::engines().contains(&Engine::Docker) {
        return Vec::new();
    }
    let format = "{{.ID}} {{.State}} {{.Names}} {{.Label \"org.oncebox.owner\"}}";
    let lines = host::docker(&["ps", "--all", "--no-trunc", "--format", format]);
    let ours = lines.into_iter().filter(|line| {
        let pid = line.rsplit(':').nth(1).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: u32| owners.contains(&pid))
    });
    let id = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    ours.map(|line| (id(&line), format!("container {line}"))).collect()
}

fn cgroups(folder: &Path, ours: &impl Fn(&str) -> bool, left: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // The marks of owners end within a path, so a folder is looked at as one.
        if ours(&format!("{}/", entry.path().display())) {
            left.insert(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), ours, left);
    }
}

/// Processes in control groups of ours, which hold the namespaces as well; our own program; and
/// zombies that nobody but the suite can reap.
fn processes(owners: &BTreeSet<u32>, ours: &impl Fn(&str) -> bool, left: &mut BTreeSet<String>) {
    let suite = std::process::id().to_string();
    for pid in host::pids() {
        let Some(name) = host::proc(pid, "comm") else { continue };
        let line = format!("process {pid} {}", name.trim());
        let parent = host::status(pid, "PPid").unwrap_or_default();
        let zombie = host::status(pid, "State").is_some_and(|state| state.starts_with('Z'));
        // The number of a service that has ended goes to another process sooner or later.
        if (owners.contains(&pid) && name.starts_with("oncebox"))
            || host::proc(pid, "cgroup").is_some_and(|cgroups| ours(&cgroups))
            || (zombie && (parent == suite || parent.parse().is_ok_and(|p| owners.contains(&p))))
        {
            left.insert(line);
        }
    }
}

/// What Docker's daemon mounts goes with the container it lists; the last is the suite's own.
const OTHERS: &[&str] =
    &["/overlay2/", "/netns/", "/containers/", "/oncebox-tests.", "/oncebox-it-disk-"];

/// Folders of a suite's own, this one's or another's beside it.
const SUITES: &[&str] = &["oncebox-it-", "oncebox-tests.", "oncebox-images."];

/// Mounts and folders: they have no owner's mark, so all that are new count.
fn unmarked() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    for line in table.lines() {
        let place = line.split(' ').nth(4).unwrap_or_default();
        if !OTHERS.iter().any(|part| place.contains(part)) {
            all.insert(format!("mount at {place}"));
        }
    }
    for place in ["/tmp", "/var/tmp", "/run", "/var/lib", "/dev/shm"] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("oncebox") && !SUITES.iter().any(|suite| name.starts_with(suite)) {
                all.insert(format!("folder {place}/{name}"));
            }
        }
    }
    all
}
