//! How a script ends, and that the answer says so, in time; the ways in which it does not want to are
//! among the attacks.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Engine, Service, Shared, host, until};

/// A script starts with every signal as the kernel has it, nothing blocked and nothing ignored.
fn signals_start_at_their_defaults(engine: Engine) {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let answer = Shared::get(engine).run(&json!({ "script": script }));
    assert_eq!(answer.text(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

/// How much later than its deadline a caller had the answer.
fn lateness(answer: &Answer, waited: Duration, deadline: Duration) -> Duration {
    assert_eq!(answer.status(), "timed_out", "{}", answer.0);
    assert!(answer.execution_time() >= deadline, "early: {}", answer.0);
    waited.saturating_sub(answer.waited()).saturating_sub(deadline)
}

fn a_deadline_is_kept_on_a_loaded_machine(engine: Engine) {
    let deadline = Duration::from_millis(500);
    let spin = "while :; do :; done & while :; do :; done";
    let requests = vec![json!({"script": spin, "timeout": 0.5, "cpu_limit": 1}); 16];
    for (answer, waited) in Shared::get(engine).run_all(&requests) {
        let late = lateness(&answer, waited, deadline);
        assert!(late <= Duration::from_secs(1), "late by {late:?}: {}", answer.0);
    }
}

/// A script that turns the kernel's choice to the guest does not turn the verdict.
fn out_of_memory_of_a_script_that_ducks(engine: Engine) {
    let script = "try: open('/proc/self/oom_score_adj', 'w').write('0')
except OSError: pass
x = []
while True: x.append(b'x' * (1 << 20))";
    let request =
        json!({"script": script, "language": "python", "memory_limit": "32m", "timeout": 20});
    for (answer, _) in Shared::get(engine).run_all(&vec![request; 4]) {
        assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
        assert_eq!(answer.limits_hit(), ["memory"], "{}", answer.0);
    }
}

/// Neither a kill by the script's own hand nor its exit code 137 is taken for want of memory.
fn a_kill_is_not_out_of_memory(engine: Engine) {
    let service = Shared::get(engine);
    let answer = service.run(&json!({"script": "kill -9 $$"}));
    assert_eq!((answer.status(), answer.signal()), ("signaled", Some("SIGKILL")), "{}", answer.0);
    let answer = service.run(&json!({"script": "exit 137"}));
    assert_eq!((answer.status(), answer.signal()), ("completed", None), "{}", answer.0);
}

fn closed_streams_do_not_end_a_script(engine: Engine) {
    let script = "echo before; exec >&- 2>&-; sleep 0.3; exit 7";
    let answer = Shared::get(engine).run(&json!({"script": script}));
    assert_eq!((answer.status(), answer.exit_code()), ("completed", 7), "{}", answer.0);
    assert_eq!(answer.text(), "before\n");
    assert!(answer.execution_time() >= Duration::from_millis(300), "{}", answer.0);
}

/// What was written just before the end is not lost, however large.
fn output_before_a_sudden_end_is_kept(engine: Engine) {
    let script = "import os, sys
os.write(1, b'x' * 60000)
os.kill(os.getpid(), 9)";
    let answer = Shared::get(engine).run(&json!({"script": script, "language": "python"}));
    assert_eq!(answer.stdout().len(), 60000, "{}", answer.0);
}

/// Nobody waits for the answer any more: the container is gone within a second.
fn a_client_that_goes_away_ends_its_script(engine: Engine) {
    let mark = host::mark("37");
    let request = json!({"script": format!("sleep {mark}"), "timeout": 60});
    let service = Service::start(engine, &[]);
    std::thread::scope(|scope| {
        let gone = scope.spawn(|| service.abandon(&request, Duration::from_secs(2)));
        host::await_argument(&mark);
        gone.join().expect("the client goes away");
    });
    until("the end of the script nobody waits for", Duration::from_secs(1), || {
        host::with_argument(&mark).is_empty().then_some(())
    });
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}

on_both_engines! {
    together: signals_start_at_their_defaults, out_of_memory_of_a_script_that_ducks,
        a_kill_is_not_out_of_memory, closed_streams_do_not_end_a_script,
        output_before_a_sudden_end_is_kept;
    alone: a_deadline_is_kept_on_a_loaded_machine, a_client_that_goes_away_ends_its_script
}
