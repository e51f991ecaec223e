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
        it_goes_first_when_memory_is_out
}
