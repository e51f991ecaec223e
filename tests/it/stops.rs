//! Being told to stop, at the worst moments (W31): everyone who was let in is answered, nothing is
//! left behind, and it does not take longer than it may.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::events::Events;
use crate::support::residue::Residue;
use crate::support::service::{free_address, oncebox};
use crate::support::{Engine, Service, host, until};

/// On top of the drain deadline.
const LATE: Duration = Duration::from_secs(2);

/// What runs is cancelled at the deadline, what waits is sent away, and both are answered, plainly
/// and by events; the exit code says that all went well.
fn w31_a_stop_under_load_answers_everyone(engine: Engine) {
    let mark = &host::mark("173.2");
    let settings = [("MAX_CONCURRENT", "2"), ("QUEUE_LIMIT", "8"), ("DRAIN_TIMEOUT", "1")];
    let mut service = Service::start(engine, &settings);
    let request = json!({"script": format!("echo up; sleep {mark}"), "timeout": 200});
    let mut followed = service.follow(&request);
    assert_eq!(followed.by_ref().nth(1).expect("an event").name, "stdout");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..9)
            .map(|_| (service.poster(), request.clone()))
            .map(|(post, request)| scope.spawn(move || post(&request).expect("an answer")))
            .collect();
        until("all of them to run or to wait", Duration::from_secs(20), || {
            let metrics = service.get("/metrics").expect("an answer").body;
            let metrics = String::from_utf8_lossy(&metrics).into_owned();
            let running = metrics.contains("\noncebox_running 2\n");
            (running && metrics.contains("\noncebox_queue_length 8\n")).then_some(())
        });
        let told = Instant::now();
        service.terminate();
        let last = followed.last().expect("a last event");
        assert_eq!((&*last.name, &last.data["status"]), ("result", &json!("cancelled")));
        assert_eq!(last.data["stdout"], "up\n");
        let replies: Vec<_> = clients.into_iter().map(|c| c.join().expect("no panic")).collect();
        let (ran, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.http == 200);
        assert_eq!((ran.len(), refused.len()), (1, 8));
        assert!(ran.into_iter().all(|reply| reply.ran().status() == "cancelled"));
        assert!(refused.into_iter().all(|reply| reply.refused().code() == "draining"));
        assert_eq!(service.wait().code(), Some(0), "{}", service.last_words());
        assert!(told.elapsed() < Duration::from_secs(1) + LATE, "{:?}", told.elapsed());
    });
}

/// A client that keeps its connection open and says nothing, or takes nothing, holds no stop up.
fn w31_idle_and_silent_clients_do_not_hold_a_stop_up(engine: Engine) {
    let mut service = Service::start(engine, &[("DRAIN_TIMEOUT", "5")]);
    let silent: Vec<_> =
        (0..5).map(|_| std::net::TcpStream::connect(service.address()).expect("open")).collect();
    let script = "i=0; while [ $i -lt 400 ]; do printf %9999d 0; i=$((i+1)); done";
    let request = json!({"script": script, "output_limit": "4m"});
    let unread = service.send_events("/execute", &request).expect("an answer");
    let told = Instant::now();
    service.terminate();
    assert_eq!(service.wait().code(), Some(0), "{}", service.last_words());
    assert!(told.elapsed() < Duration::from_secs(5) + LATE, "{:?}", told.elapsed());
    drop((silent, unread));
}

/// The second signal does not wait for anything; the containers go with the service.
fn w31_a_second_signal_forces(engine: Engine) {
    let mark = &host::mark("173.3");
    // What Docker is starting at that very moment would wait for the next start's sweep.
    let settings = [("DRAIN_TIMEOUT", "60"), ("POOL_SIZE", "0")];
    let mut service = Service::start(engine, &settings);
    let request = json!({"script": format!("sleep {mark}"), "timeout": 200});
    let events: Events = service.follow(&request);
    let script = host::await_argument(mark);
    service.terminate();
    until("the first signal to be heard", Duration::from_secs(5), || {
        service.log().contains("stopping").then_some(())
    });
    let told = Instant::now();
    service.terminate();
    let status = service.wait();
    assert!(!status.success(), "it was cut short, and says so");
    assert!(told.elapsed() < LATE, "{:?}", told.elapsed());
    until("the script to be gone", LATE, || {
        host::proc(script, "cmdline").is_none_or(|line| line.is_empty()).then_some(())
    });
    drop(events);
    service.gone_by_force().ended();
}

/// A signal at any moment of the start ends it, and leaves nothing.
fn w31_a_stop_while_it_starts(engine: Engine) {
    // From before it listens to when it is up, in steps that do not fall together with its own.
    for moment in (0..12).map(|step| Duration::from_millis(7 * step * step)) {
        let residue = Residue::before();
        let mut child = oncebox("serve", engine)
            .env("PORT", free_address().port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the service starts");
        residue.owned_by(child.id());
        std::thread::sleep(moment);
        residue.owned_by(child.id());
        if child.try_wait().expect("a child").is_none() {
            host::signal(child.id(), Signal::TERM);
        }
        let told = Instant::now();
        let status =
            until("its end", Duration::from_secs(20), || child.try_wait().expect("a child"));
        assert!(told.elapsed() < Duration::from_secs(5), "{moment:?}: {:?}", told.elapsed());
        // Before it can hear it, the signal is its end as for any program.
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(status.success() || by_signal == Some(15), "{moment:?}: {status}");
        residue.gone();
    }
}

on_both_engines! {
    together: w31_a_stop_under_load_answers_everyone,
        w31_idle_and_silent_clients_do_not_hold_a_stop_up, w31_a_second_signal_forces,
        w31_a_stop_while_it_starts
}
