//! Scripts that attack, for the rows they belong to and for the soak, which has them come again and
//! again among honest ones.

/// R01.
pub const FORK_BOMB: &str = "b() { b | b & }; b; sleep 30";

/// R02, in Python.
pub const DUCKING_FORK_BOMB: &str = "
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
    except OSError:
        pass
";

/// R05, in Python: tells how many it got, and why no more.
pub const THREADS: &str = "
import ctypes, errno
libc = ctypes.CDLL(None)
thread, made = ctypes.c_ulong(), 0
while made < 10000:
    failed = libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
    if failed:
        break
    made += 1
print(made, errno.errorcode.get(failed), flush=True)
";

/// R06, in Python: tells the same of children that nobody asks for. Each has ended, and is still
/// to be asked for, before their states are read.
pub const ZOMBIES: &str = "
import errno, os
children = []
try:
    while len(children) < 10000:
        child = os.fork()
        if child == 0:
            os._exit(0)
        children.append(child)
except OSError as e:
    print(len(children), errno.errorcode[e.errno], flush=True)
for child in children:
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
states = [open(f'/proc/{pid}/stat').read().rsplit(') ', 1)[1][0] for pid in os.listdir('/proc') if pid.isdigit()]
assert states.count('Z') == len(children), states
";

/// R22, in Python: tells why it got no more, and how many it had.
pub const DESCRIPTORS: &str = "
import errno, os
held = [0, 1, 2]
try:
    while len(held) < 100000:
        held.append(os.open('/dev/null', os.O_RDONLY))
except OSError as e:
    print(errno.errorcode[e.errno], len(held), max(held))
";

/// R08.
pub const MEMORY_BOMB_IN_A_CHILD: &str =
    "python3 -c \"x = b'x' * (200 << 20)\"; echo parent goes on; exit 0";

/// R11, in Python: tells why it got no more, and how many.
pub const NAMES: &str = "
import errno, os
entries = 0
try:
    while True:
        os.close(os.open(f'/tmp/{entries}', os.O_CREAT | os.O_WRONLY))
        entries += 1
except OSError as e:
    print(errno.errorcode[e.errno], entries)
";

/// R24.
pub const SPIN: &str = "for core in $(seq $(nproc)); do while :; do :; done & done; wait";

/// R26.
pub const IGNORE_SIGNALS: &str = "trap '' TERM HUP INT ALRM QUIT; while :; do sleep 30; done";

/// R27: stops all of its group.
pub const STOP_ALL: &str = "sleep 30 & kill -STOP 0";

/// R27: kills whatever it may.
pub const KILL_ALL: &str = "sleep 30 & sh -c 'kill -9 -1'; echo alive";
