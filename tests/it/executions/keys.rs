//! `Idempotency-Key`: one execution and one answer, however often it is asked for.

use std::sync::Barrier;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{Asking, SOON, script};
use crate::support::metrics::Metrics;
use crate::support::{Engine, Service, host, until};

/// A hundred at once.
fn w24_equal_requests_are_one_execution(engine: Engine) {
    const CLIENTS: usize = 100;
    let service = Service::start(engine, &[]);
    let request = script("cat /proc/sys/kernel/random/uuid; sleep 0.5");
    let completed = r#"oncebox_executions_total{status="completed"}"#;
    let before = Metrics::of(&service).sample(completed);
    let start = Barrier::new(CLIENTS);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let client = |_| {
            scope.spawn(|| {
                let asking = Asking::of(&service);
                start.wait();
                asking.keyed("/execute", "w24", &request)
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    assert!(answers.iter().all(|said| said.http == 200));
    assert!(answers.iter().all(|said| said.body == answers[0].body), "one answer");
    let first = answers.iter().filter(|said| said.header("idempotent-replayed").is_empty());
    assert_eq!(first.count(), 1);
    assert_eq!(Metrics::of(&service).sample(completed) - before, 1.0, "one execution");

    let mine = Asking::of(&service);
    let conflict = mine.keyed("/execute", "w24", &script("echo other"));
    assert_eq!(conflict.code(), (409, "idempotency_conflict".into()));
    let conflict = mine.keyed("/executions", "w24", &request);
    assert_eq!(conflict.code(), (409, "idempotency_conflict".into()));
    let other = Asking::from(&service, [127, 0, 0, 2].into());
    let others = other.keyed("/execute", "w24", &request);
    assert_eq!((others.http, others.header("idempotent-replayed")), (200, ""));
    assert_ne!(others.body, answers[0].body);
    assert_eq!(Metrics::of(&service).sample(completed) - before, 2.0, "two executions");
}

/// The same in the background: one id.
fn a_key_in_the_background_leads_to_one_execution(engine: Engine) {
    let service = Service::start(engine, &[]);
    let asking = Asking::of(&service);
    let request = script("echo once");
    let said: Vec<_> = (0..3).map(|_| asking.keyed("/executions", "k", &request)).collect();
    assert!(said.iter().all(|said| said.http == 202));
    let locations: Vec<_> = said.iter().map(|said| said.header("location")).collect();
    assert!(locations.iter().all(|location| *location == locations[0]), "{locations:?}");
    let replayed: Vec<_> = said.iter().map(|said| said.header("idempotent-replayed")).collect();
    assert_eq!(replayed, ["", "true", "true"]);
    assert_eq!(asking.list("").0.len(), 1);
}

/// It is cancelled when the last client has left who waits for it, and not before.
fn a_run_is_cancelled_when_nobody_waits_any_more(engine: Engine) {
    let service = Service::start(engine, &[]);
    let mark = host::mark("291");
    let request = script(format!("sleep {mark}; echo survived"));
    let asking = Asking::of(&service);
    let abandon = |patience: Duration| {
        let post = asking.client.post(asking.url("/execute")).header("idempotency-key", "k");
        let left = post.timeout(patience).json(&request).send();
        assert!(left.is_err_and(|e| e.is_timeout()));
    };
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| Asking::of(&service).keyed("/execute", "k", &request));
        let process = host::await_argument(&mark);
        abandon(Duration::from_millis(300));
        assert_eq!(host::with_argument(&mark), [process], "one who waits is left");
        host::signal(process, Signal::KILL);
        assert_eq!(patient.join().expect("no panic").json()["stdout"], "survived\n");
    });
    let request = script(format!("sleep {mark}; echo other"));
    let key = |key: &str| asking.client.post(asking.url("/execute")).header("idempotency-key", key);
    let left = key("l").timeout(Duration::from_millis(500)).json(&request).send();
    assert!(left.is_err_and(|e| e.is_timeout()));
    until("the script to be gone", SOON, || host::with_argument(&mark).is_empty().then_some(()));
    // Its key is free, for whoever comes back.
    let again = std::thread::scope(|scope| {
        let again = scope.spawn(|| Asking::of(&service).keyed("/execute", "l", &request));
        host::signal(host::await_argument(&mark), Signal::KILL);
        again.join().expect("no panic")
    });
    assert_eq!(
        (again.header("idempotent-replayed"), &again.json()["stdout"]),
        ("", &json!("other\n"))
    );
}

/// What was refused or found nobody free can be sent again under its key.
fn what_did_not_run_gives_its_key_back(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "0")];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    assert_eq!(asking.keyed("/execute", "k", &script(" ")).http, 400);
    let mark = host::mark("292");
    let id = asking.create(&script(format!("sleep {mark}")));
    host::await_argument(&mark);
    let busy = asking.keyed("/execute", "k", &script("echo x"));
    assert_eq!(busy.code(), (429, "queue_full".into()));
    assert!(!busy.header("retry-after").is_empty());
    asking.cancel(&id);
    let said = until("a free permit", SOON, || {
        let said = asking.keyed("/execute", "k", &script("echo x"));
        (said.http == 200).then_some(said)
    });
    assert_eq!(said.header("idempotent-replayed"), "");
    let events = |_| {
        let post = asking.client.post(asking.url("/execute")).header("idempotency-key", "e");
        let post = post.header("accept", "text/event-stream").json(&script("echo x"));
        Asking::send(post).body
    };
    let [first, again] = [0, 1].map(events);
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&again));
    let long = asking.keyed("/execute", &"x".repeat(256), &script("echo x"));
    assert_eq!(long.code(), (400, "invalid_idempotency_key".into()));
}

on_both_engines! {
    together: a_key_in_the_background_leads_to_one_execution;
    alone: w24_equal_requests_are_one_execution, a_run_is_cancelled_when_nobody_waits_any_more;
    native: what_did_not_run_gives_its_key_back
}
