//! Ceilings around everything that an attack could take with it, should the sandbox fail.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::service::{oncebox, prepared};
use crate::support::{Engine, host};

const MEMORY: &str = "2147483648";
const PROCESSES: &str = "1024";
/// Of each 100 ms, on both cores.
const CPU: [&str; 2] = ["180000", "100000"];
/// When the watchdog ends whatever is still beneath the ceilings, in seconds.
const PATIENCE: u32 = 1200;

/// On the native engine the service and its containers stand in control groups of the guard's own;
/// on Docker the containers stand beneath the daemon's, which gets the ceilings for a while.
pub struct Guard {
    groups: Vec<PathBuf>,
    own: bool,
    watchdog: Child,
}

impl Guard {
    pub fn up(engine: Engine) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("guard-{}-{number}", std::process::id());
        let own = engine == Engine::Native;
        let (mut groups, mut restore) = (Vec::new(), Vec::new());
        for (controller, ceilings) in [
            ("memory", vec![("memory.limit_in_bytes", MEMORY)]),
            ("pids", vec![("pids.max", PROCESSES)]),
            ("cpu", vec![("cpu.cfs_period_us", CPU[1]), ("cpu.cfs_quota_us", CPU[0])]),
        ] {
            let group = if own {
                host::control_group(std::process::id(), controller).join(&name)
            } else {
                daemons(controller)
            };
            fs::create_dir_all(&group).expect("a control group");
            for (file, ceiling) in ceilings {
                let file = group.join(file);
                let old = fs::read_to_string(&file).expect("a ceiling");
                fs::write(&file, ceiling).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                if !own {
                    restore.push((file, old.trim().to_owned()));
                }
            }
            groups.push(group);
        }
        let watchdog = watchdog(&groups, &restore);
        Self { groups, own, watchdog }
    }

    /// The program `oncebox serve`, beneath the ceilings where they are the guard's own.
    pub fn serve(&self, engine: Engine) -> Command {
        let serve = oncebox("serve", engine);
        if !self.own {
            return serve;
        }
        let groups: Vec<_> = self.groups.iter().map(|group| group.display().to_string()).collect();
        let groups = groups.join(" ");
        prepared(&format!("for g in {groups}; do echo $$ >$g/cgroup.procs || exit 1; done"), &serve)
    }
}

/// Where Docker's daemon puts its containers.
fn daemons(controller: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(controller).join("docker")
}

/// A process outside of the ceilings: when the suite is over, however it ends, or after its patience,
/// it takes them away; and whatever is left beneath them first, unless the suite said that all went
/// well.
fn watchdog(groups: &[PathBuf], restore: &[(PathBuf, String)]) -> Child {
    let end = format!(
        "said=$(timeout {PATIENCE} cat) tries=0
        members() {{ find $BENEATH -name cgroup.procs -exec cat {{}} + 2>/dev/null; }}
        while [ \"$said\" != over ] && [ -n \"$(members)\" ] && [ $((tries += 1)) -lt 100 ]; do
            members | sort -u | xargs -r kill -9 2>/dev/null
            sleep 0.1
        done
        [ $# -gt 0 ] || exec find $BENEATH -depth -type d -exec rmdir {{}} +
        while [ $# -gt 0 ]; do echo \"$2\" >\"$1\" || exit; shift 2; done"
    );
    let groups: Vec<_> = groups.iter().map(|group| group.display().to_string()).collect();
    let mut watchdog = Command::new("/bin/sh");
    watchdog.args(["-c", &end, "sh"]).env("BENEATH", groups.join(" "));
    watchdog.args(restore.iter().flat_map(|(file, old)| [file.as_os_str(), OsStr::new(old)]));
    // Not in the suite's own group of processes, which a terminal would interrupt.
    watchdog.process_group(0).stdin(Stdio::piped()).spawn().expect("a watchdog")
}

impl Drop for Guard {
    fn drop(&mut self) {
        let well = !std::thread::panicking();
        let told = self
            .watchdog
            .stdin
            .take()
            .map(|mut ear| if well { ear.write_all(b"over") } else { Ok(()) });
        let ended = self.watchdog.wait();
        if well {
            told.expect("an ear").expect("a living watchdog");
            assert!(ended.is_ok_and(|status| status.success()), "the ceilings are still there");
        }
    }
}
