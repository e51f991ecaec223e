//! A container that its spawner has told to be gone before anybody gave it up.

use std::fs::File;

use super::*;
use crate::pool::testing::recipe;

/// Such a container; the connection lasts as long as its other end.
async fn gone_by_itself(usage: Usage) -> (Arc<Link>, Arc<Metrics>, Held, OwnedFd) {
    let (ours, spawner) = socket::pair().unwrap();
    let metrics = Arc::new(Metrics::new());
    let link = Link::start(ours, Arc::clone(&metrics)).unwrap();
    let spawned = std::thread::spawn(move || {
        let (packet, _) = socket::receive(&spawner).unwrap().unwrap();
        let Ok(Request::Make { id, .. }) = Request::decode(&packet) else { panic!("no make") };
        let pidfd = File::open("/dev/null").unwrap();
        let made = Reply::Made { id, pid: 1, uid: 1 }.encode();
        socket::send(&spawner, &made, Some(pidfd.as_fd())).unwrap();
        for reply in [Reply::Gone { id, usage }, Reply::Hello { groups: 0, enforced: true }] {
            socket::send(&spawner, &reply.encode(), None).unwrap();
        }
        spawner
    });
    let control = File::open("/dev/null").unwrap().into();
    let (held, _) = link.make(&recipe("a", "sh").spec, control).await.unwrap();
    let mut greeting = link.greeting();
    greeting.wait_for(|said| *said != Greeting::Awaited).await.unwrap();
    let spawner = spawned.join().unwrap();
    (link, metrics, held, spawner)
}

fn torn_down(metrics: &Metrics) -> bool {
    metrics.encode().contains("oncebox_phase_seconds_count{phase=\"teardown\"} 1")
}

#[tokio::test]
async fn the_last_counters_of_one_that_was_gone_early_are_kept() {
    let usage = Usage { oom_kills: Some(1), ..Usage::default() };
    let (link, metrics, held, _spawner) = gone_by_itself(usage).await;
    assert!(!torn_down(&metrics), "somebody has it");
    assert_eq!(held.end().await, Some(usage));
    assert!(torn_down(&metrics));
    link.empty().await;
}

#[tokio::test]
async fn one_that_was_gone_early_counts_once() {
    let (link, metrics, held, _spawner) = gone_by_itself(Usage::default()).await;
    held.finished();
    assert!(torn_down(&metrics));
    link.empty().await;
    let (link, metrics, held, _spawner) = gone_by_itself(Usage::default()).await;
    drop(held);
    assert!(torn_down(&metrics));
    link.empty().await;
}
