//! CLEAN: after an attack, nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::support::images::digest;
use crate::support::metrics::Metrics;
use crate::support::{DEBIAN, Engine, Service, engines, host, until};

/// From an answer until all behind it has gone.
pub const SETTLE: Duration = Duration::from_secs(2);
/// Descriptors of the service that may come and go.
const DESCRIPTORS: usize = 2;
/// What one execution may leave in the service's memory, in KiB.
const GROWTH: u64 = 4 * 1024;

/// What a service has on the machine while it runs nothing.
#[derive(Debug)]
pub struct Belongings {
    /// Containers, control groups, mounts, folders, processes and zombies (`support::residue`),
    /// network namespaces, volumes.
    held: BTreeSet<String>,
    /// The images' programs, which every execution shares.
    canary: BTreeMap<PathBuf, String>,
    descriptors: usize,
    /// Resident memory, in KiB.
    resident: u64,
    /// Lines in which the kernel complains.
    complaints: usize,
}

impl Belongings {
    pub fn of(service: &Service) -> Self {
        let mut held = service.holds();
        held.extend(network_namespaces(&held));
        held.extend(zombies());
        held.extend(volumes());
        held.extend(taken_slots(service));
        Self {
            held,
            canary: canary(),
            descriptors: descriptors(service),
            resident: host::kib(service.pid(), "VmRSS"),
            complaints: complaints(),
        }
    }

    /// With what a busy service had open, which it may open again, or close after a while.
    pub fn or_warm(mut self, warm: &Self) -> Self {
        self.descriptors = self.descriptors.max(warm.descriptors);
        self
    }

    /// Waits until all is as it was. Whatever may take longer, no process does.
    #[track_caller]
    pub fn again_within(&self, limit: Duration, service: &Service) {
        let began = Instant::now();
        let differs = until("a look at the machine", limit * 10, || {
            // What is over within the limit must also be seen to be, however long a look takes.
            let looked = began.elapsed();
            let now = Self::of(service);
            let alive: Vec<_> = self.added(&now).filter(|thing| pid(thing).is_some()).collect();
            assert!(alive.is_empty() || looked <= SETTLE, "alive after {looked:?}: {alive:#?}");
            let differs = self.differs(&now);
            (differs.is_empty() || looked > limit).then_some(differs)
        });
        assert!(differs.is_empty(), "not clean after {:?}: {differs}", began.elapsed());
    }

    /// What is held now and was not before.
    fn added<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a String> {
        now.held.difference(&self.held)
    }

    fn differs(&self, now: &Self) -> String {
        let mut told = Vec::new();
        let new: Vec<_> = self.added(now).collect();
        if !new.is_empty() {
            told.push(format!("left behind: {new:#?}"));
        }
        if now.canary != self.canary {
            told.push(format!("the image is not as it was: {:#?}", now.canary));
        }
        if now.descriptors > self.descriptors + DESCRIPTORS {
            told.push(format!("{} descriptors, not {}", now.descriptors, self.descriptors));
        }
        if now.resident > self.resident + GROWTH {
            told.push(format!("{} KiB resident, not {}", now.resident, self.resident));
        }
        if now.complaints > self.complaints {
            told.push(format!("the kernel complained {} times", now.complaints - self.complaints));
        }
        told.join("; ")
    }
}

/// That of a process among the things held.
fn pid(thing: &str) -> Option<u32> {
    thing.strip_prefix("process ")?.split(' ').next()?.parse().ok()
}

/// Those in which a process is that the suite started, or that is in a container of its services.
fn network_namespaces(held: &BTreeSet<String>) -> Vec<String> {
    let mut pids = host::descendants(std::process::id());
    pids.extend(held.iter().filter_map(|thing| pid(thing)));
    let spaces = pids.into_iter().filter_map(|pid| host::proc_link(pid, "ns/net"));
    spaces.map(|space| format!("network namespace {space}")).collect()
}

/// Those that nobody but what makes containers could reap.
fn zombies() -> impl Iterator<Item = String> {
    const MAKERS: &[&str] = &["oncebox", "containerd-shim", "runc"];
    let all = host::pids().into_iter();
    let dead = all.filter(|pid| host::status(*pid, "State").is_some_and(|s| s.starts_with('Z')));
    dead.filter_map(|pid| {
        let maker = host::proc(host::status(pid, "PPid")?.parse().ok()?, "comm")?;
        let ours = MAKERS.iter().any(|name| maker.starts_with(name));
        ours.then(|| format!("zombie {pid} of {}", maker.trim()))
    })
}

fn volumes() -> Vec<String> {
    if !engines().contains(&Engine::Docker) {
        return Vec::new();
    }
    let names = host::docker(&["volume", "ls", "--quiet"]).into_iter();
    names.map(|name| format!("volume {name}")).collect()
}

/// The service's own word for its slots.
fn taken_slots(service: &Service) -> Vec<String> {
    const SLOTS: [&str; 2] = ["oncebox_running", "oncebox_queue_length"];
    let metrics = Metrics::of(service);
    let taken = SLOTS.iter().filter(|name| metrics.samples[**name] != 0.0);
    taken.map(|name| format!("{name} {}", metrics.samples[*name])).collect()
}

/// What the shell of each engine's image is: none may be changed from within.
fn canary() -> BTreeMap<PathBuf, String> {
    const PROGRAMS: &[&str] = &["usr/bin/sh", "usr/bin/env", "usr/bin/python3"];
    static ROOTS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        let format = "{{.GraphDriver.Data.UpperDir}}";
        let root_of = |engine| match engine {
            Engine::Native => PathBuf::from("/"),
            Engine::Docker => {
                host::docker(&["image", "inspect", "--format", format, DEBIAN]).remove(0).into()
            }
        };
        engines().into_iter().map(root_of).collect()
    });
    let programs = ROOTS.iter().flat_map(|root| PROGRAMS.iter().map(|name| root.join(name)));
    programs.map(|program| (program.clone(), stamp(&program))).collect()
}

fn stamp(program: &Path) -> String {
    let about = fs::metadata(program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    // The bytes of a large one can't change without its time of change.
    let bytes = if about.len() < 1 << 20 { fs::read(program).expect("a program") } else { vec![] };
    let (mode, owner, changed) = (about.mode(), about.uid(), about.ctime());
    format!("{} bytes {mode:o} of {owner} at {changed}: {}", about.len(), digest(&bytes))
}

/// Its open files, less the connections that clients keep to it.
fn descriptors(service: &Service) -> usize {
    let port = format!(":{:04X}", service.address().port());
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let kept =
        fields.filter(|fields| fields[1].ends_with(&port)).map(|fields| fields[9].to_owned());
    let kept: BTreeSet<String> = kept.map(|inode| format!("socket:[{inode}]")).collect();
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("a living service");
    let open = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    open.filter(|file| !kept.contains(&*file.to_string_lossy())).count()
}

/// 0 where the kernel's log can't be read.
fn complaints() -> usize {
    let log = std::process::Command::new("dmesg").output();
    let log = log.map(|output| output.stdout).unwrap_or_default();
    let complains =
        |line: &&str| ["WARNING: ", "BUG: ", "Oops"].iter().any(|word| line.contains(word));
    String::from_utf8_lossy(&log).lines().filter(complains).count()
}
