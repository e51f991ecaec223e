//! Processes, threads and descriptors without end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::group::Group;
use crate::neighbour::beside;
use crate::rows::{ended, most_pids};
use crate::scripts;
use crate::stage::{Stage, TIMEOUT};
use crate::support::{Answer, Engine, Service, host, until};

/// The operator's `PIDS_LIMIT`, our PID 1 included.
const PROCESSES: u64 = 64;

#[track_caller]
fn assert_capped(most: u64, answer: &Answer) {
    assert!((PROCESSES / 2..=PROCESSES).contains(&most), "{most} at once; {}", answer.0);
}

/// Plays a bomb, and looks from outside how many processes there were at once.
fn explode(service: &Service, bomb: &Value, mark: &str) -> (Answer, u64) {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| service.run(bomb));
        let most = Group::of(mark, "pids").last("pids.peak");
        let answer = run.join().expect("an answer");
        assert!(answer.limits_hit().contains(&"pids"), "{}", answer.0);
        (answer, most)
    })
}

fn r01_a_fork_bomb_is_held_by_the_cap(engine: Engine) {
    let mark = format!("r01-{}-{engine}", std::process::id());
    let bomb = json!({"script": scripts::FORK_BOMB, "args": [mark]});
    let (answer, most) = Stage::get(engine)
        .clean_after(|service| beside(service, || explode(service, &bomb, &mark)));
    let over =
        ended(&answer) == "timeout" || (ended(&answer) == "completed" && answer.exit_code() != 0);
    assert!(over, "{}", answer.0);
    assert_capped(most, &answer);
}

fn r02_a_fork_bomb_that_ducks_ends_by_its_deadline(engine: Engine) {
    let mark = format!("r02-{}-{engine}", std::process::id());
    let bomb = json!({"script": scripts::DUCKING_FORK_BOMB, "language": "python", "args": [mark]});
    let (answer, most) = Stage::get(engine).clean_after(|service| explode(service, &bomb, &mark));
    assert_eq!(ended(&answer), "timeout", "{}", answer.0);
    let ran = answer.execution_time().as_secs_f64();
    assert!((TIMEOUT..=TIMEOUT + 1.0).contains(&ran), "{}", answer.0);
    assert_capped(most, &answer);
}

/// The answer comes when the script ends, with what a daemon has printed until then.
fn r03_a_daemon_does_not_outlive_its_script(engine: Engine) {
    let mark = host::mark("36");
    let script = format!(
        "mkfifo up
        setsid sh -c 'echo daemon; echo >up; exec sleep {mark}' & (setsid sleep {mark} &)
        read _ <up; echo parent"
    );
    let stage = Stage::get(engine);
    let (answer, late) = stage.clean_after(|service| {
        let began = Instant::now();
        let answer = service.run(&json!({"script": script, "timeout": 60}));
        let late = began.elapsed() - answer.waited() - answer.execution_time();
        until("the daemons' end", Duration::from_secs(1), || {
            host::with_argument(&mark).is_empty().then_some(())
        });
        (answer, late)
    });
    assert_eq!((ended(&answer), answer.exit_code()), ("completed", 0), "{}", answer.0);
    assert_eq!(answer.text(), "daemon\nparent\n");
    assert!(late <= Duration::from_secs(1), "{late:?} after the script's end");
}

fn r05_a_thread_too_many_is_refused(engine: Engine) {
    let answer =
        Stage::get(engine).attack(&json!({"script": scripts::THREADS, "language": "python"}));
    assert_eq!((ended(&answer), answer.exit_code()), ("completed", 0), "{}", answer.0);
    assert_refused_at_the_cap(&answer);
}

/// Each child ends at once, and stays on the list of processes because nobody asks for its end.
fn r06_zombies_go_with_their_container(engine: Engine) {
    let answer =
        Stage::get(engine).attack(&json!({"script": scripts::ZOMBIES, "language": "python"}));
    assert_eq!((ended(&answer), answer.exit_code()), ("completed", 0), "{}", answer.0);
    assert_refused_at_the_cap(&answer);
}

/// The script has told how many tasks it got, and why no more.
#[track_caller]
fn assert_refused_at_the_cap(answer: &Answer) {
    let text = answer.text();
    let (made, errno) = text.trim().split_once(' ').expect("the one that failed");
    assert_eq!(errno, "EAGAIN", "{}", answer.0);
    // Our PID 1 and the script itself are of the 64, and PID 1 has a few threads.
    let made: u64 = made.parse().expect("a count");
    assert!((PROCESSES - 8..PROCESSES - 1).contains(&made), "{}", answer.0);
    assert_capped(most_pids(answer), answer);
    assert_eq!(answer.limits_hit(), ["pids"], "{}", answer.0);
}

fn r22_descriptors_run_out(engine: Engine) {
    assert_eq!(Stage::get(engine).python(scripts::DESCRIPTORS), "EMFILE 1024 1023\n");
}

on_both_engines! {
    together: r01_a_fork_bomb_is_held_by_the_cap, r02_a_fork_bomb_that_ducks_ends_by_its_deadline,
        r03_a_daemon_does_not_outlive_its_script, r05_a_thread_too_many_is_refused,
        r06_zombies_go_with_their_container, r22_descriptors_run_out
}
