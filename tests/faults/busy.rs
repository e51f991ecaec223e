//! Somebody else holds what is to be removed: a control group, or a file system.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::containers::with_script;
use super::driver::{Fault, pass, trial};
use super::service;
use super::support::{Engine, Service, host, until};

/// A process of the test's own that sits somewhere until it is dropped.
struct Squatter(Child);

impl Squatter {
    fn in_folder(folder: &str) -> Option<Self> {
        let mut command = Command::new("/bin/sleep");
        command.arg("600").stdin(Stdio::null()).current_dir(folder);
        command.spawn().ok().map(Self)
    }

    /// In the control groups of another process, as far as the kernel lets it.
    fn beside(guest: u32) -> Option<Self> {
        let squatter = Self::in_folder("/").expect("sleep starts");
        let entered = groups(guest).into_iter().filter(|group| {
            fs::write(group.join("cgroup.procs"), squatter.0.id().to_string()).is_ok()
        });
        (entered.count() > 0).then_some(squatter)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folders of a process's control groups that are a container's own.
fn groups(pid: u32) -> Vec<PathBuf> {
    let all = host::proc(pid, "cgroup").unwrap_or_default();
    let folder = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let name = match controllers {
            "" => "unified",
            other => other.strip_prefix("name=").unwrap_or(other),
        };
        let path = PathBuf::from(format!("/sys/fs/cgroup/{name}{path}"));
        (path.parent() != Some("/sys/fs/cgroup".as_ref()) && path.is_dir()).then_some(path)
    };
    all.lines()
        .filter(|line| line.contains("/docker/") || line.contains("/oncebox-"))
        .filter_map(folder)
        .collect()
}

/// Sits where `place` says until some time after the containers have ended.
fn squat(service: &Service, engine: Engine, place: impl Fn(u32) -> Option<Squatter>) {
    let squatters = until("containers to sit in", Duration::from_secs(10), || {
        let there = with_script(service, engine, true);
        let squatters: Vec<_> = there.into_iter().filter_map(&place).collect();
        (!squatters.is_empty()).then_some(squatters)
    });
    pass(Duration::from_secs(4));
    drop(squatters);
}

fn control_group(engine: Engine) {
    const NOT_GONE: &str = "oncebox_faults_total{fault=\"not_gone\"}";
    let fault = match engine {
        Engine::Native => Fault::new("control group busy", "not gone yet", NOT_GONE),
        // Control groups are the daemon's, which does not tell us.
        Engine::Docker => Fault::new("control group busy", "", "oncebox_executions").unlogged(),
    };
    let service = service(engine, &[]);
    trial(&service, engine, fault.harmless(), |_| squat(&service, engine, Squatter::beside));
}

/// The kernel lets go of a file system when its last user does, and a container's end does not wait
/// for that: there is nothing to tell.
fn file_system(engine: Engine) {
    let service = service(engine, &[]);
    let fault =
        Fault::new("file system busy", "", "oncebox_executions_total").harmless().unlogged();
    trial(&service, engine, fault, |_| {
        squat(&service, engine, |guest| Squatter::in_folder(&format!("/proc/{guest}/root/tmp")));
    });
}

on_both_engines! {
    together: ;
    alone: control_group, file_system
}
