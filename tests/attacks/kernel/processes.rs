//! Namespaces, and other processes (K06, K08).

use super::python;
use crate::stage::Stage;
use crate::support::Engine;

/// No namespace is made or entered; threads and subprocesses are.
fn k06_there_are_no_other_namespaces(engine: Engine) {
    let script = "
flags = {'mount': 0x20000, 'cgroup': 0x2000000, 'uts': 0x4000000, 'ipc': 0x8000000, 'user': 0x10000000, 'pid': 0x20000000, 'net': 0x40000000}
SIGCHLD = 17
print(unlike('EPERM', [('unshare ' + name, flag) for name, flag in flags.items()] + [('unshare time', 0x80), ('unshare', -1)]))
for name, flag in flags.items():
    said = call('clone', flag | SIGCHLD, 0, 0, 0, 0)
    if said == 0:
        os._exit(0)
    if said != 'EPERM':
        print('clone', name, said)
# The flags are in memory, where no filter sees them; the time namespace has only this way.
for flag in [*flags.values(), 0x80, 0]:
    said = call('clone3', (ctypes.c_uint64 * 11)(flag, 0, 0, 0, SIGCHLD), 88)
    if said == 0:
        os._exit(0)
    if said != 'ENOSYS':
        print('clone3', hex(flag), said)
names = os.listdir('/proc/self/ns')
print(len(names) >= 8, unlike('EPERM', [('setns', os.open('/proc/self/ns/' + name, os.O_RDONLY), 0) for name in names]))
print(unlike('EPERM', [('setns by pidfd', os.pidfd_open(os.getpid()), 0x20000)]))
print({opened('/proc/1/ns/' + name, os.O_RDONLY) for name in names})
";
    let stage = Stage::get(engine);
    assert_eq!(python(&stage, script), "[]\nTrue []\n[]\n{'EACCES'}\n");
    let honest = "
import multiprocessing.pool, subprocess, tempfile
with multiprocessing.pool.ThreadPool(4) as pool: print(sum(pool.map(abs, range(10))))
print(subprocess.run(['sh', '-c', 'echo child | cat'], capture_output=True, text=True).stdout.strip())
with multiprocessing.Pool(2) as pool: print(sum(pool.map(abs, range(10))))
with tempfile.NamedTemporaryFile() as f: print(f.name.startswith('/tmp'))
";
    assert_eq!(python(&stage, honest), "45\nchild\n45\nTrue\n");
}

/// No process looks into another, not even a parent into its child.
fn k08_no_process_looks_into_another(engine: Engine) {
    let script = "
import subprocess
buffer = ctypes.create_string_buffer(8)
local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
remote = (ctypes.c_uint64 * 2)(0x10000, 8)
TRACEME, PEEK, ATTACH, SEIZE = 0, 1, 16, 0x4206
with subprocess.Popen(['sleep', '5']) as sibling:
    for pid in (sibling.pid, 1):
        fd = os.pidfd_open(pid)
        print(unlike('EPERM', [
            ('ptrace', ATTACH, pid, 0, 0), ('ptrace seizing', SEIZE, pid, 0, 0), ('ptrace peeking', PEEK, pid, 0, 0),
            ('process_vm_readv', pid, local, 1, remote, 1, 0), ('process_vm_writev', pid, local, 1, remote, 1, 0),
            ('pidfd_getfd', fd, 0, 0), ('kcmp', pid, os.getpid(), 0, 0, 0), ('process_madvise', fd, 0, 0, -1, 0),
        ]))
    print(unlike('EPERM', [('ptrace traced', TRACEME, 0, 0, 0)]))
    sibling.kill()
print([name for name in ('mem', 'environ', 'maps', 'auxv', 'syscall', 'stack', 'map_files', 'fd', 'exe', 'cwd', 'root')
    if opened('/proc/1/' + name, os.O_RDONLY) == 'opened'])
print(opened('/proc/1/mem', os.O_RDWR))
";
    assert_eq!(python(&Stage::get(engine), script), "[]\n[]\n[]\n[]\nEACCES\n");
}

on_both_engines! { together: k06_there_are_no_other_namespaces, k08_no_process_looks_into_another }
