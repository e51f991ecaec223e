//! What a script sees and can do: nothing of the machine, of the service or of another script.

use serde_json::json;

use crate::support::{Engine, Shared, service::CANARY};

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

fn nothing_survives_an_execution(engine: Engine) {
    let service = Shared::get(engine);
    let plant = "for d in /tmp /tmp/work /dev/shm /var/tmp /run; do echo leak > $d/leak; done 2>/dev/null; true";
    let look =
        "find /tmp /dev/shm /var/tmp /run -name leak 2>/dev/null; ls -A /dev/shm; ls -A /tmp";
    service.run(&json!({ "script": plant }));
    assert_eq!(service.run(&json!({ "script": look })).text(), "work\n");
}

on_both_engines! {
    together: there_is_no_network, loopback_works,
        it_is_alone_in_its_namespaces, the_guest_can_be_neither_read_nor_killed,
        it_has_no_privileges, a_setuid_program_gains_nothing, it_has_three_descriptors,
        its_environment_is_the_documented_one, the_service_s_secrets_are_nowhere, proc_is_masked,
        its_cgroup_shows_as_the_root, its_mount_table_tells_nothing, devices_are_the_harmless_ones,
        dangerous_calls_are_refused, sockets_are_the_ordinary_ones, honest_programs_work,
        nothing_survives_an_execution
}
