//! What the kernel shows and takes through `/proc` and `/sys` (I04, I05, I06).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::beside;
use crate::stage::Stage;
use crate::support::{Engine, host};

/// Time to look at every file of a large image.
const PATIENCE: u32 = 60;

/// Files that would tell of the machine are empty, away or closed.
fn i04_the_masked_set_tells_nothing(engine: Engine) {
    let script = "
import glob, os
paths = ['/proc/' + name for name in ('kcore', 'keys', 'key-users', 'timer_list', 'timer_stats', 'sched_debug',
    'interrupts', 'acpi', 'scsi', 'asound', 'latency_stats', 'kmsg', 'vmallocinfo', 'slabinfo')]
paths += ['/sys/firmware', '/sys/devices/virtual/powercap', *glob.glob('/sys/devices/system/cpu/cpu*/thermal_throttle')]
told = []
for path in paths:
    try:
        found = os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(64)
        if found:
            told.append(path)
    except OSError:
        pass
print(told)
";
    let stage = Stage::get(engine);
    assert_eq!(stage.python(script), "[]\n");
    if engine == Engine::Docker {
        // Where a processor does not count its throttling, what the daemon is told shows the same.
        let masked = stage.clean_after(|service| {
            beside(service, &json!({}), |pid| {
                let cgroups = host::proc(pid, "cgroup").expect("a running script");
                let container = cgroups.trim().rsplit('/').next().expect("a name").to_owned();
                let format = "{{json .HostConfig.MaskedPaths}}";
                host::docker(&["inspect", "--format", format, &container]).concat()
            })
        });
        let processors = std::thread::available_parallelism().expect("a count").get();
        for n in 0..processors {
            let path = format!("\"/sys/devices/system/cpu/cpu{n}/thermal_throttle\"");
            assert!(masked.contains(&path), "{masked}");
        }
    }
}

/// Nothing that steers the kernel can be opened for writing, and nothing of it has changed.
fn i05_the_kernel_s_settings_stay(engine: Engine) {
    // Nothing is written, whatever can be opened.
    let script = "
import errno, os
opened, odd, tried = [], set(), 0
for top in '/proc/sys', '/proc/irq', '/proc/bus', '/proc/fs', '/proc/sysrq-trigger':
    if not os.path.exists(top):
        continue
    if not os.statvfs(top).f_flag & os.ST_RDONLY:
        opened.append(top + ' is not mounted read-only')
    names = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    for path in names or [top]:
        tried += 1
        try:
            os.close(os.open(path, os.O_WRONLY))
            opened.append(path)
        except OSError as e:
            # Some are links into /sys.
            if e.errno not in (errno.EROFS, errno.EACCES, errno.ENOENT):
                odd.add((path, errno.errorcode[e.errno]))
print(opened, sorted(odd), tried > 500)
";
    let before = settings();
    let again = settings();
    let stage = Stage::get(engine);
    let request = json!({"script": script, "language": "python", "timeout": PATIENCE});
    let answer = stage.attack(&request);
    assert_eq!(answer.text(), "[] [] True\n", "{}", answer.0);
    let after = settings();
    let steady = |path: &&String| before.get(*path) == again.get(*path);
    let changed: Vec<_> =
        before.keys().filter(steady).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(before.len() > 500 && changed.is_empty(), "{changed:?}");
}

/// The machine's own settings by their files, without what counts or is drawn by chance.
fn settings() -> BTreeMap<String, Vec<u8>> {
    const COUNTERS: &[&str] = &[
        "/random/",
        "ns_last_pid",
        "/pty/nr",
        "/quota/",
        "file-nr",
        "inode-",
        "dentry-state",
        "aio-nr",
        "_count",
    ];
    let mut found = BTreeMap::new();
    for top in ["/proc/sys", "/proc/irq"] {
        read(Path::new(top), &mut |path, content| {
            let steers = top == "/proc/sys" || path.contains("affinity");
            if steers && !COUNTERS.iter().any(|counter| path.contains(counter)) {
                found.insert(path.to_owned(), content);
            }
        });
    }
    found
}

fn read(folder: &Path, found: &mut impl FnMut(&str, Vec<u8>)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read(&path, found);
        } else if let Ok(content) = fs::read(&path) {
            found(&path.to_string_lossy(), content);
        }
    }
}

/// `/sys` is away or read-only, and of control groups there is at most its own.
fn i06_sys_takes_nothing(engine: Engine) {
    let script = "
import os
took, foreign, tried = [], [], 0
for folder, folders, names in os.walk('/sys'):
    for name in names:
        path = os.path.join(folder, name)
        tried += 1
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW))
            took.append(path)
        except OSError:
            pass
        if name in ('cgroup.procs', 'tasks'):
            foreign += [p for p in open(path).read().split() if int(p) not in (1, os.getpid())]
    if folder == '/sys' or folder.startswith('/sys/fs/cgroup'):
        foreign += [f for f in folders if 'docker' in f or 'oncebox' in f]
        try:
            os.mkdir(folder + '/made')
            os.rmdir(folder + '/made')
            took.append(folder)
        except OSError:
            pass
print(took, foreign)
print(tried)
";
    let stage = Stage::get(engine);
    let request =
        json!({"script": script, "language": "python", "timeout": PATIENCE, "cpu_limit": 1});
    let answer = stage.attack(&request);
    let told = answer.text();
    let tried = told.strip_prefix("[] []\n").unwrap_or_else(|| panic!("{}", answer.0));
    let tried: u32 = tried.trim().parse().expect("a number");
    match engine {
        Engine::Native => assert_eq!(tried, 0),
        Engine::Docker => assert!(tried > 500, "{tried} files"),
    }
}

on_both_engines! {
    together: i04_the_masked_set_tells_nothing, i05_the_kernel_s_settings_stay, i06_sys_takes_nothing
}
