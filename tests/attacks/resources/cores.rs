//! What is left of a script that crashes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::rows::ended;
use crate::stage::Stage;
use crate::support::{Engine, until};

/// Where the kernel is told what to do with a core.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// This machine hands cores to a program, as many do, which runs as root outside of every container
/// and for which a core limit of 0 is none. It writes down who has crashed.
struct Handler {
    folder: TempDir,
    before: String,
}

impl Handler {
    fn set() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        let program = folder.path().join("handler");
        let notes = folder.path().join("crashed");
        fs::write(&program, format!("#!/bin/sh\necho \"$1\" >>{}\n", notes.display()))
            .expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its owner");
        let before = fs::read_to_string(PATTERN).expect("a pattern");
        fs::write(PATTERN, format!("|{} %e", program.display())).expect("as root");
        Self { folder, before }
    }

    /// The names of the programs whose cores it was given.
    fn crashed(&self) -> String {
        fs::read_to_string(self.folder.path().join("crashed")).unwrap_or_default()
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = fs::write(PATTERN, &self.before);
    }
}

fn r34_a_crash_leaves_no_core(engine: Engine) {
    let name = format!("r34-{}-{engine}", std::process::id() % 10_000);
    let stage = Stage::get(engine);
    let crash = |limit: &str| {
        let script = format!(
            "
import ctypes, os, resource
libc, limit = ctypes.CDLL(None), resource.RLIM_INFINITY
libc.prctl(15, b'{name}')
try:
    {limit}
except PermissionError:
    pass
assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)
os.abort()
"
        );
        let request = json!({"script": script, "language": "python", "outputs": ["**"]});
        let answer = stage.attack(&request);
        let end = (ended(&answer), answer.exit_code(), answer.signal());
        assert_eq!(end, ("signaled", 134, Some("SIGABRT")), "{}", answer.0);
        let files = answer.0["files"].as_array().expect("a list");
        let cores =
            files.iter().filter(|file| file["path"].as_str().expect("a path").contains("core"));
        assert_eq!(cores.count(), 0, "{}", answer.0);
    };
    let limits = [
        "pass",
        "resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))",
        // Less than what keeps the kernel from starting a handler.
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
        "resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))",
        "libc.syscall(160, 4, ctypes.byref((ctypes.c_ulong * 2)(0, 0)))",
    ];
    limits.iter().for_each(|limit| crash(limit));

    let handler = Handler::set();
    for limit in limits {
        crash(limit);
        assert!(!handler.crashed().contains(&name), "a handler was started after {limit}");
    }
    // What is started is seen.
    let crash = "ulimit -c 0; printf 'own crash' >/proc/$$/comm; kill -ABRT $$";
    let own = Command::new("/bin/sh").args(["-c", crash]).status().expect("a shell");
    assert_eq!(own.signal(), Some(6));
    until("the handler's note", Duration::from_secs(5), || {
        handler.crashed().contains("own crash").then_some(())
    });
}

// What the kernel does with cores is the whole machine's.
on_both_engines! { together: ; alone: r34_a_crash_leaves_no_core }
