//! What one in ten sends: the attack suite's own, those that a busy machine can take by the hundred.

use serde_json::{Value, json};

use crate::request::{Expected, Request};
use crate::support::chance::Chance;

const ANY: &[&str] = &["completed", "signaled", "timed_out", "out_of_memory"];

/// Row, language, script, how it may end, the limit that it must hit.
type Hostile =
    (&'static str, &'static str, &'static str, &'static [&'static str], Option<&'static str>);

const SCRIPTS: &[Hostile] = &[
    ("R01", "sh", "f() { f | f & }; f; sleep 0.1; exit 1", ANY, None),
    (
        "R02",
        "sh",
        "trap '' TERM HUP INT; (trap '' TERM; setsid sh -c 'setsid sleep 3600 &' &); sleep 3600",
        &["timed_out"],
        None,
    ),
    ("R03", "sh", "setsid sleep 3600 & exit 0", &["completed"], None),
    (
        "R05",
        "python",
        "
import threading, time
try:
    for _ in range(10000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
except RuntimeError: pass
import os; os._exit(0)",
        &["completed"],
        Some("pids"),
    ),
    (
        "R07",
        "python",
        "b = []\nwhile True: b.append(bytearray(4 << 20))",
        &["out_of_memory"],
        Some("memory"),
    ),
    (
        "R08",
        "sh",
        "python3 -c 'b = []\nwhile True: b.append(bytearray(4 << 20))'; exit 0",
        &["out_of_memory"],
        Some("memory"),
    ),
    ("R10", "sh", "head -c 20m /dev/zero >/tmp/f; exit 0", &["completed"], Some("tmp")),
    (
        "R11",
        "python",
        "
try:
    for n in range(100000): open('/tmp/%d' % n, 'w').close()
except OSError: pass",
        &["completed"],
        Some("tmp"),
    ),
    ("R17", "sh", "yes | head -c 300000", &["completed"], Some("output")),
    ("R24", "sh", "while :; do :; done", &["timed_out"], None),
    ("R26", "sh", "trap '' TERM INT HUP ALRM QUIT; kill -STOP $$", &["timed_out"], None),
    ("R27", "sh", "sleep 9 & kill -9 -1; exit 0", &["completed"], None),
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
    let timeout = if among == ["timed_out"] { 0.5 } else { 10.0 };
    let body: Value = json!({
        "script": script, "language": language, "timeout": timeout, "outputs": ["*"],
    });
    Request { name, hostile: true, body, expected: Expected::Ends { among, limit } }
}
