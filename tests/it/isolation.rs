//! What a script sees and can do: nothing of the machine, of the service or of another script.

use serde_json::json;

use crate::support::{Engine, Shared, host, service::CANARY};

/// Runs a Python script that must print nothing but what it should, and returns that.
#[track_caller]
fn python(engine: Engine, script: &str) -> String {
    let answer = Shared::get(engine).run(&json!({"script": script, "language": "python"}));
    assert_eq!((answer.exit_code(), answer.stderr()), (0, String::new()), "{}", answer.0);
    answer.text()
}

#[track_caller]
fn sh(engine: Engine, script: &str) -> String {
    let answer = Shared::get(engine).run(&json!({ "script": script }));
    assert_eq!(answer.stderr(), "", "{}", answer.0);
    answer.text()
}

fn there_is_no_network(engine: Engine) {
    let script = "
import errno, os, socket, time
print(sorted(os.listdir('/sys/class/net')) if os.path.isdir('/sys/class/net') else ['lo'])
print([l.split(':')[0].strip() for l in open('/proc/net/dev').readlines()[2:]])
print(len(open('/proc/net/route').readlines()) - 1)
began = time.monotonic()
for family, address in [(socket.AF_INET, '169.254.169.254'), (socket.AF_INET, '10.0.0.1'),
        (socket.AF_INET, '8.8.8.8'), (socket.AF_INET6, 'fd00:ec2::254')]:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            s.connect((address, 80))
        print('connected', address)
    except OSError as e:
        if e.errno not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EHOSTUNREACH):
            print(address, e)
try:
    socket.getaddrinfo('example.com', 80)
    print('resolved')
except OSError:
    pass
print('at once' if time.monotonic() - began < 1 else time.monotonic() - began)
";
    assert_eq!(python(engine, script), "['lo']\n['lo']\n0\nat once\n");
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

fn it_is_alone_in_its_namespaces(engine: Engine) {
    let script = "
import os
print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit())[0], len([p for p in os.listdir('/proc') if p.isdigit()]))
print(os.uname().nodename)
print(len(open('/proc/sysvipc/shm').readlines()), len(open('/proc/sysvipc/msg').readlines()), len(open('/proc/sysvipc/sem').readlines()))
";
    assert_eq!(python(engine, script), "1 2\noncebox\n1 1 1\n");
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

fn it_has_three_descriptors(engine: Engine) {
    let script = "
import os
held = []
for fd in range(1024):
    try:
        os.fstat(fd)
        held.append(fd)
    except OSError:
        pass
print(held)
";
    let answer = Shared::get(engine)
        .run(&json!({"script": "exec python3 -c \"$CODE\"", "env": {"CODE": script}}));
    assert_eq!(answer.text(), "[0, 1, 2]\n", "{}", answer.0);
}

/// Nothing of the service's environment, and nothing of the machine's, but the few names a program
/// needs to run at all.
fn its_environment_is_the_documented_one(engine: Engine) {
    let script = "tr '\\0' '\\n' < /proc/$$/environ | sort";
    let answer = Shared::get(engine).run(&json!({"script": script, "env": {"ASKED": "for"}}));
    let text = answer.text();
    let names: Vec<&str> =
        text.lines().map(|line| line.split('=').next().expect("a name")).collect();
    assert_eq!(names, ["ASKED", "HOME", "LANG", "PATH"], "{text}");
    assert!(!text.contains(CANARY));
}

fn the_service_s_secrets_are_nowhere(engine: Engine) {
    let (head, tail) = CANARY.split_at(6);
    let script = format!(
        "
import glob
canary = b'{head}' + b'{tail}'
found = []
for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/task/*/environ'):
    try:
        if canary in open(path, 'rb').read():
            found.append(path)
    except OSError:
        pass
print(found)
"
    );
    assert_eq!(python(engine, &script), "[]\n");
}

/// Masked paths tell nothing; read-only ones take nothing; and the
/// kernel's choice when memory runs out can't be turned away from a script altogether.
fn proc_is_masked(engine: Engine) {
    let script = "
import os
told = []
for path in ['/proc/acpi', '/proc/asound', '/proc/interrupts', '/proc/kcore', '/proc/key-users', '/proc/keys',
        '/proc/latency_stats', '/proc/sched_debug', '/proc/scsi', '/proc/timer_list', '/proc/timer_stats',
        '/sys/devices/virtual/powercap', '/sys/firmware', '/proc/kmsg', '/proc/vmallocinfo', '/proc/slabinfo']:
    try:
        found = os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(64)
        if found:
            told.append(path)
    except OSError:
        pass
print(told)
wrote = []
for path in ['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname', '/proc/sys/kernel/modprobe', '/proc/sys/vm/overcommit_memory',
        '/proc/sys/fs/binfmt_misc/register', '/proc/sysrq-trigger', '/proc/irq/default_smp_affinity', '/sys/kernel/uevent_helper',
        '/proc/self/oom_score_adj_none', '/sys/fs/cgroup/cgroup.procs', '/sys/fs/cgroup/memory/cgroup.procs']:
    try:
        os.close(os.open(path, os.O_WRONLY))
        wrote.append(path)
    except OSError:
        pass
print(wrote)
for value in (b'-1000', b'0'):
    try:
        os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), value)
    except OSError:
        pass
print(int(open('/proc/self/oom_score_adj').read()) >= 0)
";
    assert_eq!(python(engine, script), "[]\n[]\nTrue\n");
}

fn its_cgroup_shows_as_the_root(engine: Engine) {
    let cgroups = sh(engine, "cat /proc/self/cgroup");
    for line in cgroups.lines() {
        assert!(line.ends_with(":/"), "{cgroups}");
    }
}

/// The mount table names no other execution and no place of the machine.
fn its_mount_table_tells_nothing(engine: Engine) {
    let table = sh(engine, "cat /proc/self/mountinfo");
    for secret in ["/home", "/work", "target/", "docker.sock", "/root/."] {
        // The overlay's own layers are Docker's to name.
        let told = table.lines().any(|line| !line.contains(" - overlay ") && line.contains(secret));
        assert!(!told, "{secret} in\n{table}");
    }
}

fn nothing_survives_an_execution(engine: Engine) {
    let service = Shared::get(engine);
    let plant = "for d in /tmp /tmp/work /dev/shm /var/tmp /run; do echo leak > $d/leak; done 2>/dev/null; true";
    let look =
        "find /tmp /dev/shm /var/tmp /run -name leak 2>/dev/null; ls -A /dev/shm; ls -A /tmp";
    service.run(&json!({ "script": plant }));
    assert_eq!(service.run(&json!({ "script": look })).text(), "work\n");
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
    together: there_is_no_network, loopback_works, only_tmp_can_be_written,
        it_is_alone_in_its_namespaces, the_guest_can_be_neither_read_nor_killed,
        it_has_three_descriptors,
        its_environment_is_the_documented_one, the_service_s_secrets_are_nowhere, proc_is_masked,
        its_cgroup_shows_as_the_root, its_mount_table_tells_nothing, nothing_survives_an_execution
}
