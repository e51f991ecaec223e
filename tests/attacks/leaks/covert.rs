//! Channels between two executions that run at the same time (I12).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::{Answer, Engine, Service, host};

/// `send` says one bit on every channel, for as long as it runs; `receive` tries each of them.
/// Channels: kernel keys, System V shared memory, semaphores and messages, POSIX message queues, an
/// abstract and a vsock socket, loopback, locks and watches of a file of the image, `/dev/shm`, and
/// names and numbers of processes.
const SCRIPT: &str = r#"
import ctypes, fcntl, os, select, socket, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
key, port, word = 0xc0de, 4112, b'covert'
image_file, range_file = '/etc/passwd', '/etc/group'
program = sys.executable

def open_channels():
    held = []
    libc.syscall(248, b'user', word, b'1', 1, ctypes.c_long(-4))
    libc.shmget(key, 4096, 0o1666)
    libc.semget(key, 1, 0o1666)
    queue = libc.msgget(key, 0o1666)
    libc.msgsnd(queue, struct.pack('l', 1) + b'1', 1, 0o4000)
    libc.syscall(240, word, os.O_CREAT | os.O_RDWR, 0o666, None)
    for make in (lambda: socket.socket(socket.AF_UNIX), lambda: socket.socket()):
        s = make()
        s.bind('\0covert' if s.family == socket.AF_UNIX else ('127.0.0.1', port))
        s.listen(100)
        held.append(s)
    for path in image_file, program:
        file = open(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        held.append(file)
    # Of another file: this lock ends when its process closes the file anywhere (fcntl(2)).
    reader = open(range_file, 'rb')
    fcntl.lockf(reader, fcntl.LOCK_SH)
    held.append(reader)
    open('/dev/shm/covert', 'w').write('1')
    return held

def send(mark='100'):
    held = open_channels()
    # Ends with this script, and shows outside that it still runs.
    subprocess.Popen(['sleep', mark])
    print('sending', flush=True)
    while True:
        for path in image_file, program:
            open(path, 'rb').read(1)
            os.stat(path)
        time.sleep(0.001)

def watched():
    watch = libc.inotify_init1(os.O_NONBLOCK)
    # Opened, read, closed, changed, moved.
    for path in image_file, program:
        libc.inotify_add_watch(watch, path.encode(), 0xfff)
    return bool(select.select([watch], [], [], 0.5)[0])

def locked(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except OSError:
            return True

def range_locked():
    with open(range_file, 'rb') as file:
        # Who would be in the way of a lock for writing (fcntl(2), F_GETLK).
        asked = struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)
        return struct.unpack('hhqqi4x', fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK

def connects(family, address):
    try:
        with socket.socket(family) as s:
            s.connect(address)
            return True
    except OSError:
        return False

def receive():
    # Before anything here opens these files.
    heard = {'inotify'} if watched() else set()
    message = ctypes.create_string_buffer(64)
    for name, bit in {
        'key': libc.syscall(249, b'user', word, None, ctypes.c_long(0)) != -1,
        'shm': libc.shmget(key, 0, 0) != -1,
        'sem': libc.semget(key, 0, 0) != -1,
        'msg': libc.msgrcv(libc.msgget(key, 0), message, 32, 0, 0o4000) != -1,
        'mq': libc.syscall(240, word, os.O_RDONLY, 0, None) != -1,
        'abstract': connects(socket.AF_UNIX, '\0covert'),
        'loopback': connects(socket.AF_INET, ('127.0.0.1', port)),
        'flock': locked(image_file) or locked(program),
        'range': range_locked(),
        '/dev/shm': os.path.exists('/dev/shm/covert'),
        'signal': any(alive(pid) for pid in range(2, 2000) if pid not in (os.getpid(), os.getppid())),
    }.items():
        if bit:
            heard.add(name)
    try:
        # It is made and never used: what it could reach is the machine itself.
        socket.socket(40, socket.SOCK_STREAM).close()
        heard.add('vsock')
    except OSError:
        pass
    for name in sorted(heard):
        print(name)

def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False
"#;

fn request(what: &str) -> Value {
    json!({"script": format!("{SCRIPT}\n{what}"), "language": "python", "timeout": 30})
}

#[track_caller]
fn heard(answer: &Answer) -> BTreeSet<String> {
    let ended = (answer.status(), answer.exit_code(), answer.stderr());
    assert_eq!(ended, ("completed", 0, String::new()), "{}", answer.0);
    answer.text().lines().map(ToOwned::to_owned).collect()
}

/// What a second script hears while the first one says a bit on every channel.
fn beside_a_sender(service: &Service) -> BTreeSet<String> {
    let mark = host::mark("42");
    let mut sender = service.follow(&request(&format!("send('{mark}')")));
    let began = sender.any(|event| event.data["content"] == "sending\n");
    assert!(began, "the sender never began");
    let bits = heard(&service.run(&request("receive()")));
    assert!(!host::with_argument(&mark).is_empty(), "the sender has ended too early");
    // Its client goes away, and with it the script.
    drop(sender);
    bits
}

fn i12_no_bit_passes_between_two_runs(engine: Engine) {
    let stage = Stage::get(engine);
    // In one container every channel is heard that a script has at all.
    let control = "
if os.fork() == 0:
    send()
while not os.path.exists('/dev/shm/covert') or not os.path.getsize('/dev/shm/covert'):
    time.sleep(0.001)
receive()
";
    let alone = heard(&stage.attack(&request(control)));
    let alone: BTreeSet<String> = alone.into_iter().filter(|line| line != "sending").collect();
    let expected = [
        "/dev/shm", "abstract", "flock", "inotify", "loopback", "msg", "range", "sem", "shm",
        "signal",
    ];
    assert_eq!(alone, expected.map(ToOwned::to_owned).into());
    assert_eq!(stage.clean_after(beside_a_sender), BTreeSet::new());
}

on_both_engines! { together: i12_no_bit_passes_between_two_runs }
