//! Files without end, and where they may be at all.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::clean::Belongings;
use crate::rows::{ended, oom_killed};
use crate::scripts;
use crate::stage::Stage;
use crate::support::{Engine, host};

/// The operator's `TMP_SIZE`.
const TMP: u64 = 16 << 20;
const PAGE: u64 = 4096;

fn r10_one_file_fills_tmp_and_nothing_else(engine: Engine) {
    let mark = host::mark("0.7");
    let script = format!(
        "
import errno, os, subprocess, sys
free = os.statvfs('/tmp').f_bfree * {PAGE}
with open('/tmp/fill', 'wb', 0) as file:
    try:
        while True: file.write(bytes({PAGE}))
    except OSError as e:
        print(errno.errorcode[e.errno], os.fstat(file.fileno()).st_size, free, flush=True)
# For a look from outside.
subprocess.run(['sleep', '{mark}'])
sys.exit(1)
"
    );
    let request = json!({"script": script, "language": "python"});
    let (answer, written) = Stage::get(engine).clean_after(|service| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| service.run(&request));
            let child = host::await_argument(&mark);
            let writer = host::status(child, "PPid").and_then(|pid| pid.parse().ok());
            let written = written_to_disk(writer.expect("a living script"));
            (run.join().expect("an answer"), written)
        })
    });
    assert_eq!((ended(&answer), answer.exit_code()), ("completed", 1), "{}", answer.0);
    assert!(!oom_killed(&answer), "{}", answer.0);
    assert_eq!(answer.limits_hit(), ["tmp"], "{}", answer.0);
    assert_eq!(written, 0, "bytes on the machine's disks");
    let text = answer.text();
    let [errno, filled, free] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{}", answer.0)
    };
    let (filled, free): (u64, u64) =
        (filled.parse().expect("a size"), free.parse().expect("a size"));
    assert_eq!(errno, "ENOSPC");
    assert!(filled.abs_diff(free) <= PAGE, "{}", answer.0);
    // What is not free at the start is the script itself.
    assert!(filled <= TMP && filled + 2 * PAGE >= TMP, "{}", answer.0);
}

/// What the kernel counts of a process as bytes for a disk: what it writes to a tmpfs is none.
fn written_to_disk(pid: u32) -> u64 {
    let io = host::proc(pid, "io").expect("a living process");
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    bytes.and_then(|bytes| bytes.parse().ok()).expect("a count")
}

/// One name for every 4 KiB, and 1,024 at the least.
fn r11_names_in_tmp_run_out(engine: Engine) {
    let stage = Stage::get(engine);
    for (size, inodes) in [("16m", 4096), ("4m", 1024)] {
        let before = Belongings::of(stage.service());
        let request = json!({"script": scripts::NAMES, "language": "python", "tmp_size": size});
        let answer = stage.service().run(&request);
        before.again_within(Duration::from_secs(1), stage.service());
        assert_eq!((ended(&answer), answer.exit_code()), ("completed", 0), "{}", answer.0);
        let text = answer.text();
        let (errno, entries) = text.trim().split_once(' ').expect("what failed");
        assert_eq!(errno, "ENOSPC", "{}", answer.0);
        // The folders themselves and the script are of them.
        let entries: u32 = entries.parse().expect("a count");
        assert!((inodes - 8..inodes).contains(&entries), "{size}: {}", answer.0);
    }
}

/// In every folder of the image, those of the kernel included, a file can be made or it is said why
/// not.
fn r16_only_the_declared_folders_can_be_written(engine: Engine) {
    let script = "
import errno, os
written, why = [], {}
for top, folders, _ in os.walk('/'):
    folders[:] = [f for f in folders if not os.path.islink(os.path.join(top, f))
        and os.path.join(top, f) != '/proc/thread-self' and not (top == '/proc' and f.isdigit() and f != str(os.getpid()))]
    name = os.path.join(top, '.written')
    try:
        with open(name, 'w'):
            said = 'written'
        os.unlink(name)
    except OSError as e:
        said = errno.errorcode[e.errno]
    if said == 'written':
        written.append(top)
    else:
        why.setdefault(said, set()).add('/'.join(top.split('/')[:2]))
print('written', *sorted(written))
for said, tops in sorted(why.items()):
    print(said, *sorted(tops))
";
    let request = json!({
        "script": script, "language": "python", "cpu_limit": 1, "timeout": 120,
    });
    let answer = Stage::get(engine).attack(&request);
    assert_eq!(answer.stderr(), "", "{}", answer.0);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/attacks/golden/writable-{engine}.txt"));
    let golden = std::fs::read_to_string(golden).expect("a golden list");
    assert_eq!(answer.text(), golden);
}

on_both_engines! {
    together: r10_one_file_fills_tmp_and_nothing_else, r11_names_in_tmp_run_out,
        r16_only_the_declared_folders_can_be_written
}
