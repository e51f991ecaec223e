//! The Docker daemon is restarted, killed and stopped.

use std::cell::RefCell;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::daemon::Daemon;
use super::driver::{ANOTHER, Fault, Moment, pass, trial_with};
use super::scarce::Filler;
use super::service;
use super::support::disk::Disk;
use super::support::events::Events;
use super::support::length::full;
use super::support::service::client_from;
use super::support::{Engine, Service, host, until};

const LOST: &str = "oncebox_refusals_total{code=\"container_lost\"}";
const NOT_MADE: &str = "oncebox_pool_make_failures_total";
const SLOW: &str = "oncebox_refusals_total{code=\"engine_timeout\"}";

/// A service at a daemon that may die.
fn at(daemon: &Daemon) -> Service {
    service(Engine::Docker, &[("DOCKER_HOST", &daemon.host())])
}

fn trial(
    service: &Service,
    daemon: &RefCell<Daemon>,
    fault: Fault,
    inject: impl FnOnce(&mut Daemon, &Moment<'_>),
) {
    let guests = || daemon.borrow().guests();
    trial_with(service, Engine::Docker, &guests, fault, |moment| {
        inject(&mut daemon.borrow_mut(), moment);
    });
}

/// Does this while a script runs that takes longer than that, which is lost by it: those of the load
/// may all end in time.
fn lost_meanwhile(service: &Service, what: impl FnOnce()) {
    let mark = &host::mark("60.0");
    let request = json!({"script": format!("sleep {mark}"), "timeout": 65});
    // The load takes all the room that there is for one caller.
    let caller = client_from(ANOTHER);
    let mut events = until("a place", Duration::from_secs(10), || {
        let post = caller.post(format!("http://{}/execute", service.address()));
        let post = post.header("accept", "text/event-stream").json(&request);
        let answer = post.send().expect("an answer");
        (answer.status() != 429).then(|| Events::of(answer))
    });
    // Before the service has heard of it, another container would take the script.
    assert!(events.any(|event| event.name == "started"), "its script begins");
    what();
    let last = events.last().expect("a last event");
    assert_eq!((&*last.name, &last.data["code"]), ("error", &json!("container_lost")));
}

/// After its service has stopped, nothing of it is at the daemon.
fn clean(daemon: &Daemon, service: Service) {
    drop(service);
    assert_eq!(daemon.containers(), [""; 0]);
}

#[test]
fn docker_daemon_restarted_and_killed() {
    let _turn = super::support::turn::alone();
    let daemon = RefCell::new(Daemon::start());
    let service = at(&daemon.borrow());
    for (name, signal) in [("daemon restarted", Signal::TERM), ("daemon killed", Signal::KILL)] {
        let fault = Fault::new(name, "container lost", LOST);
        trial(&service, &daemon, fault, |daemon, _| {
            lost_meanwhile(&service, || daemon.end(signal));
            daemon.begin();
        });
    }
    clean(&daemon.borrow(), service);
}

#[test]
fn docker_daemon_stopped() {
    let _turn = super::support::turn::alone();
    let still = Duration::from_secs(if full() { 30 } else { 7 });
    let daemon = RefCell::new(Daemon::start());
    let service = at(&daemon.borrow());
    let fault = Fault::new("daemon stopped", "engine too slow", SLOW);
    trial(&service, &daemon, fault, |daemon, moment| {
        daemon.signal(Signal::STOP);
        pass(still);
        moment.felt();
        daemon.signal(Signal::CONT);
    });
    clean(&daemon.borrow(), service);
}

/// The disk under the daemon's images and containers is full: what is there goes on.
#[test]
fn docker_disk_of_images_full() {
    let _turn = super::support::turn::alone();
    let disk = Disk::of("300m");
    let daemon = RefCell::new(Daemon::start_on(&disk));
    let service = at(&daemon.borrow());
    let fault = Fault::new("disk of images full", "no space left on device", NOT_MADE);
    trial(&service, &daemon, fault, |_, moment| {
        let filler = Filler::of(&disk, 300 << 20);
        // What is removed meanwhile makes room.
        filler.keep(Duration::from_secs(1));
        pass(Duration::from_secs(2));
        moment.felt();
        drop(filler);
    });
    clean(&daemon.borrow(), service);
    drop(daemon);
}
