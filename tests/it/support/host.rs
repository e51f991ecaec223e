//! A look at the machine from outside the containers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// Every process of the machine that can be seen from here.
pub fn pids() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A file of `/proc/PID`; `None` when the process is gone.
pub fn proc(pid: u32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The target of a link of `/proc/PID`.
pub fn proc_link(pid: u32, link: &str) -> Option<String> {
    let target = fs::read_link(format!("/proc/{pid}/{link}")).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// The arguments of a process.
pub fn args(pid: u32) -> Vec<String> {
    let line = proc(pid, "cmdline").unwrap_or_default();
    line.split_terminator('\0').map(ToOwned::to_owned).collect()
}

/// One field of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> Option<String> {
    let status = proc(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// A size of `/proc/PID/status` in KiB, such as `VmRSS`.
pub fn kib(pid: u32, field: &str) -> u64 {
    let size = status(pid, field).expect("a living process");
    size.trim_end_matches(" kB").parse().expect("a number")
}

/// How many files a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a living process").count()
}

/// The folder of the control group that a process is in, of a controller of cgroup v1.
pub fn control_group(pid: u32, controller: &str) -> PathBuf {
    let groups = proc(pid, "cgroup").expect("a living process");
    let path = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    let path = path.unwrap_or_else(|| panic!("no {controller} of cgroup v1 in {groups}"));
    Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'))
}

/// Seconds to sleep that nobody else on this machine sleeps: as good as so many, or a hundred times as
/// many where they have no decimal point.
pub fn mark(seconds: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let point = if seconds.contains('.') { "" } else { "00." };
    format!("{seconds}{point}{:03}{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id())
}

/// Processes that have this very argument.
pub fn with_argument(argument: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| args(*pid).iter().any(|a| a == argument)).collect()
}

/// A process with this argument, as soon as there is one.
pub fn await_argument(argument: &str) -> u32 {
    until(&format!("a process with the argument {argument}"), Duration::from_secs(20), || {
        with_argument(argument).first().copied()
    })
}

/// Children, children's children and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    let all = pids();
    while next < found.len() {
        let parent = found[next].to_string();
        found.extend(all.iter().filter(|p| status(**p, "PPid").as_ref() == Some(&parent)));
        next += 1;
    }
    found.split_off(1)
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    assert!(try_signal(pid, signal), "process {pid} does not take {signal:?}");
}

/// The same to a process that may have ended by itself: `false` then.
pub fn try_signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).is_ok()
}

/// What a `docker` command prints, by lines.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(args).output().expect("the docker command runs");
    assert!(
        output.status.success(),
        "{}use tests/run, which starts an engine, or leave Docker out by ONCEBOX_TEST_ENGINES=native",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
}
