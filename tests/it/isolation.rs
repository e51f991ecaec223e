//! What a script can do: nothing to the machine, the service or another script. What it could learn of
//! them is in the suite `attacks`.

use serde_json::json;

use crate::support::{Engine, Shared};

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

on_both_engines! {
    together: loopback_works, the_guest_can_be_neither_read_nor_killed,
        it_goes_first_when_memory_is_out
}
