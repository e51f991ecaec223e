//! What the service itself may do: as little as it is told to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::service::oncebox;
use crate::support::{Engine, Service, host, turn};

/// A user that every Debian has, and that owns nothing.
const NOBODY: &str = "65534";

/// The program where anybody can reach it, whatever folder the suite was built in.
fn program_for_anybody() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
    let program = folder.path().join("oncebox");
    fs::copy(env!("CARGO_BIN_EXE_oncebox"), &program).expect("the program");
    (folder, program)
}

/// The native engine as an ordinary user, without a control group of its own.
fn as_nobody(program: &PathBuf) -> Command {
    nobody_s(program, &oncebox("serve", Engine::Native))
}

fn nobody_s(program: &PathBuf, plain: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
    command.arg(program).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Limits that can't be enforced are no limits: the start is refused, and the way out is named.
#[test]
fn native_without_limits_is_refused() {
    let _turn = turn::alone();
    let (_folder, program) = program_for_anybody();
    let mut command = as_nobody(&program);
    command.env("PORT", "0").env("EXECUTION_STORE", "");
    let output = command.current_dir("/").stdin(Stdio::null()).output();
    let output = output.expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for told in ["can't be enforced", "root", "Delegate=yes", "ACCEPT_UNENFORCED"] {
        assert!(said.contains(told), "nothing about {told}: {said}");
    }
}

/// An ordinary user who accepts that gets everything else.
#[test]
fn native_runs_as_an_ordinary_user() {
    let _turn = turn::alone();
    let (_folder, program) = program_for_anybody();
    // There is no home for a file of executions.
    let accepted = [("ACCEPT_UNENFORCED", "memory,cpu,pids"), ("EXECUTION_STORE", "")];
    let service = Service::start_program(as_nobody(&program), &accepted);
    assert_eq!(ids(service.pid(), "Uid"), NOBODY);
    let log = service.log();
    assert!(log.contains("executions are lost when the service stops"), "{log}");
    assert!(service.log().contains("limits do NOT hold"), "{}", service.log());
    let script =
        "id -u; uname -n; ls /sys/class/net 2>/dev/null; touch /usr/x 2>/dev/null || echo ro
grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status";
    let answer = service.run(&json!({ "script": script }));
    assert_eq!(
        answer.text(),
        "1000\noncebox\nro\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
         NoNewPrivs:\t1\nSeccomp:\t2\n",
        "{}",
        answer.0
    );
}

/// Started as root, the process that speaks to strangers is not root any more.
#[test]
fn native_http_gives_up_its_privileges() {
    let _turn = turn::together();
    let service = Service::start(Engine::Native, &[("USER_NAME", "nobody")]);
    assert_eq!(ids(service.pid(), "Uid"), NOBODY);
    assert_eq!(ids(service.pid(), "Gid"), NOBODY);
    assert_eq!(host::status(service.pid(), "Groups").as_deref(), Some(""));
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(host::status(service.pid(), set).as_deref(), Some("0000000000000000"), "{set}");
    }
    assert_eq!(host::status(service.pid(), "NoNewPrivs").as_deref(), Some("1"));
    let answer = service.run(&json!({"script": "echo still works", "memory_limit": "64m"}));
    assert_eq!(answer.text(), "still works\n");
}

/// Images are pulled and run by a process that may do nothing beyond that, whether it gave up what
/// it could do or never could do more.
#[test]
fn native_pulls_images_without_privileges() {
    let _turn = turn::together();
    let registry = Registry::start();
    Image::marked("unprivileged").push(&registry, "x", "1");
    let address = registry.address();
    let (_folder, program) = program_for_anybody();
    let dropped = oncebox("serve", Engine::Native);
    for (command, more) in [
        (dropped, ("USER_NAME", "nobody")),
        (as_nobody(&program), ("ACCEPT_UNENFORCED", "memory,cpu,pids")),
    ] {
        let store = tempfile::Builder::new().prefix("oncebox-it-store-").tempdir();
        let store = store.expect("a folder");
        let nobody = Some(NOBODY.parse().expect("a uid"));
        std::os::unix::fs::chown(store.path(), nobody, nobody).expect("root may");
        let path = store.path().to_str().expect("text");
        let executions = store.path().join("executions.redb");
        let settings = [
            ("INSECURE_REGISTRIES", address.as_str()),
            ("IMAGE_STORE", path),
            ("EXECUTION_STORE", executions.to_str().expect("text")),
            more,
        ];
        let service = Service::start_program(command, &settings);
        assert_eq!(ids(service.pid(), "Uid"), NOBODY);
        let request = json!({"image": registry.name("x:1"), "script": "cat /mark; id -u"});
        let printed = service.run(&request).text();
        assert_eq!(printed, "unprivileged1000\n", "{more:?}");
        drop(service);
    }
}

/// One script from the command line needs no more than a service does, and root becomes whom the
/// images belong to as soon as one of them is needed.
#[test]
fn native_runs_one_script_without_privileges() {
    let _turn = turn::together();
    let (_folder, program) = program_for_anybody();
    let store = tempfile::Builder::new().prefix("oncebox-it-store-").tempdir().expect("a folder");
    let nobody = Some(NOBODY.parse().expect("a uid"));
    std::os::unix::fs::chown(store.path(), nobody, nobody).expect("root may");
    let back = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    let folder = back.path().to_str().expect("text");
    let output = ["-", "--output", "a", "--output-dir", folder];

    let mut plain = oncebox("run", Engine::Native);
    plain.args(["--accept-unenforced", "memory,cpu,pids"]).args(output);
    let mut command = nobody_s(&program, &plain);
    let refused = fed(command.current_dir("/"), "echo ran; echo file >a");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains(&format!("can't be written by user {NOBODY}")), "{said}");
    std::os::unix::fs::chown(back.path(), nobody, nobody).expect("root may");
    let ran = fed(command.current_dir("/"), "id -u; echo file >a");
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(0), &b"1000\n"[..]), "{ran:?}");
    assert_eq!(fs::read(back.path().join("a")).expect("a file"), b"file\n");

    let registry = Registry::start();
    Image::marked("once").push(&registry, "x", "1");
    let mut command = oncebox("run", Engine::Native);
    command.args(output).args(["--image", &registry.name("x:1")]);
    command.env("INSECURE_REGISTRIES", registry.address()).env("IMAGE_STORE", store.path());
    let ran = fed(&mut command, "cat /mark; cat /mark >a");
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(0), &b"once"[..]), "{ran:?}");
    let owner = |path: PathBuf| fs::metadata(path).expect("a file").uid().to_string();
    for entry in fs::read_dir(store.path()).expect("a folder") {
        assert_eq!(owner(entry.expect("an entry").path()), NOBODY);
    }
}

/// Runs a command with this script.
fn fed(command: &mut Command, script: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    // It may be refused before it is read.
    let _ = child.stdin.take().expect("a pipe").write_all(script.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// The one id that is real, effective, saved and the file system's.
fn ids(pid: u32, kind: &str) -> String {
    let ids = host::status(pid, kind).expect("a running process");
    let first = ids.split_whitespace().next().expect("an id").to_owned();
    assert!(ids.split_whitespace().all(|id| id == first), "{kind}: {ids}");
    first
}
