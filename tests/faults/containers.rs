//! Containers, guests and spawners that end by another hand.

use rustix::process::Signal;

use super::driver::{Fault, counted, pass, trial};
use super::service;
use super::support::chance::Chance;
use super::support::processes::{guests, spawner_of};
use super::support::{Engine, Service, host};

/// How often a fault that hits one thing is injected, a moment apart.
const TIMES: usize = 3;

/// How it is counted that a script was lost, and that nobody's container was.
const LOST: &str = "oncebox_refusals_total{code=\"container_lost\"}";
const DIED: &str = "oncebox_pool_died_total";

const RUNNING_KILLED: Fault = Fault::new("containers killed", "container lost", LOST);
const WAITING_KILLED: Fault =
    Fault::new("waiting containers killed", "a waiting container died", DIED);
const REMOVED: Fault = Fault::new("containers removed", "container lost", LOST);

/// The pids of guests whose script runs, or that wait for one.
pub fn with_script(service: &Service, engine: Engine, script: bool) -> Vec<u32> {
    let runs = |guest: &u32| {
        let inside = host::descendants(*guest);
        inside.iter().any(|pid| host::args(*pid).iter().any(|arg| arg.contains("sleep")))
    };
    guests(service, engine).into_iter().filter(|guest| runs(guest) == script).collect()
}

/// Hits containers again and again until one was hit in time: of those whose script runs some, and
/// of those that wait all, since one that waits is soon taken.
fn hit(
    service: &Service,
    engine: Engine,
    random: &mut Chance,
    (running, metric): (bool, &str),
    how: impl Fn(&[u32]),
) {
    let (before, mut times) = (counted(service, metric), 0);
    while times < TIMES || counted(service, metric) == before {
        let mut there = with_script(service, engine, running);
        if running && there.len() > 2 {
            there.swap_remove(random.below(there.len() as u64) as usize);
        }
        how(&there);
        times += 1;
        assert!(times < 20 * TIMES, "none was hit in time");
        pass(random.millis(20, 200));
    }
}

/// As `docker kill` does; on the native engine there is nothing but the process.
fn kill(engine: Engine, guests: &[u32]) {
    match engine {
        Engine::Native => {
            for guest in guests {
                host::try_signal(*guest, Signal::KILL);
            }
        }
        Engine::Docker => docker(&["kill"], guests),
    }
}

/// A command for the containers of these guests, which may have ended by themselves.
fn docker(command: &[&str], guests: &[u32]) {
    let id = |guest: &u32| {
        let groups = host::proc(*guest, "cgroup")?;
        groups.lines().find_map(|line| line.split("/docker/").nth(1).map(ToOwned::to_owned))
    };
    let ids: Vec<_> = guests.iter().filter_map(id).collect();
    if !ids.is_empty() {
        let _ = std::process::Command::new("docker").args(command).args(ids).output();
    }
}

fn containers_killed(engine: Engine) {
    let service = service(engine, &[]);
    trial(&service, engine, RUNNING_KILLED, |moment| {
        hit(&service, engine, &mut moment.random, (true, LOST), |guests| kill(engine, guests));
    });
    trial(&service, engine, WAITING_KILLED, |moment| {
        hit(&service, engine, &mut moment.random, (false, DIED), |guests| kill(engine, guests));
    });
}

fn docker_containers_removed(engine: Engine) {
    let service = service(engine, &[]);
    let remove = |guests: &[u32]| docker(&["rm", "--force"], guests);
    trial(&service, engine, REMOVED, |moment| {
        hit(&service, engine, &mut moment.random, (true, LOST), remove);
        hit(&service, engine, &mut moment.random, (false, DIED), remove);
    });
}

#[test]
fn docker_removed() {
    let _turn = crate::support::turn::alone();
    docker_containers_removed(Engine::Docker);
}

/// The native engine's spawner dies, and dies again.
#[test]
fn native_spawner_killed() {
    let _turn = crate::support::turn::alone();
    let fault = Fault::new("spawner killed", "the spawner died and was started again", DIED);
    let service = service(Engine::Native, &[]);
    trial(&service, Engine::Native, fault, |moment| {
        for _ in 0..2 {
            host::signal(spawner_of(&service), Signal::KILL);
            pass(moment.random.millis(300, 900));
        }
    });
}

on_both_engines! {
    together: ;
    alone: containers_killed
}
