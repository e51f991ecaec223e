//! What a script sees of processes, mounts and control groups (I02, I03).

use std::collections::BTreeSet;

use serde_json::json;

use super::beside;
use crate::stage::Stage;
use crate::support::service::CANARY;
use crate::support::{Engine, host};

/// Nothing but itself and our PID 1, by any way there is, while another script runs.
fn i02_only_its_own_processes_are_seen(engine: Engine) {
    let script = "
import os, subprocess
print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()) == [1, os.getpid()])
print(open('/proc/1/comm').read().strip())
# Processes that no folder shows.
alive = []
for pid in range(2, 40000):
    try:
        os.kill(pid, 0)
        alive.append(pid)
    except OSError:
        pass
print(alive == [os.getpid()])
opened = []
for pid in 1, os.getpid():
    for name in 'environ', 'cmdline', f'task/{pid}/environ', 'mem':
        path = f'/proc/{pid}/{name}'
        try:
            with open(path, 'rb') as file:
                told = b'' if name == 'mem' else file.read()
            opened.append((pid, name)) if pid == 1 and name != 'cmdline' else None
        except OSError:
            told = b''
        if b'4e5b-of-the-neighbour' in told or b'91c2e5' in told:
            print('a canary in', path)
print(opened)
listed = subprocess.run(['ps', '-e', '-o', 'comm='], capture_output=True, text=True)
print(listed.stdout.split())
print(os.uname().nodename, *(len(open('/proc/sysvipc/' + name).readlines()) for name in ('shm', 'msg', 'sem')))
";
    assert!(CANARY.ends_with("91c2e5"));
    let stage = Stage::get(engine);
    let told = stage.clean_after(|service| {
        beside(service, &json!({"CANARY": "4e5b-of-the-neighbour"}), |_| {
            let answer = service.run(&json!({"script": script, "language": "python"}));
            assert_eq!(answer.stderr(), "", "{}", answer.0);
            answer.text()
        })
    });
    // A program in memory is called so by the kernel.
    let guest = match engine {
        Engine::Native => "memfd:oncebox-g",
        Engine::Docker => "oncebox-guest",
    };
    assert_eq!(
        told,
        format!("True\n{guest}\nTrue\n[]\n['{guest}', 'python3', 'ps']\noncebox 1 1 1\n")
    );
}

/// Neither the mount table nor the control groups name another execution, or what is the service's.
fn i03_no_table_names_another_execution(engine: Engine) {
    let script = "for table in mountinfo mounts mountstats cgroup; do cat /proc/self/$table; done";
    let stage = Stage::get(engine);
    let (tables, cgroups, others) = stage.clean_after(|service| {
        beside(service, &json!({}), |pid| {
            let tables = service.run(&json!({ "script": script })).text();
            let cgroups = service.run(&json!({"script": "cat /proc/self/cgroup"})).text();
            (tables, cgroups, marks(pid))
        })
    });
    assert!(!others.is_empty(), "the neighbour has no marks");
    for mark in others {
        assert!(!tables.contains(&mark), "{mark} of the neighbour in\n{tables}");
    }
    assert!(
        cgroups.lines().count() > 0 && cgroups.lines().all(|line| line.ends_with(":/")),
        "{cgroups}"
    );
    let service = host::proc_link(stage.service().pid(), "cwd").expect("a running service");
    let places =
        ["docker.sock", ".redb", "/root/.", "target/", env!("CARGO_MANIFEST_DIR"), &service];
    for place in places.into_iter().chain([CANARY]) {
        // Where its layers are kept is Docker's to say.
        let told = tables.lines().find(|line| !line.contains(" overlay ") && line.contains(place));
        assert_eq!(told, None, "{place}");
    }
}

/// What tells an execution's container from others, seen from outside: the long names in the paths
/// of its control groups and of its root's upper layer.
fn marks(pid: u32) -> BTreeSet<String> {
    let cgroups = host::proc(pid, "cgroup").expect("a running script");
    let mounts = host::proc(pid, "mountinfo").expect("a running script");
    let upper = mounts.split(',').filter_map(|option| option.strip_prefix("upperdir="));
    let parts = cgroups.lines().chain(upper).flat_map(|path| path.split('/'));
    parts.filter(|part| part.len() > 25).map(ToOwned::to_owned).collect()
}

on_both_engines! {
    together: i02_only_its_own_processes_are_seen, i03_no_table_names_another_execution
}
