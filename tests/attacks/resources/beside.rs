//! What one execution can take from another that runs at the same time.

use serde_json::json;

use crate::rows::ended;
use crate::stage::Stage;
use crate::support::{Engine, Service, host};

/// A script that takes what it can of every quota that the kernel counts by uid, and prints how much
/// that was; `few` of each, or as many as there are.
fn takes(few: bool, mark: &str) -> String {
    let few = if few { "True" } else { "False" };
    format!(
        "
import ctypes, errno, fcntl, os, select, signal, subprocess, sys
few, libc = {few}, ctypes.CDLL(None, use_errno=True)

def count(most, take):
    for n in range(most):
        try:
            take()
        except OSError as e:
            return n, errno.errorcode[e.errno]
    return most, 'all'

def inotify():
    if libc.inotify_init1(0) < 0:
        raise OSError(ctypes.get_errno(), 'inotify')

pipes, size = [], 65536 if few else 1 << 20
def pipe():
    pipes.append(os.pipe())
    fcntl.fcntl(pipes[-1][0], fcntl.F_SETPIPE_SZ, size)
    if fcntl.fcntl(pipes[-1][0], fcntl.F_GETPIPE_SZ) != size:
        raise OSError(errno.ENOBUFS, 'a small pipe')

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
def pending():
    if libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(1)) < 0:
        raise OSError(ctypes.get_errno(), 'sigqueue')

def watch():
    epoll = select.epoll()
    for reader, writer in pipes:
        epoll.register(reader)
    watched.append(epoll)

watched = []
print('inotify', *count(16 if few else 500, inotify))
print('pipes', *count(64 if few else 200, pipe))
print('signals', *count(100 if few else 5000, pending))
print('watches', *count(1 if few else 200, watch))
sys.stdout.flush()
subprocess.run(['sleep', '{mark}'])
"
    )
}

fn run(service: &Service, script: &str) -> String {
    let answer = service.run(&json!({"script": script, "language": "python", "timeout": 20}));
    let end = (ended(&answer), answer.exit_code(), answer.stderr());
    assert_eq!(end, ("completed", 0, String::new()), "{}", answer.0);
    answer.text()
}

fn r23_two_executions_share_no_quota(engine: Engine) {
    let [holder, other] = ["4.0", "0.0"].map(host::mark);
    let (held, had) = Stage::get(engine).clean_after(|service| {
        std::thread::scope(|scope| {
            let holds = scope.spawn(|| run(service, &takes(false, &holder)));
            host::await_argument(&holder);
            let had = run(service, &takes(true, &other));
            assert!(!host::with_argument(&holder).is_empty(), "the first one has ended already");
            (holds.join().expect("an answer"), had)
        })
    });
    assert_eq!(had, "inotify 16 all\npipes 64 all\nsignals 100 all\nwatches 1 all\n");
    // The first one has reached the end of what one uid gets.
    let said: Vec<&str> =
        held.lines().map(|line| line.rsplit(' ').next().expect("a word")).collect();
    assert_eq!(said[..3], ["EMFILE", "EPERM", "EAGAIN"], "{held}");
}

fn r39_two_executions_bind_one_port(engine: Engine) {
    let marks = ["1.0", "1.0"].map(host::mark);
    let script = |mark: &str| {
        format!(
            "
import socket, subprocess
server = socket.create_server(('127.0.0.1', 4242))
subprocess.run(['sleep', '{mark}'])
client = socket.create_connection(('127.0.0.1', 4242))
server.accept()[0].sendall(b'{mark}')
print(client.recv(100).decode())
"
        )
    };
    let said = Stage::get(engine).clean_after(|service| {
        std::thread::scope(|scope| {
            let runs = marks.each_ref().map(|mark| {
                let script = script(mark);
                scope.spawn(move || run(service, &script))
            });
            // Both have bound it when both sleep.
            let sleepers = marks.each_ref().map(|mark| host::await_argument(mark));
            for sleeper in sleepers {
                assert!(host::proc(sleeper, "cmdline").is_some(), "not at the same time");
            }
            runs.map(|run| run.join().expect("an answer"))
        })
    });
    assert_eq!(said, marks.map(|mark| format!("{mark}\n")));
}

on_both_engines! {
    together: r23_two_executions_share_no_quota, r39_two_executions_bind_one_port
}
