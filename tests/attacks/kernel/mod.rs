//! Privileges and the kernel's surface (K). Calls are made by their numbers from Python (`calls.py`),
//! so that no library stands between a script and the filter; those that need rights bear arguments
//! that the kernel refuses, so that *allowed* shows as another error.

mod filter;
mod foreign;
mod identity;
mod images;
mod machine;
mod mounts;
mod processes;
mod sweep;

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::images::Image;
use crate::support::service::oncebox;
use crate::support::{Engine, host};

/// The numbers of system calls on this machine, by their names.
macro_rules! numbers {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

const NUMBERS: &[(&str, libc::c_long)] = numbers![
    SYS_add_key SYS_bpf SYS_capset SYS_chroot SYS_clone SYS_clone3 SYS_fsconfig SYS_fsmount
    SYS_fsopen SYS_fspick SYS_futex SYS_getpid SYS_io_uring_enter SYS_io_uring_register
    SYS_io_uring_setup SYS_ioctl SYS_kcmp SYS_keyctl SYS_mknodat SYS_mount SYS_mount_setattr
    SYS_move_mount SYS_name_to_handle_at SYS_open_by_handle_at SYS_open_tree SYS_perf_event_open
    SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pivot_root SYS_process_madvise
    SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_request_key SYS_seccomp
    SYS_setgid SYS_setgroups SYS_setns SYS_setresgid SYS_setresuid SYS_setsockopt SYS_setuid
    SYS_socket SYS_socketpair SYS_umount2 SYS_unshare SYS_userfaultfd
];

/// `calls.py` and what it reads.
fn calls() -> Value {
    let line = |(name, number): &(&str, libc::c_long)| format!("{} {number}\n", &name[4..]);
    json!([
        {"path": "calls.py", "content": include_str!("calls.py")},
        {"path": "numbers", "content": NUMBERS.iter().map(line).collect::<String>()},
    ])
}

/// What a script prints that imports `calls`. Nothing here is about time, so there is plenty.
#[track_caller]
fn python(stage: &Stage, script: &str) -> String {
    let script = format!("import sys; sys.path.insert(0, '.')\nfrom calls import *\n{script}");
    let answer = stage.attack(&json!({
        "script": script, "language": "python", "files": calls(), "timeout": 30, "cpu_limit": 1,
    }));
    let ended = (answer.status(), answer.exit_code(), answer.stderr());
    assert_eq!(ended, ("completed", 0, String::new()), "{}", answer.0);
    answer.text()
}

/// Images that an engine has until this is dropped.
struct Loaded {
    engine: Engine,
    names: Vec<String>,
}

impl Loaded {
    /// As `docker save` writes them: Docker loads them, our own store imports them.
    fn new(engine: Engine, images: &[(String, Image)]) -> Self {
        let names = images.iter().map(|(name, _)| name.clone()).collect();
        for (name, image) in images {
            let mut load = match engine {
                Engine::Native => oncebox("image", engine),
                Engine::Docker => Command::new("docker"),
            };
            load.args(match engine {
                Engine::Native => ["import", "-"].as_slice(),
                Engine::Docker => &["load"],
            });
            load.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut load = load.spawn().expect("it runs");
            let mut stdin = load.stdin.take().expect("a pipe");
            let archive = image.docker_archive(name);
            std::io::Write::write_all(&mut stdin, &archive).expect("a reader");
            drop(stdin);
            let output = load.wait_with_output().expect("a child");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {said}");
        }
        Self { engine, names }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let names = self.names.iter().map(String::as_str);
        match self.engine {
            Engine::Native => names.for_each(|name| {
                let removed = oncebox("image", self.engine).args(["rm", name]).output();
                drop(removed.expect("it runs"));
            }),
            Engine::Docker => {
                host::docker(
                    &["image", "rm", "--force"].into_iter().chain(names).collect::<Vec<_>>(),
                );
            }
        }
    }
}
