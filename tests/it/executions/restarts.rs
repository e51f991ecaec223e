//! What is accepted outlives the service, whatever ends it.

use serde_json::{Value, json};

use super::{Asking, Kept, SOON, script};
use crate::support::{Engine, Service, host, until};

fn retried(script: impl Into<String>) -> Value {
    json!({"script": script.into(), "timeout": 250, "retry_on_interrupt": true})
}

fn results_survive_a_restart(engine: Engine) {
    let kept = Kept::new();
    let file = kept.file();
    let settings = [("EXECUTION_STORE", &*file)];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let id = asking.create(&script("printf 'a\\377'; echo err >&2"));
    let before = asking.until(&id, "ended");
    let answer = asking.keyed("/execute", "k", &script("echo $$; date +%N"));
    drop(service);
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    assert_eq!(asking.document(&id), before);
    let names: Vec<_> = asking.follow(&id, None).map(|event| event.name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let again = asking.keyed("/execute", "k", &script("echo $$; date +%N"));
    assert_eq!((again.http, again.header("idempotent-replayed")), (200, "true"));
    assert_eq!(again.body, answer.body);
}

/// Killed while one runs, one waits and one has ended: the first two are interrupted, by us, and
/// never run again; those that asked for it are, under their own ids, once for each such end.
fn a_kill_interrupts_or_has_it_run_again(engine: Engine) {
    let kept = Kept::new();
    let file = kept.file();
    let settings = [("EXECUTION_STORE", &*file), ("MAX_CONCURRENT", "2")];
    let [runs, runs_again, waits] = ["281", "282", "283"].map(host::mark);
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let ended = asking.create(&script("echo ended"));
    asking.ended(&ended);
    let running = asking.create(&script(format!("sleep {runs}")));
    let again = asking.create(&retried(format!("sleep {runs_again}")));
    host::await_argument(&runs);
    host::await_argument(&runs_again);
    let waiting = asking.create(&script(format!("sleep {waits}")));
    let waiting_again = asking.create(&retried("echo after all"));
    let residue = service.kill();
    residue.ended();

    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    assert_eq!(asking.ended(&ended).text(), "ended\n");
    for id in [&running, &waiting] {
        let document = asking.until(id, "interrupted");
        assert_eq!(document["problem"]["code"], "interrupted", "{document}");
        let events: Vec<_> = asking.follow(id, None).collect();
        assert_eq!(events.iter().map(|event| &*event.name).collect::<Vec<_>>(), ["error"]);
    }
    assert_eq!(asking.ended(&waiting_again).text(), "after all\n");
    let processes = until("it to run again", SOON, || {
        let processes = host::with_argument(&runs_again);
        (!processes.is_empty()).then_some(processes)
    });
    assert_eq!(processes.len(), 1, "once");
    // The script is there a moment before the service has heard that it is.
    asking.until(&again, "running");
    for never in [&runs, &waits] {
        assert!(host::with_argument(never).is_empty(), "it ran again unasked");
    }
    let residue = service.kill();
    residue.ended();

    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    host::await_argument(&runs_again);
    asking.until(&again, "running");
    assert_eq!(asking.cancel(&again).json()["result"]["status"], "cancelled");
    assert_eq!(asking.document(&waiting)["state"], "interrupted");
    assert_eq!(asking.list("").0.len(), 5);
    drop(service);
    residue.gone();
}

/// Told to stop, the service waits for what runs, sends away what waits, and at the deadline ends
/// the rest; nothing is lost without a word.
fn a_stop_interrupts_what_does_not_end_in_time(engine: Engine) {
    let kept = Kept::new();
    let file = kept.file();
    let settings = [("EXECUTION_STORE", &*file), ("MAX_CONCURRENT", "2"), ("DRAIN_TIMEOUT", "6")];
    // Longer than the other one takes to begin, shorter than what a stop grants.
    let [short, long, again] = ["4.0", "284", "285"].map(host::mark);
    let mut service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let in_time = asking.create(&script(format!("echo up; sleep {short}; echo finished")));
    host::await_argument(&short);
    let too_long = asking.create(&script(format!("sleep {long}")));
    host::await_argument(&long);
    let waiting = asking.create(&script("echo never"));
    let waiting_again = asking.create(&retried(format!("sleep {again}")));
    service.terminate();
    assert_eq!(service.wait().code(), Some(0), "{}", service.last_words());
    drop(service);
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    assert_eq!(asking.ended(&in_time).text(), "up\nfinished\n");
    asking.until(&too_long, "interrupted");
    asking.until(&waiting, "interrupted");
    host::await_argument(&again);
    asking.until(&waiting_again, "running");
    asking.cancel(&waiting_again);
}

on_both_engines! {
    together: results_survive_a_restart, a_kill_interrupts_or_has_it_run_again,
        a_stop_interrupts_what_does_not_end_in_time
}
