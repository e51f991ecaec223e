//! The daemon's socket misbehaves in every way a socket can, before the daemon that all tests share.

use std::time::Duration;

use super::driver::{Fault, pass, trial};
use super::proxy::{Act, Proxy};
use super::seed;
use super::service;
use super::support::length::full;
use super::support::{Engine, until};

const LOST: &str = "oncebox_refusals_total{code=\"container_lost\"}";
const NOT_MADE: &str = "oncebox_pool_make_failures_total";
const NOT_GONE: &str = "oncebox_faults_total{fault=\"not_gone\"}";
const CREATE: &str = "/containers/create";

/// What is spoiled of what is asked, with the row's name and what the log says of it.
struct Spoiled {
    name: &'static str,
    log: &'static str,
    metric: &'static str,
    part: &'static str,
    act: Act,
}

const fn spoiled(
    (name, log, metric): (&'static str, &'static str, &'static str),
    part: &'static str,
    act: Act,
) -> Spoiled {
    Spoiled { name, log, metric, part, act }
}

/// Kinds, of each of which one is chosen.
const ALL: [&[Spoiled]; 4] = [
    // At once, within the guest's first frame, and among a script's output.
    &[
        spoiled(("attach reset at once", "could not be made", NOT_MADE), "/attach?", Act::Reset(0)),
        spoiled(
            ("attach cut in its head", "could not be made", NOT_MADE),
            "/attach?",
            Act::Cut(100),
        ),
    ],
    &[
        spoiled(("attach reset midway", "container lost", LOST), "/attach?", Act::Reset(2000)),
        spoiled(("attach cut midway", "container lost", LOST), "/attach?", Act::Cut(3000)),
    ],
    &[
        spoiled(("create answers 500", "create: HTTP 500", NOT_MADE), CREATE, Act::Say(500)),
        spoiled(("create answers 404", "create: HTTP 404", NOT_MADE), CREATE, Act::Say(404)),
        spoiled(("create answers 409", "create: HTTP 409", NOT_MADE), CREATE, Act::Say(409)),
        spoiled(("start answers 500", "start: HTTP 500", NOT_MADE), "/start", Act::Say(500)),
        spoiled(("start answers 404", "start: HTTP 404", NOT_MADE), "/start", Act::Say(404)),
        spoiled(("start answers 409", "start: HTTP 409", NOT_MADE), "/start", Act::Say(409)),
        spoiled(("remove answers 500", "not removed yet", NOT_GONE), "DELETE ", Act::Say(500)),
    ],
    &[
        spoiled(
            ("inspect lies of the root", "the daemon made HostConfig.ReadonlyRootfs", NOT_MADE),
            "/json",
            Act::Lie(r#""ReadonlyRootfs":true"#, r#""ReadonlyRootfs":null"#),
        ),
        spoiled(
            ("inspect lies of the network", "the daemon made HostConfig.NetworkMode", NOT_MADE),
            "/json",
            Act::Lie(r#""NetworkMode":"none""#, r#""NetworkMode":"host""#),
        ),
    ],
];

#[test]
fn docker_socket_spoiled() {
    let _turn = super::support::turn::alone();
    let proxy = Proxy::start();
    let service = service(Engine::Docker, &[("DOCKER_HOST", &proxy.host())]);
    let mut random = seed::chance("sockets");
    let chosen = ALL.iter().flat_map(|kind| {
        let one = std::slice::from_ref(random.one_of(kind));
        if full() { *kind } else { one }
    });
    for &Spoiled { name, log, metric, part, act } in chosen {
        trial(&service, Engine::Docker, Fault::new(name, log, metric), |moment| {
            let (before, every) = (proxy.spoiled(), 1 + moment.random.below(3));
            let count = std::sync::atomic::AtomicU64::new(0);
            proxy.plan(move |first| {
                let turn = count.fetch_add(
                    u64::from(first.contains(part)),
                    std::sync::atomic::Ordering::SeqCst,
                );
                if first.contains(part) && turn.is_multiple_of(every) { act } else { Act::Pass }
            });
            until("requests to be spoiled", Duration::from_secs(20), || {
                (proxy.spoiled() >= before + 4).then_some(())
            });
            moment.felt();
            pass(moment.random.millis(0, 500));
            proxy.plan(|_| Act::Pass);
        });
    }
}

#[test]
fn docker_socket_refuses() {
    let _turn = super::support::turn::alone();
    let proxy = Proxy::start();
    let service = service(Engine::Docker, &[("DOCKER_HOST", &proxy.host())]);
    let fault = Fault::new("socket refuses", "Connection refused", NOT_MADE);
    trial(&service, Engine::Docker, fault, |moment| {
        proxy.close();
        pass(moment.random.millis(1500, 3000));
        moment.felt();
        proxy.open();
    });
}
