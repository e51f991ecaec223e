//! What a script can do: nothing to the machine, the service or another script. What it could learn of
//! them is in the suite `attacks`.

use serde_json::json;

use crate::support::{Engine, Shared, host};

/// Runs a Python script that must print nothing but what it should, and returns that.
#[track_caller]
fn python(engine: Engine, script: &str) -> String {
    let answer = Shared::get(engine).run(&json!({"script": script, "language": "python"}));
    assert_eq!((answer.exit_code(), answer.stderr()), (0, String::new()), "{}", answer.0);
    answer.text()
}

/// An honest test may still talk to itself.
fn loopback_works(engine: Engine) {
    let script = "
import socket
server = socket.create_server(('127.0.0.1', 8080))
client = socket.create_connection(('127.0.0.1', 8080))
server.accept()[0].sendall(b'hi')
print(client.recv(2).decode())
";
    assert_eq!(python(engine, script), "hi\n");
}

/// Nothing but `/tmp` and the small `/dev/shm` can be written, in any directory there is.
fn only_tmp_can_be_written(engine: Engine) {
    let script = "
import os
wrote = set()
for top, folders, _ in os.walk('/'):
    folders[:] = [f for f in folders if not os.path.islink(os.path.join(top, f))
        and os.path.join(top, f) not in ('/proc/self', '/proc/thread-self') and not (top == '/proc' and f.isdigit())]
    name = os.path.join(top, '.written')
    try:
        with open(name, 'w'):
            wrote.add(top)
        os.unlink(name)
    except OSError:
        pass
print(sorted(w for w in wrote if not w.startswith('/tmp')))
print('/tmp' in wrote, '/tmp/work' in wrote)
";
    let answer = Shared::get(engine).run(&json!({
        "script": script,
        "language": "python",
        "cpu_limit": 1,
        "timeout": 120,
    }));
    assert_eq!(answer.text(), "['/dev/shm']\nTrue True\n", "{}", answer.0);
}

/// The guest holds the way to the service: nothing of it can be read, and it can't be ended.
fn the_guest_can_be_neither_read_nor_killed(engine: Engine) {
    let script = "
import ctypes, os
opened = []
for name in ['mem', 'environ', 'maps', 'fd/0', 'fd/1', 'fd/3', 'map_files', 'exe', 'root/etc/passwd', 'cwd', 'stack', 'syscall', 'auxv', 'io']:
    try:
        path = '/proc/1/' + name
        os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
        opened.append(name)
    except OSError:
        pass
try:
    opened += os.listdir('/proc/1/fd')
except OSError:
    pass
print(opened)
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), libc.ptrace(0x4206, 1, 0, 0))
buffer = ctypes.create_string_buffer(8)
class iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
local, remote = iovec(ctypes.addressof(buffer), 8), iovec(0x10000, 8)
print(libc.process_vm_readv(1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
print('alive')
";
    assert_eq!(python(engine, script), "[]\n-1 -1\n-1\nalive\n");
}

fn it_has_no_privileges(engine: Engine) {
    let script = "
import os
status = dict(l.rstrip('\\n').split(':\\t', 1) for l in open('/proc/self/status') if ':\\t' in l)
print([status[c] for c in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')])
print(status['NoNewPrivs'], status['Seccomp'], set(status['Groups'].split()) - {str(os.getgid())})
print(0 in os.getresuid() + os.getresgid())
";
    let zero = "'0000000000000000'";
    let none = [zero; 5].join(", ");
    assert_eq!(python(engine, script), format!("[{none}]\n1 2 set()\nFalse\n"));
}

fn a_setuid_program_gains_nothing(engine: Engine) {
    let script = "
import os, subprocess
subprocess.run('cp /bin/sh /tmp/s; chmod 6755 /tmp/s', shell=True, check=True)
print(subprocess.check_output(['/tmp/s', '-pc', 'id -u'], text=True).strip() == str(os.getuid()))
for become in (os.setuid, os.setgid):
    try:
        become(0)
        print('became root')
    except OSError:
        print('refused')
";
    assert_eq!(python(engine, script), "True\nrefused\nrefused\n");
}

/// The kernel's choice when memory runs out can't be turned away from a script altogether.
fn it_goes_first_when_memory_is_out(engine: Engine) {
    let script = "
import os
for value in (b'-1000', b'0'):
    try:
        os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), value)
    except OSError:
        pass
print(int(open('/proc/self/oom_score_adj').read()) >= 0)
";
    assert_eq!(python(engine, script), "True\n");
}

fn devices_are_the_harmless_ones(engine: Engine) {
    let script = "
import os, stat
nodes = []
for top, folders, files in os.walk('/dev'):
    for f in files + folders:
        path = os.path.join(top, f)
        mode = os.lstat(path).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            nodes.append(os.path.relpath(path, '/dev'))
allowed = {'null', 'zero', 'full', 'random', 'urandom', 'tty', 'ptmx', 'pts/ptmx'}
print(sorted(set(nodes) - allowed), {'null', 'zero', 'full', 'random', 'urandom'} <= set(nodes))
for how in [stat.S_IFCHR, stat.S_IFBLK]:
    try:
        os.mknod('/tmp/node', how | 0o666, os.makedev(1, 3))
        print('made a node')
    except OSError:
        pass
print(len(os.urandom(4)), open('/dev/zero', 'rb').read(2))
";
    assert_eq!(python(engine, script), "[] True\n4 b'\\x00\\x00'\n");
}

/// The calls that would change the container from inside, with arguments that do no harm.
fn dangerous_calls_are_refused(engine: Engine) {
    let script = "
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
calls = {'mount': (165, 0, 0, 0, 0, 0), 'umount2': (166, 0, 0), 'unshare user': (272, 0x10000000), 'unshare net': (272, 0x40000000),
    'setns': (308, -1, 0), 'pivot_root': (155, 0, 0), 'chroot': (161, 0), 'ptrace': (101, 0, 0, 0, 0), 'bpf': (321, 0, 0, 0),
    'perf_event_open': (298, 0, 0, 0, 0, 0), 'userfaultfd': (323, 0), 'keyctl': (250, 0, 0, 0, 0, 0), 'add_key': (248, 0, 0, 0, 0, 0),
    'io_uring_setup': (425, 0, 0), 'open_by_handle_at': (304, -1, 0, 0), 'kexec_load': (246, 0, 0, 0, 0), 'init_module': (175, 0, 0, 0),
    'reboot': (169, 0, 0, 0, 0), 'swapon': (167, 0, 0), 'settimeofday': (164, 0, 0), 'fsopen': (430, 0, 0), 'open_tree': (428, -1, 0, 0),
    'move_mount': (429, -1, 0, -1, 0, 0), 'process_vm_readv': (310, 1, 0, 0, 0, 0, 0), 'kcmp': (312, 1, 1, 0, 0, 0), 'pidfd_getfd': (438, -1, 0, 0)}
allowed = []
for name, (number, *args) in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(a) for a in args])
    if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        allowed.append((name, result, errno.errorcode.get(ctypes.get_errno())))
print(allowed if platform.machine() == 'x86_64' else [])
ctypes.set_errno(0)
libc.syscall(435, 0, 0)
print('clone3', errno.errorcode[ctypes.get_errno()])
";
    assert_eq!(python(engine, script), "[]\nclone3 ENOSYS\n");
}

/// Families, types and protocols by allow-list.
fn sockets_are_the_ordinary_ones(engine: Engine) {
    let script = "
import socket
made = set()
for family in range(51):
    for kind in (1, 2, 3, 5, 10):
        for protocol in (0, 1, 6, 17, 58, 132, 255):
            try:
                socket.socket(family, kind, protocol).close()
                made.add((family, kind))
            except OSError:
                pass
print(sorted(made))
";
    let made = python(engine, script);
    // unix, inet, inet6: stream and datagram (unix: seqpacket too); netlink: route.
    let allowed = [
        "(1, 1)", "(1, 2)", "(1, 5)", "(2, 1)", "(2, 2)", "(10, 1)", "(10, 2)", "(16, 2)",
        "(16, 3)",
    ];
    for pair in made.trim().trim_matches(['[', ']']).split("), ") {
        let pair = format!("{})", pair.trim_end_matches(')'));
        assert!(allowed.contains(&pair.as_str()) || pair == "(1, 3)", "{pair} of {made}");
    }
    assert!(
        made.contains("(1, 1)") && made.contains("(2, 1)") && made.contains("(10, 2)"),
        "{made}"
    );
}

/// Threads and subprocesses still work under the filter.
fn honest_programs_work(engine: Engine) {
    let script = "
import multiprocessing.pool, subprocess, tempfile, threading
with multiprocessing.pool.ThreadPool(4) as pool: print(sum(pool.map(abs, range(10))))
print(subprocess.run(['sh', '-c', 'echo child | cat'], capture_output=True, text=True).stdout.strip())
with multiprocessing.Pool(2) as pool: print(sum(pool.map(abs, range(10))))
with tempfile.NamedTemporaryFile() as f: print(f.name.startswith('/tmp'))
";
    assert_eq!(python(engine, script), "45\nchild\n45\nTrue\n");
}

/// Two scripts at once share no uid, so that neither can use up the other's quotas.
#[test]
fn native_executions_have_different_uids() {
    let _turn = crate::support::turn::together();
    let service = Shared::get(Engine::Native);
    let marks = [31, 32].map(|n| format!("{n}{}", std::process::id()));
    let uids: Vec<String> = std::thread::scope(|scope| {
        let runs = marks.each_ref().map(|mark| {
            let service = &service;
            scope.spawn(move || {
                service.run(&json!({"script": format!("sleep {mark}"), "timeout": 5}))
            })
        });
        let uids = marks.iter().map(|mark| host::status(host::await_argument(mark), "Uid"));
        let uids = uids.map(|uid| uid.expect("a running script")).collect();
        for run in runs {
            run.join().expect("an answer");
        }
        uids
    });
    assert_ne!(uids[0], uids[1]);
    for uid in uids.iter().flat_map(|line| line.split_whitespace()) {
        assert!(uid.parse::<u32>().expect("a uid") >= 1000, "{uids:?}");
    }
}

on_both_engines! {
    together: loopback_works, only_tmp_can_be_written, the_guest_can_be_neither_read_nor_killed,
        it_has_no_privileges, a_setuid_program_gains_nothing, it_goes_first_when_memory_is_out,
        devices_are_the_harmless_ones, dangerous_calls_are_refused, sockets_are_the_ordinary_ones,
        honest_programs_work
}
