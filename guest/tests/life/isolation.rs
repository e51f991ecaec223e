//! What a script can do to the guest: nothing.

use oncebox_guest::wire::Exit;

use crate::harness::{Setup, Task};

#[test]
fn no_signal_reaches_the_guest() {
    let script = "for s in HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM \
                  STOP TSTP XCPU XFSZ SYS CONT SEGV BUS; do kill -$s 1; done; echo alive; exit 5";
    for pipes in [false, true] {
        let outcome = Task::sh(script).run_in(&Setup { pipes, ..Setup::default() });
        assert_eq!((outcome.stdout(), outcome.exit()), ("alive\n".into(), Exit::Code(5)));
    }
}

#[test]
fn forged_deaths_of_children_are_not_believed() {
    let script = "i=0; while [ $i -lt 3000 ]; do kill -CHLD 1; i=$((i+1)); done; echo on; exit 3";
    let outcome = Task::sh(script).run();
    assert_eq!((outcome.stdout(), outcome.exit()), ("on\n".into(), Exit::Code(3)));
}

#[test]
fn killing_everybody_leaves_the_guest() {
    let outcome = Task::sh("sleep 1000 & kill -9 -1; wait; echo alive; exit 5").run();
    assert_eq!(outcome.stdout(), "alive\n");
    assert_eq!(outcome.exit(), Exit::Code(5));
}

#[test]
fn the_guests_memory_and_descriptors_are_out_of_reach() {
    let script = r#"
        for f in mem maps environ auxv stack; do
            cat /proc/1/$f > /dev/null 2>&1 && echo "read $f"
        done
        ls /proc/1/fd > /dev/null 2>&1 && echo "listed fd"
        for f in 0 1 2 3 4 5 6 7 8 9; do
            { cat /proc/1/fd/$f > /dev/null; } 2> /dev/null && echo "read fd $f"
            { echo x > /proc/1/fd/$f; } 2> /dev/null && echo "wrote fd $f"
        done
        ls /proc/1/cwd/ > /dev/null 2>&1 && echo "saw cwd"
        echo 0 2> /dev/null > /proc/1/oom_score_adj && echo "wrote oom_score_adj"
        echo done"#;
    let outcome = Task::sh(script).stdin("the guest holds this").run();
    assert_eq!(outcome.stdout(), "done\n");
}

#[test]
fn frames_on_stdout_are_only_output() {
    let done = b"\x4b\0\0\0\0".repeat(10);
    let outcome = Task::sh("cat; cat >&2 script").stdin(done.clone()).run();
    assert_eq!(outcome.stdout, done);
    assert_eq!(outcome.exit(), Exit::Code(0));
}

#[test]
fn a_fork_bomb_ends_with_the_script() {
    let script = "bomb() { sleep 1000 & bomb & bomb & wait; }; bomb & exec sleep 0.2";
    let setup = Setup { before: "prlimit --pid $$ --nproc=200", ..Setup::default() };
    assert_eq!(Task::sh(script).run_in(&setup).exit(), Exit::Code(0));
}
