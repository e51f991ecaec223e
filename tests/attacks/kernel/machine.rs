//! What belongs to the machine and stays as it is: its control groups, the programs its kernel starts,
//! and the service's own programs (K18 to K20).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::python;
use crate::stage::Stage;
use crate::support::{Engine, host, images::digest};

/// Files of the machine by their names; those that it has not stay away.
fn values(files: impl IntoIterator<Item = PathBuf>) -> BTreeMap<PathBuf, String> {
    let value = |file: PathBuf| Some((file.clone(), fs::read_to_string(&file).ok()?));
    files.into_iter().filter_map(value).collect()
}

fn k18_control_groups_are_no_way_out(engine: Engine) {
    let stage = Stage::get(engine);
    let of_the_machine = || {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("control groups").flatten();
        let files = ["release_agent", "notify_on_release", "devices.list", "cgroup.clone_children"];
        values(hierarchies.flat_map(|h| files.map(|file| h.path().join(file))))
    };
    let before = of_the_machine();
    let script = "
print(unlike('EPERM', [('mount cgroup', 0, 0, b'cgroup', 0, 0), ('mount cgroup2', 0, 0, b'cgroup2', 0, 0),
    ('mount rdma', b'cgroup', b'/tmp', b'cgroup', 0, b'rdma'), ('mount memory', b'cgroup', b'/tmp', b'cgroup', 0, b'memory'),
    ('fsopen', b'cgroup2', 0)]))
found = [os.path.join(top, name) for top, _, names in os.walk('/sys/fs/cgroup') for name in names]
for top in ['/sys/fs/cgroup', '/sys/fs/cgroup/memory', '/sys/fs/cgroup/devices', '/sys/fs/cgroup/pids', '/sys/fs/cgroup/unified']:
    found += [os.path.join(top, name) for name in ('release_agent', 'notify_on_release', 'devices.allow', 'devices.deny',
        'cgroup.procs', 'tasks', 'pids.max', 'memory.max', 'memory.limit_in_bytes', 'cgroup.subtree_control')]
print({opened(path, os.O_WRONLY) for path in found} - {'EROFS', 'EACCES', 'ENOENT'})
made_folder = []
for top in {os.path.dirname(path) for path in found}:
    try:
        os.mkdir(top + '/x')
        made_folder.append(top)
    except OSError:
        pass
print(made_folder)
";
    assert_eq!(python(&stage, script), "[]\nset()\n[]\n");
    assert_eq!(of_the_machine(), before);
}

/// Programs that the kernel starts as root, outside of every container.
fn k19_the_kernel_s_helpers_stay(engine: Engine) {
    let stage = Stage::get(engine);
    let helpers = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/kernel/core_uses_pid",
        "/proc/sys/kernel/core_pipe_limit",
        "/proc/sys/kernel/usermodehelper/bset",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/fs/binfmt_misc/status",
        "/sys/kernel/uevent_helper",
    ];
    let of_the_machine = || values(helpers.map(PathBuf::from));
    let before = of_the_machine();
    assert!(before.contains_key(Path::new("/proc/sys/kernel/core_pattern")), "{before:?}");
    let script = format!(
        "
helpers = {helpers:?}
for path in helpers:
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        said = opened(path, flags)
        if said not in ('EROFS', 'EACCES', 'ENOENT'):
            print(path, flags, said)
    # By another name of the same file.
    said = opened('/proc/self/root' + path, os.O_WRONLY)
    if said not in ('EROFS', 'EACCES', 'ENOENT'):
        print(path, 'by the root', said)
print(unlike('EPERM', [('mount binfmt_misc', 0, 0, b'binfmt_misc', 0, 0)]))
"
    );
    assert_eq!(python(&stage, &script), "[]\n");
    assert_eq!(of_the_machine(), before);
}

/// The service's program, its processes' programs, and with Docker those that start a container.
fn programs(stage: &Stage) -> BTreeMap<PathBuf, String> {
    let service = stage.service().pid();
    let mut files: Vec<PathBuf> = host::descendants(service)
        .into_iter()
        .chain([service])
        .map(|pid| PathBuf::from(format!("/proc/{pid}/exe")))
        .collect();
    files.push(env!("CARGO_BIN_EXE_oncebox").into());
    if stage.engine == Engine::Docker {
        for program in ["runc", "containerd-shim-runc-v2", "containerd-shim", "dockerd"] {
            files.extend(["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(program)));
        }
        // The guest that every container starts.
        for volume in host::docker(&["volume", "ls", "--quiet", "--filter", "name=oncebox-guest"]) {
            let place =
                host::docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]);
            files.push(Path::new(&place[0]).join("oncebox-guest"));
        }
    }
    let hash = |file: PathBuf| Some((file.clone(), digest(&fs::read(&file).ok()?)));
    files.into_iter().filter_map(hash).collect()
}

/// The interpreter of a script is `/proc/self/exe`, which at that moment is the program that starts
/// it; and programs are opened to be written while they start.
fn k20_no_program_is_overwritten(engine: Engine) {
    let stage = Stage::get(engine);
    let before = programs(&stage);
    assert!(before.len() >= 2, "{before:?}");
    // Started by the guest, that is the guest, which does its work only as a container's first process.
    let answer = stage.attack(&json!({"script": "#!/proc/self/exe\n"}));
    assert_eq!((answer.status(), answer.exit_code()), ("completed", 1), "{}", answer.0);
    let script = "
import glob, shutil, subprocess
said = set()
def try_all():
    for path in glob.glob('/proc/[0-9]*/exe') + glob.glob('/proc/[0-9]*/task/*/exe') + ['/proc/self/exe', '/proc/1/exe', '/.oncebox/oncebox-guest']:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            said.add(opened(path, flags))
with open('/tmp/again', 'w') as file:
    file.write('#!/proc/self/exe\\nimport time\\n')
os.chmod('/tmp/again', 0o755)
for _ in range(10):
    with subprocess.Popen(['/tmp/again'], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as child:
        try_all()
try_all()
print(said - {'EACCES', 'ETXTBSY', 'EROFS', 'ENOENT', 'EPERM'})
";
    assert_eq!(python(&stage, script), "set()\n");
    assert_eq!(programs(&stage), before);
}

on_both_engines! {
    together: k18_control_groups_are_no_way_out, k19_the_kernel_s_helpers_stay,
        k20_no_program_is_overwritten
}
