//! What an execution leaves for a later one: nothing (I11).

use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use crate::stage::Stage;
use crate::support::length::rounds;
use crate::support::{Engine, Service};

/// `plant` leaves canaries wherever something can be left, and a process that holds more of them;
/// `look` says which are there. The word itself is not in the script, where it would be found.
const SCRIPT: &str = r#"
import ctypes, fcntl, glob, importlib, os, resource, socket, struct, sys, time
word = 'cana' + 'ry'
places = ['/tmp', '/tmp/work', '/tmp/a/b/c/.d', '/tmp/.cache', '/var/tmp', '/run', '/dev/shm', '/dev/mqueue', '/']
libc = ctypes.CDLL(None, use_errno=True)
key, port = 0xca7a, 4111

def quietly(act):
    try:
        return act()
    except (OSError, ImportError):
        return None

def write(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as file:
        file.write(word)

def plant():
    for place in places:
        quietly(lambda: write(f'{place}/{word}'))
    # What interpreters keep of what they have read.
    sys.path.insert(0, '/tmp/work')
    write(f'/tmp/work/{word}_module.py')
    open(f'/tmp/work/{word}_module.py', 'w').write(f'told = "{word}"')
    importlib.import_module(f'{word}_module')
    for call, extra in ('shmget', (4096,)), ('semget', (1,)), ('msgget', ()):
        getattr(libc, call)(key, *extra, 0o1666)
    libc.syscall(240, word.encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
    libc.syscall(248, b'user', word.encode(), word.encode(), len(word), ctypes.c_long(-4))
    os.umask(0o077)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))
    os.sched_setaffinity(0, {0})
    ready, said = os.pipe()
    if os.fork() == 0:
        os.setsid()
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind('\0' + word)
        abstract.listen()
        server = socket.create_server(('127.0.0.1', port))
        locked = open('/etc/passwd')
        fcntl.flock(locked, fcntl.LOCK_EX)
        # It lives on, with the word among its arguments.
        os.write(said, b'x')
        for fd in abstract, server, locked:
            os.set_inheritable(fd.fileno(), True)
        for fd in 0, 1, 2:
            os.dup2(os.open('/dev/null', os.O_RDWR), fd)
        os.execvp('sh', ['sh', '-c', 'sleep 100; :', word])
    os.read(ready, 1)
    while not processes():
        time.sleep(0.001)

def processes():
    return [pid for pid in os.listdir('/proc') if pid.isdigit()
        and word in (quietly(lambda: open(f'/proc/{pid}/cmdline').read()) or '')]

def look():
    found = set()
    for place in places[:-1]:
        for folder, folders, names in os.walk(place):
            for name in folders + names:
                path = os.path.join(folder, name)
                content = quietly(lambda: open(path, 'rb').read()) if os.path.isfile(path) else b''
                if word in name or word.encode() in (content or b''):
                    found.add('pycache' if 'pycache' in path else folder)
    if glob.glob(f'/*{word}*'):
        found.add('/')
    sys.path.append('/tmp/work')
    if quietly(lambda: importlib.import_module(f'{word}_module')):
        found.add('module')
    for call, extra in ('shmget', (0,)), ('semget', (0,)), ('msgget', ()):
        if getattr(libc, call)(key, *extra, 0) != -1:
            found.add(call)
    if libc.syscall(240, word.encode(), os.O_RDONLY, 0, None) != -1:
        found.add('message queue')
    if libc.syscall(249, b'user', word.encode(), None, ctypes.c_long(0)) != -1:
        found.add('key')
    with socket.socket(socket.AF_UNIX) as s:
        if s.connect_ex('\0' + word) == 0:
            found.add('abstract socket')
    with socket.socket() as s:
        if s.connect_ex(('127.0.0.1', port)) == 0:
            found.add('port')
    if processes():
        found.add('process')
    if quietly(lambda: fcntl.flock(open('/etc/passwd'), fcntl.LOCK_EX | fcntl.LOCK_NB) or True) is None:
        found.add('lock')
    if any(word in value for value in os.environ.values()):
        found.add('environment')
    state = (os.umask(0o022), os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE), len(os.sched_getaffinity(0)))
    if state != (0o022, 0, (1024, 1024), os.sysconf('SC_NPROCESSORS_ONLN')):
        found.add('state')
    for kind in sorted(found):
        print(kind)
"#;

fn doing(what: &str) -> String {
    format!("{SCRIPT}\n{what}")
}

#[track_caller]
fn found(service: &Service, script: &str) -> BTreeSet<String> {
    let request = json!({"script": script, "language": "python", "timeout": 30});
    let answer = service.run(&request);
    let ended = (answer.status(), answer.exit_code(), answer.stderr());
    assert_eq!(ended, ("completed", 0, String::new()), "{}", answer.0);
    answer.text().lines().map(ToOwned::to_owned).collect()
}

/// With containers that wait ahead, because what is made before a script arrives could be what
/// another one has used. What is clean shows when the service ends. Forty pairs, and a thousand with
/// `ONCEBOX_TEST_LENGTH=full`.
fn i11_nothing_is_found_of_an_earlier_run(engine: Engine) {
    const PAIRS_AT_ONCE: usize = 2;
    let stage = Stage::with(engine, &[("POOL_SIZE", "4")]);
    let service = stage.service();
    // Within one execution all of it is found, or looking for it would show nothing.
    let all = found(service, &doing("plant()\nlook()"));
    let expected = [
        "/dev/shm",
        "/tmp",
        "/tmp/a/b/c/.d",
        "/tmp/work",
        "abstract socket",
        "lock",
        "module",
        "msgget",
        "port",
        "process",
        "pycache",
        "semget",
        "shmget",
        "state",
    ];
    for kind in expected {
        assert!(all.contains(kind), "{kind} is not among {all:?}");
    }
    let pairs = rounds(40, 1000);
    thread::scope(|scope| {
        for _ in 0..PAIRS_AT_ONCE {
            scope.spawn(|| {
                for _ in 0..pairs / PAIRS_AT_ONCE {
                    assert_eq!(found(service, &doing("plant()")), BTreeSet::new());
                    assert_eq!(found(service, &doing("look()")), BTreeSet::new());
                }
            });
        }
    });
}

on_both_engines! { together: i11_nothing_is_found_of_an_earlier_run }
