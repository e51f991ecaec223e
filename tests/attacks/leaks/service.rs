//! The service's own files, wherever a script may look for them (I16).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::stage::Stage;
use crate::support::{Engine, Service, host};

/// Tries to open each of these places, under every root there could be, and looks for a file of the
/// size of the service's program.
const SCRIPT: &str = "
import errno, json, os, subprocess
asked = json.loads(os.environ['ASKED'])
roots = ['', '/proc/1/root', '/proc/self/root', '/proc/self/cwd/../../../..', '/proc/1/cwd', '/proc/1/fd/3',
    '/proc/1/task/1/root', '/dev/fd/0/..', '/dev/shm/..']
opened, odd = [], set()
for root in roots:
    for path in asked['paths']:
        try:
            os.close(os.open(root + path, os.O_RDONLY))
            opened.append(root + path)
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
                odd.add((root + path, errno.errorcode[e.errno]))
print(opened, sorted(odd))
closed = []
for name in 'exe', 'root', 'cwd', 'fd/0', 'map_files', 'mem', 'environ', 'maps', 'stack', 'syscall', 'io', 'auxv':
    path = '/proc/1/' + name
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
        closed.append(name)
    except OSError:
        pass
    try:
        os.readlink(path)
        closed.append(name)
    except OSError:
        pass
print(closed)
print(os.path.basename(os.readlink('/proc/self/exe')).startswith('python'), os.readlink('/proc/self/cwd'))
find = ['find', '/', '-path', '/proc', '-prune', '-o', '-path', '/sys', '-prune', '-o', '-type', 'f',
    '-size', str(asked['size']) + 'c', '-print']
print(subprocess.run(find, capture_output=True, text=True).stdout.split())
";

fn i16_nothing_of_the_service_can_be_read(engine: Engine) {
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    let secret = folder.path().join("webhook-secret");
    fs::write(&secret, format!("whsec_{}\n", "A".repeat(32))).expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("its owner");
    let runtimes = folder.path().join("runtimes.toml");
    fs::write(&runtimes, "").expect("a file");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let (secret, runtimes) = (text(&secret), text(&runtimes));
    let settings = [("WEBHOOK_SECRET_FILE", &*secret), ("RUNTIMES_FILE", &*runtimes)];
    let stage = Stage::with(engine, &settings);
    let program = env!("CARGO_BIN_EXE_oncebox");
    let mut paths = own_files(stage.service());
    paths.extend([program.to_owned(), secret, runtimes]);
    for kind in ["log", "executions.redb"] {
        assert!(paths.iter().any(|path| path.ends_with(kind)), "no {kind} among {paths:?}");
    }
    let size = fs::metadata(program).expect("a program").len();
    let asked = json!({"paths": paths, "size": size});
    let answer = stage.attack(&json!({
        "script": SCRIPT, "language": "python", "timeout": 60, "cpu_limit": 1,
        "env": {"ASKED": asked.to_string()},
    }));
    assert_eq!(answer.text(), "[] []\n[]\nTrue /tmp/work\n[]\n", "{}", answer.0);
}

/// What the service and its helpers have open or were started in, and the usual places of such
/// things.
fn own_files(service: &Service) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = [
        "/var/lib/oncebox",
        "/etc/oncebox/keys.toml",
        "/root/.docker/config.json",
        "/etc/shadow",
        "/var/lib/docker",
        "/run/docker.sock",
        concat!(env!("CARGO_TARGET_TMPDIR"), "/images"),
    ]
    .map(ToOwned::to_owned)
    .into();
    for pid in [vec![service.pid()], host::descendants(service.pid())].concat() {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            found.extend(fs::read_link(fd.path()).map(|to| to.to_string_lossy().into_owned()));
        }
        found.extend(["cwd", "exe"].iter().filter_map(|link| host::proc_link(pid, link)));
    }
    // Not what every container has itself.
    found.retain(|path| {
        let own = ["/dev/", "/proc/", "/sys/"].iter().any(|top| path.starts_with(top));
        path.starts_with('/') && path != "/" && !own
    });
    found
}

on_both_engines! { together: i16_nothing_of_the_service_can_be_read }
