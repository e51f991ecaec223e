//! How scripts end.

use std::time::Duration;

use oncebox_guest::wire::{Exit, Order, Report};

use crate::harness::{Guest, Setup, Task};

#[test]
fn every_exit_code_comes_back() {
    for code in [0, 1, 2, 63, 64, 126, 127, 128, 137, 254, 255] {
        let outcome = Task::sh(&format!("exit {code}")).run();
        assert_eq!(outcome.exit(), Exit::Code(code));
        assert!(!outcome.ended().stopped);
    }
}

#[test]
fn death_by_every_deadly_signal_comes_back() {
    // The others of signal(7) are ignored or stop a process.
    let deadly = (1..=16).chain([24, 25, 26, 27, 29, 30, 31]).chain([34, 50, 64]);
    for signal in deadly {
        let outcome = Task::sh(&format!("kill -{signal} $$; exit 1")).run();
        assert_eq!(outcome.exit(), Exit::Signal(signal), "signal {signal}");
        assert!(!outcome.ended().stopped);
    }
}

#[test]
fn wall_time_is_the_scripts_own() {
    let ended = Task::sh("sleep 0.2").run().ended();
    assert!(ended.wall_ns >= 200_000_000, "{} ns", ended.wall_ns);
}

#[test]
fn a_daemon_does_not_delay_the_end() {
    let outcome = Task::sh("setsid sleep 1000 & (setsid sleep 1000 &) ; echo bye").run();
    assert_eq!(outcome.stdout(), "bye\n");
    assert_eq!(outcome.exit(), Exit::Code(0));
    assert!(Duration::from_nanos(outcome.ended().wall_ns) < Duration::from_secs(20));
}

#[test]
fn a_stopped_daemon_and_one_that_ignores_signals_die_too() {
    let script = "trap '' HUP TERM INT; sleep 1000 & sleep 1000 & kill -STOP $!; exit 6";
    assert_eq!(Task::sh(script).run().exit(), Exit::Code(6));
}

#[test]
fn orphans_are_reaped_while_the_script_runs() {
    // Every orphan becomes the guest's; the script waits until the guest has buried them all.
    let script = r#"
        for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'exit 0' &); done
        while [ "$(ls -d /proc/[0-9]* | wc -l)" -gt 5 ]; do :; done
        echo clean"#;
    assert_eq!(Task::sh(script).run().stdout(), "clean\n");
}

#[test]
fn stop_kills_all_and_says_so() {
    for pipes in [false, true] {
        let mut guest = Guest::ready(&Setup { pipes, ..Setup::default() });
        guest.deliver(&Task::sh("sleep 1000 & echo on; sleep 1000"));
        guest.wait_for_stdout("on\n");
        guest.order(&Order::Stop);
        let ended = guest.outcome().ended();
        assert_eq!(ended.exit, Exit::Signal(9));
        assert!(ended.stopped);
    }
}

#[test]
fn stop_reaches_a_guest_whose_reports_nobody_reads() {
    for pipes in [false, true] {
        let mut guest = Guest::ready(&Setup { pipes, ..Setup::default() });
        guest.deliver(&Task::sh("yes").with(|job| job.output_cap = u64::MAX));
        assert_eq!(guest.next(), Some(Report::Started));
        guest.order(&Order::Stop);
        let outcome = guest.outcome();
        assert!(outcome.ended().stopped);
        assert_eq!(outcome.ended().stdout_total, outcome.stdout.len() as u64);
    }
}

#[test]
fn the_guests_own_timer_is_a_stop() {
    let ended = Task::sh("sleep 1000").with(|job| job.timer_ms = 50).run().ended();
    assert_eq!(ended.exit, Exit::Signal(9));
    assert!(ended.stopped);
    assert!(ended.wall_ns >= 50_000_000);
}

#[test]
fn a_script_that_kills_itself_was_not_stopped() {
    let ended = Task::sh("kill -9 $$").run().ended();
    assert_eq!(ended.exit, Exit::Signal(9));
    assert!(!ended.stopped);
}

#[test]
fn a_closed_control_stream_ends_the_container() {
    for pipes in [false, true] {
        let marker = format!("100{}", if pipes { 1 } else { 2 });
        let mut guest = Guest::ready(&Setup { pipes, ..Setup::default() });
        guest.deliver(&Task::sh(&format!("setsid sleep {marker} & echo on; exec yes > /dev/null")));
        guest.wait_for_stdout("on\n");
        guest.hang_up();
        assert!(!guest.exit());
        assert_eq!(running(&["sleep", &marker]), 0);
    }
}

#[test]
fn a_guest_that_waits_ends_with_its_control_stream() {
    for pipes in [false, true] {
        let mut guest = Guest::ready(&Setup { pipes, ..Setup::default() });
        guest.hang_up();
        assert!(!guest.exit());
    }
}

/// How many processes of this machine run with exactly these arguments.
fn running(argv: &[&str]) -> usize {
    let wanted = argv.join("\0") + "\0";
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|found| found == wanted)
        })
        .count()
}
