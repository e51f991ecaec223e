//! What one in ten sends: the attack suite's own, those that a busy machine can take by the hundred.
//! What a row has written for one look from outside, or without an end, stands here in a shorter form.

use serde_json::{Value, json};

use crate::request::{Expected, Request};
use crate::scripts;
use crate::support::chance::Chance;

/// Row, language, script, how it may end, the limit that it must hit.
type Hostile =
    (&'static str, &'static str, &'static str, &'static [&'static str], Option<&'static str>);

const SCRIPTS: &[Hostile] = &[
    ("R01", "sh", scripts::FORK_BOMB, &["timed_out", "completed"], None),
    ("R02", "python", scripts::DUCKING_FORK_BOMB, &["timed_out"], None),
    ("R03", "sh", "setsid sleep 3600 & exit 0", &["completed"], None),
    ("R05", "python", scripts::THREADS, &["completed"], Some("pids")),
    ("R06", "python", scripts::ZOMBIES, &["completed"], Some("pids")),
    (
        "R07",
        "python",
        "b = []\nwhile True: b.append(bytearray(4 << 20))",
        &["out_of_memory"],
        Some("memory"),
    ),
    ("R08", "sh", scripts::MEMORY_BOMB_IN_A_CHILD, &["out_of_memory"], Some("memory")),
    ("R10", "sh", "head -c 20m /dev/zero >/tmp/f; exit 0", &["completed"], Some("tmp")),
    ("R11", "python", scripts::NAMES, &["completed"], Some("tmp")),
    ("R17", "sh", "yes | head -c 300000", &["completed"], Some("output")),
    ("R22", "python", scripts::DESCRIPTORS, &["completed"], None),
    ("R24", "sh", scripts::SPIN, &["timed_out"], None),
    ("R26", "sh", scripts::IGNORE_SIGNALS, &["timed_out"], None),
    ("R27", "sh", scripts::STOP_ALL, &["timed_out"], None),
    ("R27", "sh", scripts::KILL_ALL, &["signaled"], None),
    ("R34", "sh", "ulimit -c unlimited; kill -ABRT $$", &["signaled"], None),
    (
        "I02",
        "sh",
        "cat /proc/*/environ /proc/*/cmdline >/dev/null 2>&1; kill -9 1; kill -TERM 1; exit 0",
        &["completed"],
        None,
    ),
    (
        "K05",
        "python",
        "
import ctypes
c = ctypes.CDLL(None, use_errno=True)
for n in (165, 166, 155, 161, 272, 308, 304, 321, 298, 323, 425, 248, 250, 101):
    assert c.syscall(n, 0, 0, 0, 0, 0) == -1",
        &["completed"],
        None,
    ),
    (
        "F09",
        "sh",
        "ln -s /etc/passwd out; mkfifo fifo; ln -s /proc/1/environ e",
        &["completed"],
        None,
    ),
];

pub fn drawn(chance: &mut Chance) -> Request {
    let (name, language, script, among, limit) = *chance.one_of(SCRIPTS);
    // What ends of itself has the time for that, however busy the machine is.
    let timeout = if among.contains(&"timed_out") { 0.5 } else { 10.0 };
    let body: Value = json!({
        "script": script, "language": language, "timeout": timeout, "outputs": ["*"],
    });
    Request { name, hostile: true, body, expected: Expected::Ends { among, limit } }
}
