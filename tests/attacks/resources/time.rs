//! Time without end.

use std::time::Duration;

use serde_json::{Value, json};

use super::group::Group;
use crate::neighbour::{HEALTH, health};
use crate::rows::ended;
use crate::scripts;
use crate::stage::{LIMITS, Stage, TIMEOUT};
use crate::support::length::rounds;
use crate::support::meanwhile::meanwhile;
use crate::support::wait::percentile;
use crate::support::{Answer, Engine};

/// How much later than its deadline a caller may have the answer, 99 times of 100.
const LATE: Duration = Duration::from_millis(500);
/// And once of 100.
const LATEST: Duration = Duration::from_secs(1);

/// The slots there are, each with a script that spins on every core.
fn r24_spinning_in_every_slot_leaves_the_service_its_time(engine: Engine) {
    const SHARE: f64 = 0.5;
    let slots = LIMITS.iter().find(|(name, _)| *name == "MAX_CONCURRENT").expect("a setting").1;
    let marks = (0..slots.parse().expect("a number")).map(|n: u32| format!("r24-{n}-{engine}"));
    let marks: Vec<String> = marks.collect();
    let requests: Vec<Value> =
        marks.iter().map(|mark| json!({"script": scripts::SPIN, "args": [mark]})).collect();
    let (answers, used, asked) = Stage::get(engine).clean_after(|service| {
        std::thread::scope(|scope| {
            let used = marks
                .iter()
                .map(|mark| scope.spawn(|| Group::of(mark, "cpuacct").last("cpuacct.usage")));
            let used: Vec<_> = used.collect();
            let (answers, asked) = meanwhile(|| health(service), || service.run_all(&requests));
            let used = used.into_iter().map(|used| used.join().expect("a count"));
            (answers, used.collect::<Vec<_>>(), asked)
        })
    });
    for ((answer, _), used) in answers.iter().zip(used) {
        assert_eq!(ended(answer), "timeout", "{}", answer.0);
        let (used, wall) = (used as f64 / 1e9, answer.execution_time().as_secs_f64());
        assert!(used <= SHARE * wall * 1.2, "{used} s of {wall} s: {}", answer.0);
        assert!(used > 0.0, "not counted: {}", answer.0);
    }
    let most = percentile(&asked, 99);
    assert!(most <= HEALTH, "/health took {most:?}, asked {} times", asked.len());
}

/// Every one of these ends by its deadline, and nearly every one at once.
#[track_caller]
fn assert_ended_by(deadline: f64, answers: &[(Answer, Duration)]) {
    let late = answers.iter().map(|(answer, waited)| {
        assert_eq!(ended(answer), "timeout", "{}", answer.0);
        assert!(answer.execution_time().as_secs_f64() >= deadline, "early: {}", answer.0);
        let ran = waited.saturating_sub(answer.waited()).max(answer.execution_time());
        ran.saturating_sub(Duration::from_secs_f64(deadline))
    });
    let late: Vec<_> = late.collect();
    let all_but_one = percentile(&late, 99);
    assert!(all_but_one <= LATE, "99 % were late by {all_but_one:?} at most");
    let latest = percentile(&late, 100);
    assert!(latest <= LATEST, "the latest was late by {latest:?}");
}

fn r25_sleep_ends_at_the_deadline(engine: Engine) {
    let deadline = if rounds(0, 1) == 1 { TIMEOUT } else { 0.5 };
    let requests = vec![json!({"script": "sleep 30", "timeout": deadline}); rounds(40, 200)];
    let answers = Stage::get(engine).clean_after(|service| service.run_all(&requests));
    assert_ended_by(deadline, &answers);
}

fn r26_ignored_signals_do_not_put_the_deadline_off(engine: Engine) {
    let handlers = "trap 'echo no' TERM HUP INT ALRM QUIT; while :; do sleep 30; done";
    let requests = [scripts::IGNORE_SIGNALS, handlers].map(|script| json!({ "script": script }));
    let answers = Stage::get(engine).clean_after(|service| service.run_all(&requests));
    assert_ended_by(TIMEOUT, &answers);
    for (answer, _) in answers {
        assert_eq!((answer.exit_code(), answer.text()), (137, String::new()), "{}", answer.0);
    }
}

fn r27_a_stop_ends_at_the_deadline_and_a_kill_at_once(engine: Engine) {
    let stage = Stage::get(engine);
    let stops = ["kill -STOP $$", scripts::STOP_ALL, "kill -STOP -1; kill -STOP $$"];
    let stops: Vec<Value> = stops.iter().map(|script| json!({ "script": script })).collect();
    assert_ended_by(TIMEOUT, &stage.clean_after(|service| service.run_all(&stops)));

    // What is left of the script decides: a shell that spares itself goes on.
    let answer = stage.attack(&json!({"script": "kill -9 -1; echo alive"}));
    assert!(["completed", "signaled"].contains(&ended(&answer)), "{}", answer.0);
    let answer = stage.attack(&json!({"script": scripts::KILL_ALL}));
    assert_eq!((ended(&answer), answer.signal()), ("signaled", Some("SIGKILL")), "{}", answer.0);
}

on_both_engines! {
    together: r24_spinning_in_every_slot_leaves_the_service_its_time,
        r25_sleep_ends_at_the_deadline, r26_ignored_signals_do_not_put_the_deadline_off,
        r27_a_stop_ends_at_the_deadline_and_a_kill_at_once
}
