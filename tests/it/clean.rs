//! Nothing is left behind, whatever ends: a script, a client, the spawner or the service itself.
//!
//! Every service of the suite is held to that when it stops (`support::residue`); here it is killed
//! at the worst moment.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::processes::spawner_of;
use crate::support::{Engine, Reply, Service, host, until};

/// For leftovers of a dead instance to go, from the next start on.
const SWEEP: Duration = Duration::from_secs(5);

/// A script that can be seen from outside, and runs until it is ended.
fn endless(mark: &str) -> Value {
    json!({"script": format!("sleep {mark} & sleep {mark}"), "timeout": 250})
}

/// All that can run or hold something is gone at once; a container that has ended may stay on
/// Docker's list until the next start.
fn a_killed_service_leaves_nothing(engine: Engine) {
    let marks = ["41", "42", "43"].map(host::mark);
    let service = Service::start(engine, &[]);
    let residue = std::thread::scope(|scope| {
        for mark in &marks {
            let request = endless(mark);
            let post = service.poster();
            // The answer is lost with the service.
            scope.spawn(move || drop(post(&request)));
        }
        for mark in &marks {
            host::await_argument(mark);
        }
        // What is looked for can be found.
        let held = service.holds();
        for kind in ["process ", "cgroup "] {
            assert!(held.iter().any(|thing| thing.starts_with(kind)), "no {kind}in {held:#?}");
        }
        let containers = held.iter().filter(|thing| thing.starts_with("container ")).count();
        assert_eq!(containers >= marks.len(), engine == Engine::Docker, "{held:#?}");
        service.kill()
    });
    residue.ended();

    let records = residue.marked();
    let next = Service::start(engine, &[]);
    until("the sweep of a dead instance's leftovers", SWEEP, || {
        residue.marked().is_disjoint(&records).then_some(())
    });
    assert_eq!(next.run(&json!({"script": "echo next"})).text(), "next\n");
    drop(next);
    residue.gone();
}

/// A start sweeps what the dead left, and nothing of the living.
fn a_start_spares_a_living_instance(engine: Engine) {
    let [of_living, of_dead] = ["44", "45"].map(host::mark);
    let living = Service::start(engine, &[]);
    let dead = Service::start(engine, &[]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            living.execute(&json!({"script": format!("sleep {of_living}; :"), "timeout": 8}))
        });
        let lost = dead.poster();
        let request = endless(&of_dead);
        scope.spawn(move || drop(lost(&request)));
        host::await_argument(&of_living);
        host::await_argument(&of_dead);
        let residue = dead.kill();
        let third = Service::start(engine, &[]);
        assert_eq!(third.run(&json!({"script": "echo third"})).text(), "third\n");
        until("the end of the dead instance's script", SWEEP, || {
            host::with_argument(&of_dead).is_empty().then_some(())
        });
        assert!(
            !host::with_argument(&of_living).is_empty(),
            "a living instance's script was ended"
        );
        let answer = run.join().expect("an answer").ran();
        assert_eq!(answer.status(), "timed_out", "{}", answer.0);
        drop(third);
        residue.gone();
    });
    assert_eq!(living.run(&json!({"script": "echo living"})).text(), "living\n");
}

/// Told to stop, the service lets running scripts end, answers them, and exits with 0.
fn a_stop_lets_running_scripts_end(engine: Engine) {
    let mark = &host::mark("1.75");
    let mut service = Service::start(engine, &[]);
    let post = service.poster();
    std::thread::scope(|scope| {
        let request = json!({"script": format!("sleep {mark}; echo finished")});
        let run = scope.spawn(move || post(&request));
        host::await_argument(mark);
        service.terminate();
        let answer = run.join().expect("no panic").expect("an answer").ran();
        assert_eq!(answer.text(), "finished\n", "{}", answer.0);
        assert_eq!(service.wait().code(), Some(0), "{}", service.last_words());
    });
}

/// A script that does not end in the time for that is cancelled, and its client is told so.
fn a_stop_does_not_wait_for_ever(engine: Engine) {
    let mark = host::mark("46");
    let mut service = Service::start(engine, &[("DRAIN_TIMEOUT", "1")]);
    let post = service.poster();
    std::thread::scope(|scope| {
        let request = endless(&mark);
        let run = scope.spawn(move || post(&request));
        host::await_argument(&mark);
        service.terminate();
        let reply: Reply = run.join().expect("no panic").expect("an answer");
        if reply.http == 200 {
            assert_eq!(reply.ran().status(), "cancelled");
        } else {
            assert_eq!(reply.refused().http(), 503);
        }
        assert_eq!(service.wait().code(), Some(0), "{}", service.last_words());
    });
}

/// A new script that arrives while the service stops is told to come again, or finds the door shut.
fn a_stopping_service_takes_no_new_script(engine: Engine) {
    let mark = &host::mark("2.25");
    let mut service = Service::start(engine, &[]);
    let (post, late) = (service.poster(), service.poster());
    std::thread::scope(|scope| {
        let request = json!({"script": format!("sleep {mark}")});
        let run = scope.spawn(move || post(&request));
        host::await_argument(mark);
        service.terminate();
        until("the door to shut", Duration::from_secs(1), || {
            match late(&json!({"script": "echo late"})) {
                Err(refused) => refused.is_connect().then_some(()),
                Ok(reply) => (reply.http == 503).then(|| drop(reply.refused())),
            }
        });
        assert_eq!(run.join().expect("no panic").expect("an answer").http, 200);
        assert!(service.wait().success());
    });
}

/// The native engine's spawner dies: what runs answers 502, and the next script runs.
#[test]
fn native_recovers_from_its_spawner_s_death() {
    let _turn = crate::support::turn::together();
    let service = Service::start(Engine::Native, &[]);
    let mark = host::mark("47");
    let post = service.poster();
    std::thread::scope(|scope| {
        let request = endless(&mark);
        let run = scope.spawn(move || post(&request));
        host::await_argument(&mark);
        let spawner = spawner_of(&service);
        host::signal(spawner, Signal::KILL);
        let problem = run.join().expect("no panic").expect("an answer").refused();
        assert_eq!(problem.http(), 502, "{}", problem.0);
        until("the end of the lost script", Duration::from_secs(2), || {
            host::with_argument(&mark).is_empty().then_some(())
        });
        assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
        assert_ne!(spawner_of(&service), spawner);
    });
}

/// Without its keeper nothing could start the spawner again: the service ends, so that whoever runs
/// it starts it again, and the next start clears what was left.
#[test]
fn native_ends_when_its_keeper_dies() {
    let _turn = crate::support::turn::together();
    let mut service = Service::start(Engine::Native, &[]);
    let keeper = host::status(spawner_of(&service), "PPid").expect("a living spawner");
    host::signal(keeper.parse().expect("a pid"), Signal::KILL);
    assert_eq!(service.wait().code(), Some(1), "{}", service.last_words());
    assert!(service.last_words().contains("the engine native is lost"), "{}", service.last_words());
    let next = Service::start(Engine::Native, &[]);
    assert_eq!(next.run(&json!({"script": "echo next"})).text(), "next\n");
    drop(next);
    drop(service);
}

/// No image and no volume of ours piles up over many executions, and no descriptor stays open.
fn many_executions_leave_nothing(engine: Engine) {
    let service = Service::start(engine, &[]);
    let run = || drop(service.run(&json!({"script": "echo x"})));
    // What waits ahead has two each: a stream, and on the native engine a process.
    let descriptors = || {
        host::descriptors(service.pid()) as f64
            - 2.0 * Metrics::of(&service).sample("oncebox_pool_waiting")
    };
    (0..5).for_each(|_| run());
    let before = descriptors();
    (0..40).for_each(|_| run());
    until("descriptors to be closed", Duration::from_secs(10), || {
        (descriptors() <= before + 3.0).then_some(())
    });
}

on_both_engines! {
    together: a_killed_service_leaves_nothing, a_start_spares_a_living_instance,
        a_stop_lets_running_scripts_end, a_stop_does_not_wait_for_ever,
        a_stopping_service_takes_no_new_script, many_executions_leave_nothing
}
