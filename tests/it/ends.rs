//! Every way a script can end, and that the answer says so, in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Engine, Service, Shared, host, until};

/// Runs the requests, some at a time, and returns the answers in the same order, each with the
/// time its caller waited.
fn run_all(service: &Arc<Service>, requests: &[Value]) -> Vec<(Answer, Duration)> {
    const AT_A_TIME: usize = 4;
    let mut answers: Vec<Option<(Answer, Duration)>> = requests.iter().map(|_| None).collect();
    let share = requests.len().div_ceil(AT_A_TIME).max(1);
    std::thread::scope(|scope| {
        for (requests, answers) in requests.chunks(share).zip(answers.chunks_mut(share)) {
            scope.spawn(move || {
                for (request, answer) in requests.iter().zip(answers) {
                    let began = Instant::now();
                    *answer = Some((service.run(request), began.elapsed()));
                }
            });
        }
    });
    answers.into_iter().map(|answer| answer.expect("an answer")).collect()
}

fn every_exit_code(engine: Engine) {
    let requests: Vec<Value> =
        (0..=255).map(|code| json!({"script": format!("exit {code}")})).collect();
    for (code, (answer, _)) in run_all(&Shared::get(engine), &requests).into_iter().enumerate() {
        assert_eq!(answer.status(), "completed", "exit {code}: {}", answer.0);
        assert_eq!(answer.exit_code(), code as i64, "{}", answer.0);
        assert_eq!(answer.signal(), None, "exit {code}: {}", answer.0);
    }
}

/// The signals that end a process (signal(7)); the others stop it or do nothing.
const DEADLY: &[(u8, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (29, "SIGIO"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
    (34, "SIGRTMIN"),
    (40, "SIGRTMIN+6"),
    (64, "SIGRTMIN+30"),
];

fn every_deadly_signal(engine: Engine) {
    let requests: Vec<Value> = DEADLY
        .iter()
        .map(|(number, _)| {
            let script = format!(
                "import os, signal
os.write(1, b'on')
if {number} != 9: signal.signal({number}, signal.SIG_DFL)
os.kill(os.getpid(), {number})"
            );
            json!({"script": script, "language": "python"})
        })
        .collect();
    let answers = run_all(&Shared::get(engine), &requests);
    for ((number, name), (answer, _)) in DEADLY.iter().zip(answers) {
        assert_eq!(answer.status(), "signaled", "{name}: {}", answer.0);
        assert_eq!(answer.signal(), Some(*name), "{}", answer.0);
        assert_eq!(answer.exit_code(), 128 + i64::from(*number), "{}", answer.0);
        assert_eq!(answer.text(), "on", "{name}: {}", answer.0);
    }
}

/// A script starts with every signal as the kernel has it, nothing blocked and nothing ignored.
fn signals_start_at_their_defaults(engine: Engine) {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let answer = Shared::get(engine).run(&json!({ "script": script }));
    assert_eq!(answer.text(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

fn a_stopped_script_ends_by_its_deadline(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({"script": "kill -STOP $$", "timeout": 0.5}));
    assert_eq!(answer.status(), "timed_out", "{}", answer.0);
}

fn a_script_that_ignores_signals_ends_by_its_deadline(engine: Engine) {
    let script = "trap '' TERM HUP INT ALRM QUIT; while :; do sleep 30; done";
    let answer = Shared::get(engine).run(&json!({"script": script, "timeout": 0.5}));
    assert_eq!((answer.status(), answer.exit_code()), ("timed_out", 137), "{}", answer.0);
}

/// How much later than its deadline a caller had the answer.
fn lateness(answer: &Answer, waited: Duration, deadline: Duration) -> Duration {
    assert_eq!(answer.status(), "timed_out", "{}", answer.0);
    assert!(answer.execution_time() >= deadline, "early: {}", answer.0);
    waited.saturating_sub(answer.waited()).saturating_sub(deadline)
}

fn a_deadline_is_kept(engine: Engine) {
    let deadline = Duration::from_millis(200);
    let requests = vec![json!({"script": "sleep 30", "timeout": 0.2}); 100];
    let mut late: Vec<Duration> = run_all(&Shared::get(engine), &requests)
        .iter()
        .map(|(answer, waited)| lateness(answer, *waited, deadline))
        .collect();
    late.sort_unstable();
    // One in a hundred may be later.
    assert!(late[98] <= Duration::from_millis(500), "99 % were late by {:?} at most", late[98]);
    assert!(late[99] <= Duration::from_secs(1), "the latest was late by {:?}", late[99]);
}

fn a_deadline_is_kept_on_a_loaded_machine(engine: Engine) {
    let deadline = Duration::from_millis(500);
    let spin = "while :; do :; done & while :; do :; done";
    let requests = vec![json!({"script": spin, "timeout": 0.5, "cpu_limit": 1}); 16];
    for (answer, waited) in run_all(&Shared::get(engine), &requests) {
        let late = lateness(&answer, waited, deadline);
        assert!(late <= Duration::from_secs(1), "late by {late:?}: {}", answer.0);
    }
}

/// The verdict comes from the kernel's counters: ten of ten agree.
fn out_of_memory_in_the_script_itself(engine: Engine) {
    let script = "x = []\nwhile True: x.append(b'x' * (1 << 20))";
    let request =
        json!({"script": script, "language": "python", "memory_limit": "32m", "timeout": 20});
    for (answer, _) in run_all(&Shared::get(engine), &vec![request; 10]) {
        assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
        assert_eq!((answer.exit_code(), answer.signal()), (137, Some("SIGKILL")), "{}", answer.0);
        assert_eq!(answer.limits_hit(), ["memory"], "{}", answer.0);
        let peak = answer.0["usage"]["max_memory_bytes"].as_u64().expect("a peak");
        assert!(peak <= (32 << 20) + (32 << 20) / 20, "{}", answer.0);
    }
}

fn out_of_memory_in_a_child(engine: Engine) {
    let script = "python3 -c \"x = b'x' * (200 << 20)\"; echo parent goes on; exit 0";
    let request = json!({"script": script, "memory_limit": "32m", "timeout": 20});
    for (answer, _) in run_all(&Shared::get(engine), &vec![request; 10]) {
        assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
        assert_eq!(answer.limits_hit(), ["memory"], "{}", answer.0);
        assert_eq!(answer.0["success"], false, "{}", answer.0);
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
    for (answer, _) in run_all(&Shared::get(engine), &vec![request; 4]) {
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

/// The answer comes when the script ends; what it left running is killed.
fn a_daemon_does_not_outlive_its_script(engine: Engine) {
    let mark = format!("36{}", std::process::id());
    let script = format!("setsid sleep {mark} & (setsid sleep {mark} &); echo parent");
    let began = Instant::now();
    let answer = Shared::get(engine).run(&json!({"script": script, "timeout": 60}));
    assert!(began.elapsed() < Duration::from_secs(10), "waited for the daemon");
    assert_eq!((answer.status(), answer.text()), ("completed", "parent\n".into()), "{}", answer.0);
    until("the daemon's end", Duration::from_secs(1), || {
        host::with_argument(&mark).is_empty().then_some(())
    });
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

/// The guest takes no signal from inside, so killing everything kills the script's own at most.
fn killing_everything_is_the_script_s_own_end(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({"script": "kill -9 -1; echo alive"}));
    assert!(["completed", "signaled"].contains(&answer.status()), "{}", answer.0);
    let answer =
        Shared::get(engine).run(&json!({"script": "sleep 30 & sh -c 'kill -9 -1'; echo alive"}));
    assert_eq!((answer.status(), answer.signal()), ("signaled", Some("SIGKILL")), "{}", answer.0);
}

fn a_fork_bomb_ends_by_its_deadline(engine: Engine) {
    let bombs = [
        "b() { b | b & }; b; sleep 30",
        "while :; do sleep 30 & done; sleep 30",
        "trap '' TERM HUP INT; b() { (setsid sh -c 'trap \"\" TERM; sleep 30' &) ; }; while :; do b; done",
    ];
    let service = Shared::get(engine);
    for bomb in bombs {
        let began = Instant::now();
        let answer = service.run(&json!({"script": bomb, "timeout": 1, "pids_limit": 64}));
        assert!(began.elapsed() < Duration::from_secs(5), "{bomb}: {:?}", began.elapsed());
        assert!(answer.execution_time() <= Duration::from_secs(2), "{bomb}: {}", answer.0);
        assert!(answer.0["usage"]["max_pids"].as_u64() <= Some(64), "{bomb}: {}", answer.0);
        assert!(answer.limits_hit().contains(&"pids"), "{bomb}: {}", answer.0);
        assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
    }
}

/// Nobody waits for the answer any more: the container is gone within a second.
fn a_client_that_goes_away_ends_its_script(engine: Engine) {
    let mark = format!("37{}", std::process::id());
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
    together: every_exit_code, every_deadly_signal, signals_start_at_their_defaults,
        a_stopped_script_ends_by_its_deadline, a_script_that_ignores_signals_ends_by_its_deadline,
        out_of_memory_in_the_script_itself, out_of_memory_in_a_child,
        out_of_memory_of_a_script_that_ducks, a_kill_is_not_out_of_memory,
        closed_streams_do_not_end_a_script, output_before_a_sudden_end_is_kept,
        killing_everything_is_the_script_s_own_end;
    alone: a_deadline_is_kept, a_deadline_is_kept_on_a_loaded_machine,
        a_daemon_does_not_outlive_its_script, a_fork_bomb_ends_by_its_deadline,
        a_client_that_goes_away_ends_its_script
}
