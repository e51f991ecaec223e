//! The posture of a waiting and of a running container: every privilege and limit it has, collected from outside by
//! pid and held against one written expectation for each engine (`snapshots/`).
//!
//! What changes from run to run is replaced by its kind; what has no business in an expectation is
//! dropped by name. Anything else is printed as it is, so that what a new kernel, a new daemon or a
//! change of ours adds is seen, and fails until somebody has judged it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::pool;
use crate::support::processes::guests;
use crate::support::{Engine, Service, host};

/// Lines of `/proc/PID/status` that say how large or how busy a process is, which machine or kernel
/// it runs on, or who it is; the last are shown in a form of their own.
const NOT_POSTURE: &[&str] = &[
    "Name",
    "Pid",
    "Tgid",
    "PPid",
    "NStgid",
    "NSpgid",
    "NSsid",
    "VmPeak",
    "VmSize",
    "VmLck",
    "VmPin",
    "VmHWM",
    "VmRSS",
    "RssAnon",
    "RssFile",
    "RssShmem",
    "VmData",
    "VmStk",
    "VmExe",
    "VmLib",
    "VmPTE",
    "VmSwap",
    "HugetlbPages",
    "FDSize",
    "State",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "Cpus_allowed",
    "Cpus_allowed_list",
    "Mems_allowed",
    "Mems_allowed_list",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
    "untag_mask",
    "x86_Thread_features",
    "x86_Thread_features_locked",
];

/// Lines that older kernels do not have, and what they must say where they are.
const OF_NEWER_KERNELS: &[(&str, &str)] = &[("Kthread", "0"), ("THP_enabled", "1")];

/// What of `/proc` tells too much. Not every kernel has all of it.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// Files of a control group that count what is used, tell of members and events, or can't be read;
/// every other one is a limit or a setting, on version 1 and version 2.
const NOT_LIMITS: &[&str] = &[
    "blkio.bfq.io_service_bytes",
    "blkio.bfq.io_service_bytes_recursive",
    "blkio.bfq.io_serviced",
    "blkio.bfq.io_serviced_recursive",
    "blkio.throttle.io_service_bytes",
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.throttle.io_serviced",
    "blkio.throttle.io_serviced_recursive",
    "cgroup.controllers",
    "cgroup.events",
    "cgroup.procs",
    "cgroup.stat",
    "cgroup.stat.local",
    "cgroup.threads",
    "cpu.pressure",
    "cpu.stat",
    "cpu.stat.local",
    "cpuacct.stat",
    "cpuacct.usage",
    "cpuacct.usage_all",
    "cpuacct.usage_percpu",
    "cpuacct.usage_percpu_sys",
    "cpuacct.usage_percpu_user",
    "cpuacct.usage_sys",
    "cpuacct.usage_user",
    "io.pressure",
    "io.stat",
    "irq.pressure",
    "memory.current",
    "memory.events",
    "memory.events.local",
    "memory.failcnt",
    "memory.kmem.failcnt",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.slabinfo",
    "memory.kmem.tcp.failcnt",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.kmem.tcp.usage_in_bytes",
    "memory.kmem.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.memsw.max_usage_in_bytes",
    "memory.memsw.usage_in_bytes",
    "memory.numa_stat",
    "memory.peak",
    "memory.pressure",
    "memory.stat",
    "memory.swap.current",
    "memory.swap.events",
    "memory.swap.peak",
    "memory.usage_in_bytes",
    "memory.zswap.current",
    "pids.current",
    "pids.events",
    "pids.events.local",
    "pids.peak",
    "tasks",
];

/// Everything about one process.
fn posture(pid: u32) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        writeln!(text, "[{title}]").expect("a string");
        lines.iter().for_each(|line| writeln!(text, "{line}").expect("a string"));
    };
    section("status", status(pid));
    section("namespaces", namespaces(pid));
    for map in ["uid_map", "gid_map", "setgroups"] {
        section(map, lines(pid, map));
    }
    section("limits", limits(pid));
    for file in ["oom_score_adj", "coredump_filter", "loginuid", "attr/current", "personality"] {
        section(file, lines(pid, file));
    }
    section("scheduling", scheduling(pid));
    section("descriptors", descriptors(pid));
    section("environment", environment(pid));
    section("links", ["exe", "cwd", "root"].map(|link| named(pid, link)).to_vec());
    section("cgroups", cgroups(pid));
    section("mounts", mounts(pid));
    // The uid outside is one of many, chosen for this container.
    let uid = host::status(pid, "Uid").expect("a running process");
    text.replace(uid.split_whitespace().next().expect("a uid"), "*")
}

fn status(pid: u32) -> Vec<String> {
    let status = host::proc(pid, "status").expect("a running process");
    let fields = status.lines().map(|line| line.split_once(':').expect("a field"));
    fields
        .filter(|(name, _)| !NOT_POSTURE.contains(name))
        .filter(|(name, value)| !OF_NEWER_KERNELS.contains(&(name, value.trim())))
        .map(|(name, value)| {
            let words: Vec<&str> = value.split_whitespace().collect();
            let value = match name {
                "Uid" | "Gid" => ids(&words),
                // How many pid namespaces deep it is; the innermost of the guest is 1.
                "NSpid" => format!(
                    "{} deep{}",
                    words.len(),
                    if words.last() == Some(&"1") { ", 1" } else { "" }
                ),
                "SigQ" => words[0].split_once('/').expect("a queue").1.to_owned(),
                _ => words.join(" "),
            };
            format!("{name}: {value}")
        })
        .collect()
}

/// Real, effective, saved and file-system id, without the number that the execution has by chance.
fn ids(ids: &[&str]) -> String {
    let same = ids.iter().all(|id| id == &ids[0]);
    if same && ids[0] != "0" { "one, not 0".to_owned() } else { ids.join(" ") }
}

fn namespaces(pid: u32) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{pid}/ns")).expect("namespaces");
    let mut names: Vec<String> = folder
        .map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let of = |pid: u32, name: &str| host::proc_link(pid, &format!("ns/{name}"));
    let kind = |name: &String| match of(pid, name) == of(std::process::id(), name) {
        true => format!("{name}: the host's"),
        false => format!("{name}: its own"),
    };
    names.iter().map(kind).collect()
}

fn lines(pid: u32, file: &str) -> Vec<String> {
    let Some(text) = host::proc(pid, file) else { return vec!["(none)".into()] };
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_end_matches(['\n', '\0']).lines().map(|line| anonymous(&words(line))).collect()
}

/// Resource limits; those that are as the suite itself has them are the machine's, not ours.
fn limits(pid: u32) -> Vec<String> {
    let machine = lines(std::process::id(), "limits");
    let kind = |limit: String| match limit.starts_with("Max processes") && machine.contains(&limit)
    {
        true => "Max processes: the machine's; the control group counts".to_owned(),
        false => limit,
    };
    lines(pid, "limits").into_iter().map(kind).collect()
}

fn scheduling(pid: u32) -> Vec<String> {
    let stat = host::proc(pid, "stat").expect("a running process");
    // The fields after the name, which may hold blanks: the first is field 3 of proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let field = |number: usize| fields[number - 3];
    vec![format!("nice {}, real-time priority {}, policy {}", field(19), field(40), field(41))]
}

fn descriptors(pid: u32) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let numbers =
        folder.map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned());
    let mut numbers: Vec<u32> = numbers.map(|name| name.parse().expect("a number")).collect();
    numbers.sort_unstable();
    let kind = |fd: u32| {
        let target = host::proc_link(pid, &format!("fd/{fd}")).expect("an open descriptor");
        format!(
            "{fd}: {}",
            target.split_once(":[").map_or(beneath_ours(&target), |(kind, _)| kind.to_owned())
        )
    };
    numbers.into_iter().map(kind).collect()
}

fn environment(pid: u32) -> Vec<String> {
    let environ = host::proc(pid, "environ").unwrap_or_default();
    let mut pairs: Vec<String> = environ.split_terminator('\0').map(anonymous).collect();
    pairs.sort();
    pairs
}

fn named(pid: u32, link: &str) -> String {
    format!("{link}: {}", anonymous(&host::proc_link(pid, link).unwrap_or_else(|| "(none)".into())))
}

/// Controllers whose group is its own, and that group's limits.
fn cgroups(pid: u32) -> Vec<String> {
    let table = |pid: u32| host::proc(pid, "cgroup").expect("a running process");
    let machine = table(std::process::id());
    let mut groups = Vec::new();
    for line in table(pid).lines().filter(|line| !machine.lines().any(|own| own == *line)) {
        let (_, group) = line.split_once(':').expect("a hierarchy");
        let (controllers, path) = group.split_once(':').expect("a path");
        let mut lines = vec![format!("{controllers}: {}", beneath_ours(path))];
        let folder = cgroup_folder(controllers, path);
        lines.extend(settings(&folder));
        groups.push(lines);
    }
    groups.sort();
    groups.concat()
}

/// Every file of a group that is not known to be none, in the order of their names.
fn settings(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a control group").flatten();
    let mut settings: Vec<String> = files
        .filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|file| !NOT_LIMITS.contains(&file.as_str()))
        .filter_map(|file| {
            // What can only be written is no setting.
            let value = fs::read_to_string(folder.join(&file)).ok()?;
            // A counter stands among the settings.
            let lines = value.lines().filter(|line| !line.starts_with("oom_kill "));
            // Processors and memory nodes are as many as the machine has.
            let machine =
                file.starts_with("cpuset.") && ours(&file).is_some_and(|own| own == value);
            let value = lines.collect::<Vec<_>>().join(", ");
            Some(format!("  {file} = {}", if machine { "the machine's" } else { &value }))
        })
        .collect();
    settings.sort();
    settings
}

/// The machine's own value of a file, at the top of its hierarchy.
fn ours(file: &str) -> Option<String> {
    let controller = file.split_once('.')?.0;
    let top = Path::new("/sys/fs/cgroup");
    let files = [top.join(controller).join(file), top.join(file)];
    files.iter().find_map(|file| fs::read_to_string(file).ok())
}

fn cgroup_folder(controllers: &str, path: &str) -> PathBuf {
    let top = Path::new("/sys/fs/cgroup");
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    let hybrid = name.is_empty() && !top.join("cgroup.controllers").exists();
    top.join(if hybrid { "unified" } else { name }).join(path.trim_start_matches('/'))
}

/// Mount point, what is mounted, and both sets of options.
fn mounts(pid: u32) -> Vec<String> {
    let table = host::proc(pid, "mountinfo").expect("a running process");
    let mut mounts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in table.lines() {
        let (place, what) = line.split_once(" - ").expect("two halves");
        let place: Vec<&str> = place.split(' ').collect();
        let what: Vec<&str> = what.split(' ').collect();
        let options = what[2].split(',').filter(|option| !is_layer(option));
        let options = options.collect::<Vec<_>>().join(",");
        // Slave mounts say which of the machine's they follow; that is a number by chance.
        let propagation: String = place[6..]
            .iter()
            .map(|tag| format!(" {}", tag.split_once(':').map_or(*tag, |(kind, _)| kind)))
            .collect();
        let root = ["/volumes/", "/containers/"].iter().find_map(|part| place[3].find(part));
        let mount = match root {
            // A file of the daemon's own, on whatever disk the machine has.
            Some(at) => {
                format!("bind of …{} {}{propagation}", anonymous(&place[3][at..]), place[5])
            }
            None => format!(
                "{} ({} of {}) {} | {}{propagation}",
                what[0],
                anonymous(place[3]),
                anonymous(what[1]),
                place[5],
                anonymous(&options),
            ),
        };
        mounts.entry(place[4].to_owned()).or_default().push(mount);
    }
    let mut lines = vec![masked(&mut mounts)];
    for (place, all) in &mounts {
        lines.extend(all.iter().map(|mount| format!("{place}: {mount}")));
    }
    lines
}

/// Takes the covers off the list, and names the paths that have none.
fn masked(mounts: &mut BTreeMap<String, Vec<String>>) -> String {
    let bare = |path: &&&str| Path::new(path).exists() && mounts.remove(**path).is_none();
    let bare: Vec<&&str> = MASKED.iter().filter(bare).collect();
    format!("(masked: all of the list but {bare:?})")
}

/// An overlay's folders are the engine's own business.
fn is_layer(option: &str) -> bool {
    ["lowerdir=", "upperdir=", "workdir=", "lowerdir+="].iter().any(|name| option.starts_with(name))
}

/// A path among the control groups, without the part that is the suite's own.
fn beneath_ours(path: &str) -> String {
    let table = host::proc(std::process::id(), "cgroup").expect("this process");
    let ours = table.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let ours = ours.filter(|group| *group != "/");
    anonymous(&ours.fold(path.to_owned(), |path, group| path.replacen(group, "", 1)))
}

/// Ids and numbers given by chance, replaced by `*`.
fn anonymous(text: &str) -> String {
    let mut shown = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() || (c == '-' && run.len() >= 8) {
            run.push(c);
            continue;
        }
        let hash = run.len() >= 12 && run.bytes().any(|b| b.is_ascii_digit());
        let number = |run: &str| !run.is_empty() && run.bytes().all(|b| b.is_ascii_digit());
        // The native engine counts its containers: `oncebox-…/c7`.
        let container = run.strip_prefix('c').is_some_and(number)
            && shown.strip_suffix('/').is_some_and(chosen_by_chance);
        let id = hash || container || (number(&run) && chosen_by_chance(&shown));
        shown.push_str(if id { "*" } else { &run });
        run.clear();
        shown.push(c);
    }
    shown.pop();
    shown
}

/// What follows `oncebox-` in a name: process ids and the like.
fn chosen_by_chance(before: &str) -> bool {
    before.rsplit('/').next().is_some_and(|name| name.starts_with("oncebox-"))
}

/// The guest: the ancestor that is PID 1 in its own pid namespace.
fn guest_of(script: u32) -> u32 {
    let mut pid = script;
    loop {
        let inner = host::status(pid, "NSpid").expect("a running process");
        if inner.split_whitespace().next_back() == Some("1") && inner.split_whitespace().count() > 1
        {
            return pid;
        }
        pid = host::status(pid, "PPid").and_then(|p| p.parse().ok()).expect("a parent");
        assert!(pid > 1, "no guest above {script}");
    }
}

fn k27_every_field_is_as_written(engine: Engine) {
    let mark = host::mark("5");
    // Made for the request: the other half looks at what was made ahead.
    let service = Service::start(engine, &[("POOL_SIZE", "0")]);
    std::thread::scope(|scope| {
        let run = scope
            .spawn(|| service.run(&json!({"script": format!("exec sleep {mark}"), "timeout": 4})));
        let script = host::await_argument(&mark);
        let guest = guest_of(script);
        for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time"] {
            let of = |pid: u32| host::proc_link(pid, &format!("ns/{namespace}"));
            assert_eq!(of(script), of(guest), "{namespace} namespace of script and guest");
        }
        expect(engine, "guest", &posture(guest));
        expect(engine, "script", &posture(script));
        run.join().expect("an answer");
    });
}

#[track_caller]
fn expect(engine: Engine, who: &str, found: &str) {
    let cgroups = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1" };
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("posture-{engine}-{cgroups}-{who}"), found);
    });
}

/// A container that waits for its script, and the interpreter in it that waits to read it.
fn k27_a_waiting_container_is_as_written(engine: Engine) {
    let service = pool::filled(Service::start(engine, &[("POOL_SIZE", "1")]));
    let guests = guests(&service, engine);
    let [guest] = guests[..] else { panic!("one container waits: {guests:?}") };
    let interpreters = host::descendants(guest);
    let [interpreter] = interpreters[..] else { panic!("one process waits: {interpreters:?}") };
    expect(engine, "waiting", &posture(guest));
    expect(engine, "interpreter", &posture(interpreter));
}

on_both_engines! {
    together: k27_every_field_is_as_written, k27_a_waiting_container_is_as_written
}
