//! Every way in which a script can end, and what it need not wait for.

use serde_json::{Value, json};

use crate::rows::ended;
use crate::stage::{Stage, TIMEOUT};
use crate::support::Engine;
use crate::support::length::rounds;

/// The largest that fits into a body of 1 MiB, where each line's end takes two bytes.
const INPUT: usize = 960 * 1024;

fn r30_input_is_nobody_s_to_wait_for(engine: Engine) {
    let stage = Stage::get(engine);
    let input = "0123456789abcde\n".repeat(INPUT / 16);
    for (script, stdin, text) in [
        ("echo unread", Some(&input), "unread\n"),
        ("exec 0<&-; echo closed", Some(&input), "closed\n"),
        ("head -c 5", Some(&input), "01234"),
        ("cat; echo end", None, "end\n"),
    ] {
        let mut request = json!({ "script": script });
        if let Some(stdin) = stdin {
            request["stdin"] = json!(stdin);
        }
        let answer = stage.attack(&request);
        assert_eq!((ended(&answer), answer.exit_code()), ("completed", 0), "{}", answer.0);
        assert_eq!((answer.text(), answer.stderr()), (text.into(), String::new()));
        let ran = answer.execution_time().as_secs_f64();
        assert!(ran < 1.0, "waited for input: {}", answer.0);
    }
}

/// What each signal does to a process that leaves it to the kernel (signal(7)).
#[rustfmt::skip]
const SIGNALS: &[(u8, &str)] = &[
    (1, "SIGHUP"), (2, "SIGINT"), (3, "SIGQUIT"), (4, "SIGILL"), (5, "SIGTRAP"), (6, "SIGABRT"),
    (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (10, "SIGUSR1"), (11, "SIGSEGV"),
    (12, "SIGUSR2"), (13, "SIGPIPE"), (14, "SIGALRM"), (15, "SIGTERM"), (16, "SIGSTKFLT"),
    (17, IGNORED), (18, IGNORED), (19, STOPS), (20, IGNORED), (21, IGNORED), (22, IGNORED),
    (23, IGNORED), (24, "SIGXCPU"), (25, "SIGXFSZ"), (26, "SIGVTALRM"), (27, "SIGPROF"),
    (28, IGNORED), (29, "SIGIO"), (30, "SIGPWR"), (31, "SIGSYS"),
    (34, "SIGRTMIN"), (40, "SIGRTMIN+6"), (64, "SIGRTMIN+30"),
];
/// SIGTSTP, SIGTTIN and SIGTTOU as well: no shell of a terminal's could wake a script that stops.
const IGNORED: &str = "ignored";
const STOPS: &str = "stops";

fn r31_every_end_is_told_as_it_was(engine: Engine) {
    let stage = Stage::get(engine);
    every_exit_code(&stage);
    every_signal(&stage);
    what_can_t_be_run(&stage);
}

fn every_exit_code(stage: &Stage) {
    // What tells them apart is PID 1, which is the same on both engines.
    let step = if stage.engine == Engine::Native { 1 } else { rounds(15, 1) };
    let codes: Vec<i64> = (0..=255).step_by(step).collect();
    let requests: Vec<Value> =
        codes.iter().map(|code| json!({"script": format!("exit {code}")})).collect();
    let answers = stage.clean_after(|service| service.run_all(&requests));
    for (code, (answer, _)) in codes.iter().zip(answers) {
        assert_eq!((ended(&answer), answer.exit_code()), ("completed", *code), "{}", answer.0);
        assert_eq!(answer.signal(), None, "{}", answer.0);
    }
}

fn every_signal(stage: &Stage) {
    let script = |number: u8| {
        format!(
            "import os, signal
os.write(1, b'on')
if {number} not in (9, 19): signal.signal({number}, signal.SIG_DFL)
os.kill(os.getpid(), {number})
os.write(1, b'off')"
        )
    };
    let requests = SIGNALS.iter().map(|(number, does)| {
        let timeout = if *does == STOPS { TIMEOUT } else { 20.0 };
        json!({"script": script(*number), "language": "python", "timeout": timeout})
    });
    let requests: Vec<Value> = requests.collect();
    let answers = stage.clean_after(|service| service.run_all(&requests));
    for ((number, does), (answer, _)) in SIGNALS.iter().zip(answers) {
        let end = (ended(&answer), answer.exit_code(), answer.signal());
        let expected = match *does {
            IGNORED => ("completed", 0, None, "onoff"),
            STOPS => ("timeout", 137, Some("SIGKILL"), "on"),
            name => ("signaled", 128 + i64::from(*number), Some(name), "on"),
        };
        let (status, code, signal, text) = expected;
        assert_eq!(end, (status, code, signal), "signal {number}: {}", answer.0);
        assert_eq!(answer.text(), text, "signal {number}: {}", answer.0);
    }
}

/// The shells' answers: 127 for what is not there, 126 for what is and can't be run.
fn what_can_t_be_run(stage: &Stage) {
    let file = |content: &str, executable: bool| json!([{"path": "data", "content": content, "executable": executable}]);
    for (what, script, files, code) in [
        ("a missing interpreter", "#!/no/such/interpreter\n", json!([]), 127),
        ("a missing program", "#!/usr/bin/env no-such-program\n", json!([]), 127),
        ("a file that may not be run", "./data", file("echo hi", false), 126),
        ("the same as an interpreter", "#!/tmp/work/data\n", file("echo hi", false), 126),
        ("a folder", "#!/tmp\n", json!([]), 126),
        ("garbage", "#!/tmp/work/data\n", file("\u{7f}ELF garbage", true), 126),
        ("garbage of a shell's", "exec ./data", file("\u{7f}ELF garbage\u{0}", true), 126),
    ] {
        let answer = stage.attack(&json!({"script": script, "files": files}));
        assert_eq!(
            (ended(&answer), answer.exit_code()),
            ("completed", code),
            "{what}: {}",
            answer.0
        );
        assert!(!answer.stderr().is_empty(), "nobody said why {what} did not run: {}", answer.0);
    }
}

on_both_engines! {
    together: r30_input_is_nobody_s_to_wait_for, r31_every_end_is_told_as_it_was
}
