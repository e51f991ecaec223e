//! Files that come back (F09).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{Stage, TIMEOUT};
use crate::support::length::rounds;
use crate::support::{Answer, Engine, Service};

/// Beyond T, until the answer is there.
const GRACE: f64 = 2.0;

/// Runs a script that leaves things behind, and takes back whatever there is.
#[track_caller]
fn takes(service: &Service, language: &str, script: &str) -> Answer {
    let began = Instant::now();
    let request = json!({"script": script, "language": language, "outputs": ["**"]});
    let answer = service.run(&request);
    let took = began.elapsed();
    assert!(took < Duration::from_secs_f64(TIMEOUT + GRACE), "{took:?}: {}", answer.0);
    answer
}

/// What came back under a path.
#[track_caller]
fn file<'a>(answer: &'a Answer, path: &str) -> &'a Value {
    let files = answer.0["files"].as_array().expect("files");
    let found = files.iter().find(|file| file["path"] == path);
    found.unwrap_or_else(|| panic!("no {path} in {}", answer.0))
}

fn f09_only_regular_files_come_back(engine: Engine) {
    let script = "
import os, socket
os.symlink('/etc/passwd', 'passwd')
os.symlink('/proc/self/environ', 'environ')
os.symlink('/proc/1/environ', 'guest')
os.symlink('/dev/zero', 'zero')
os.symlink('regular', 'inner')
os.symlink('nowhere', 'dangling')
os.symlink('itself', 'itself')
os.symlink('/', 'root')
os.symlink('..', 'up')
os.mkdir('loop')
os.symlink('..', 'loop/loop')
os.mkfifo('fifo')
socket.socket(socket.AF_UNIX).bind('socket')
for make in (lambda: os.mknod('device', 0o20666, os.makedev(1, 3)), lambda: os.link('/etc/passwd', 'hard')):
    try:
        make()
        print('made')
    except OSError:
        pass
deep = 'deep'
for _ in range(70):
    os.mkdir(deep)
    deep += '/d'
open('closed', 'w').close()
os.chmod('closed', 0)
open('regular', 'w').write('regular')
";
    let stage = Stage::get(engine);
    let answer = stage.clean_after(|service| takes(service, "python", script));
    assert_eq!((answer.text(), answer.stderr()), (String::new(), String::new()));
    let skipped = |path: &str, reason: &str| {
        assert_eq!(*file(&answer, path), json!({"path": path, "skipped": reason}));
    };
    for path in [
        "passwd",
        "environ",
        "guest",
        "zero",
        "inner",
        "dangling",
        "itself",
        "root",
        "up",
        "loop/loop",
        "fifo",
        "socket",
    ] {
        skipped(path, "not_regular");
    }
    skipped("closed", "unreadable");
    let regular = json!({"path": "regular", "size": 7, "content": "regular", "executable": false});
    assert_eq!(*file(&answer, "regular"), regular);
    let files = answer.0["files"].as_array().expect("files");
    let contents = files.iter().filter(|file| file.get("skipped").is_none());
    let returned: Vec<_> = contents.map(|file| file["path"].as_str().expect("a path")).collect();
    assert_eq!(returned, ["regular", "script.py"]);
    assert!(files.iter().any(|file| file["skipped"] == "too_many"), "nobody said it is too deep");
    // No pattern reaches through one of them either.
    let links = "ln -s /etc etc; ln -s .. up; ln -s / root; mkdir d; ln -s /etc d/etc; : >own";
    let request = json!({
        "script": links,
        "outputs": ["etc/passwd", "up/*", "root/etc/passwd", "d/*/passwd", "*/passwd", "own"],
    });
    let answer = stage.attack(&request);
    let own = json!([{"path": "own", "size": 0, "content": "", "executable": false}]);
    assert_eq!(answer.0["files"], own);
    for pattern in ["../*", "/etc/passwd", "a/../../x", ""] {
        let problem = stage.service().refuse(&json!({"script": "true", "outputs": [pattern]}));
        assert_eq!((problem.http(), problem.field()), (400, "outputs[0]"), "{}", problem.0);
    }
}

/// A file of any size for nothing, and one that nobody can make so large.
fn f09_a_sparse_file_is_skipped(engine: Engine) {
    let script = "
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open('sparse', 'wb') as file:
    try:
        os.truncate('sparse', 1 << 40)
        print('1 TiB')
    except OSError as e:
        print(e.strerror)
    os.truncate('sparse', 1 << 30)
with open('small', 'wb') as file:
    os.truncate('small', 1 << 20)
";
    let stage = Stage::get(engine);
    let answer = stage.clean_after(|service| takes(service, "python", script));
    assert_eq!(answer.text(), "File too large\n", "{}", answer.0);
    assert_eq!(*file(&answer, "sparse"), json!({"path": "sparse", "skipped": "too_large"}));
    let small = file(&answer, "small")["content"].as_str().expect("zeros are text");
    assert!(small.len() == 1 << 20 && small.bytes().all(|byte| byte == 0));
}

/// Whatever a script has left running changes nothing while its files are read, in a few rounds or, with
/// `ONCEBOX_TEST_LENGTH=full`, in hundreds.
fn f09_nothing_changes_while_it_is_read(engine: Engine) {
    // Each writer is a daemon that nobody waits for; it has begun when the script ends.
    let growing = "
( trap '' TERM HUP; exec setsid sh -c 'while :; do echo more >>growing; done' ) >/dev/null 2>&1 &
until [ -s growing ]; do :; done
";
    let swapping = "
import ctypes, os
open('out', 'w').write('own')
os.symlink('/etc/passwd', 'link')
os.mkdir('folder')
open('folder/passwd', 'w').write('own')
os.symlink('/etc', 'elsewhere')
libc = ctypes.CDLL(None)
said, begun = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(begun, b'x')
    while True:
        libc.renameat2(-100, b'out', -100, b'link', 2)
        libc.renameat2(-100, b'folder', -100, b'elsewhere', 2)
os.read(said, 1)
";
    let stage = Stage::get(engine);
    let (mut own, mut skipped) = (0, 0);
    stage.clean_after(|service| {
        for _ in 0..rounds(8, 300) {
            let answer = takes(service, "python", swapping);
            assert_eq!(answer.stderr(), "", "{}", answer.0);
            for file in answer.0["files"].as_array().expect("files") {
                let path = file["path"].as_str().expect("a path");
                match (file["content"].as_str(), file["skipped"].as_str()) {
                    (Some("own"), None) => own += 1,
                    (Some(_), None) => assert_eq!(path, "script.py", "{}", answer.0),
                    (None, Some("not_regular")) => skipped += 1,
                    _ => panic!("{}", answer.0),
                }
            }
        }
        for _ in 0..rounds(2, 50) {
            let answer = takes(service, "sh", growing);
            let grown = file(&answer, "growing");
            let content = grown["content"].as_str().expect("text");
            assert_eq!(grown["size"], content.len(), "{}", answer.0);
        }
    });
    assert!(own > 0 && skipped > 0, "{own} times its own, {skipped} times skipped");
}

on_both_engines! {
    together: f09_only_regular_files_come_back, f09_a_sparse_file_is_skipped,
        f09_nothing_changes_while_it_is_read
}
