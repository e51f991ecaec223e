//! What goes in and comes out.

use oncebox_guest::wire::Exit;

use crate::harness::{Setup, Task};

#[test]
fn output_is_exact_up_to_the_cap_and_counted_beyond() {
    for pipes in [false, true] {
        for cap in [0, 1, 1000, 65_536, 200_000] {
            for size in [u64::saturating_sub(cap, 1), cap, cap + 1, cap + 300_000] {
                let script = format!("head -c {size} /dev/zero; head -c {size} /dev/zero >&2");
                let outcome = Task::sh(&script)
                    .with(|job| job.output_cap = cap)
                    .run_in(&Setup { pipes, ..Setup::default() });
                assert_eq!(outcome.stdout.len() as u64, size.min(cap));
                assert_eq!(outcome.stderr.len() as u64, size.min(cap));
                assert_eq!(outcome.ended().stdout_total, size);
                assert_eq!(outcome.ended().stderr_total, size);
                assert_eq!(outcome.exit(), Exit::Code(0));
            }
        }
    }
}

#[test]
fn every_byte_comes_through_in_order() {
    let outcome = Task::sh("cat").stdin(all_bytes(1 << 20)).run();
    assert_eq!(outcome.stdout, all_bytes(1 << 20));
}

#[test]
fn the_streams_stay_apart() {
    let outcome = Task::sh("echo out; echo err >&2").run();
    assert_eq!((outcome.stdout(), outcome.stderr()), ("out\n".into(), "err\n".into()));
}

#[test]
fn what_was_written_last_is_not_lost() {
    let outcome = Task::sh("sh -c 'head -c 60000 /dev/zero; kill -9 $PPID'").run();
    assert_eq!(outcome.exit(), Exit::Signal(9));
    assert_eq!(outcome.stdout.len(), 60_000);
}

#[test]
fn stdin_that_nobody_reads_is_no_obstacle() {
    let outcome = Task::sh("exit 3").stdin(all_bytes(1 << 20)).run();
    assert_eq!(outcome.exit(), Exit::Code(3));
    let outcome = Task::sh("head -c 5; exec <&-; echo; exit 4").stdin("12345".repeat(99_999)).run();
    assert_eq!(outcome.stdout(), "12345\n");
    assert_eq!(outcome.exit(), Exit::Code(4));
}

#[test]
fn stdin_ends() {
    assert_eq!(Task::sh("cat; echo end").run().stdout(), "end\n");
    assert_eq!(Task::sh("cat; echo end").stdin("").run().stdout(), "end\n");
    assert_eq!(Task::sh("cat; echo end").stdin("x\n").run().stdout(), "x\nend\n");
}

#[test]
fn a_script_may_close_its_streams() {
    let script = "exec <&- >&- 2>&-; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; exit 7";
    let outcome = Task::sh(script).stdin(all_bytes(1 << 20)).run();
    assert_eq!(outcome.exit(), Exit::Code(7));
    assert_eq!(outcome.ended().stdout_total, 0);
}

#[test]
fn streams_can_be_opened_by_their_names() {
    let script = "echo out > /dev/stdout; echo err > /proc/self/fd/2; cat /dev/stdin";
    let outcome = Task::sh(script).stdin("in").run();
    assert_eq!((outcome.stdout(), outcome.stderr()), ("out\nin".into(), "err\n".into()));
}

fn all_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8)) as u8).collect()
}
