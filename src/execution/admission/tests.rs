use std::net::Ipv4Addr;
use std::pin::Pin;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

fn admission(max_concurrent: usize, queue_limit: usize) -> Admission {
    let queue_timeout = Duration::from_secs(600);
    Admission::new(AdmissionOptions { max_concurrent, queue_limit, queue_timeout })
}

fn caller(name: u8) -> Caller {
    Caller::at(Ipv4Addr::new(192, 0, 2, name).into())
}

type Entering<'a> = Pin<Box<dyn Future<Output = Result<Permit, Busy>> + 'a>>;

fn entering(admission: &Admission, name: u8) -> Entering<'_> {
    Box::pin(async move { admission.enter(&caller(name), drop).await })
}

fn free(admission: &Admission) -> usize {
    admission.shared.state().free
}

/// What is known without waiting.
fn now(admission: &Admission, name: u8) -> Option<Result<Permit, Busy>> {
    entering(admission, name).now_or_never()
}

/// One that waits by now.
fn waiting(admission: &Admission, name: u8) -> Entering<'_> {
    let mut entering = entering(admission, name);
    assert!(entering.as_mut().now_or_never().is_none());
    entering
}

#[tokio::test]
async fn permits_are_limited_and_come_back_on_drop() {
    let admission = admission(2, 0);
    let first = now(&admission, 1).unwrap().unwrap();
    let _second = now(&admission, 1).unwrap().unwrap();
    let busy = now(&admission, 1).unwrap().unwrap_err();
    assert_eq!(busy.code, BusyCode::QueueFull);
    assert!(busy.retry_after >= Duration::from_secs(1));
    drop(first);
    assert!(now(&admission, 1).unwrap().is_ok());
}

#[tokio::test]
async fn one_caller_is_served_in_order_and_no_more_wait_than_may() {
    let admission = admission(1, 2);
    let running = now(&admission, 1).unwrap().unwrap();
    let first = waiting(&admission, 1);
    let mut second = waiting(&admission, 1);
    assert_eq!(admission.waiting(), 2);
    assert_eq!(now(&admission, 1).unwrap().unwrap_err().code, BusyCode::QueueFull);

    drop(running);
    assert!(second.as_mut().now_or_never().is_none());
    drop(first.await.unwrap());
    assert!(second.await.is_ok());
    assert_eq!(admission.waiting(), 0);
}

#[tokio::test]
async fn callers_are_served_in_turn() {
    let admission = admission(1, 9);
    let mut permit = now(&admission, 1).unwrap().unwrap();
    let mut queue: Vec<_> =
        [1, 1, 1, 2, 2, 3].map(|name| (name, waiting(&admission, name))).into_iter().collect();
    let mut order = Vec::new();
    while !queue.is_empty() {
        drop(permit);
        let mut served = queue.iter_mut().enumerate();
        let served = served.find_map(|(i, (_, entering))| Some((i, entering.now_or_never()?)));
        let (i, next) = served.expect("somebody is next");
        permit = next.unwrap();
        order.push(queue.remove(i).0);
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 1]);
}

#[tokio::test]
async fn a_full_queue_lets_other_callers_in() {
    let admission = admission(1, 3);
    let running = now(&admission, 1).unwrap().unwrap();
    let mut greedy = [1, 1, 1].map(|name| waiting(&admission, name));
    assert_eq!(now(&admission, 1).unwrap().unwrap_err().code, BusyCode::QueueFull);

    let modest = waiting(&admission, 2);
    let displaced = greedy[2].as_mut().now_or_never().expect("at once").unwrap_err();
    assert_eq!(displaced.code, BusyCode::QueueFull);
    assert!(displaced.retry_after >= Duration::from_secs(1));
    assert_eq!(admission.waiting(), 3);
    // As many as the others have, and no more.
    assert_eq!(now(&admission, 2).unwrap().unwrap_err().code, BusyCode::QueueFull);

    drop(running);
    let [first, second, _] = greedy;
    drop(first.await.unwrap());
    drop(modest.await.unwrap());
    assert!(second.await.is_ok());
}

#[tokio::test]
async fn who_leaves_the_queue_gives_the_place_back() {
    let admission = admission(1, 1);
    let running = now(&admission, 1).unwrap().unwrap();
    drop(waiting(&admission, 1));
    assert_eq!(admission.waiting(), 0);
    drop(running);
    assert!(now(&admission, 1).unwrap().is_ok());
}

#[tokio::test]
async fn a_permit_that_nobody_takes_any_more_goes_on() {
    let admission = admission(1, 2);
    let running = now(&admission, 1).unwrap().unwrap();
    let (leaves, stays) = (waiting(&admission, 1), waiting(&admission, 2));
    // The first one has the permit now, and does not know it yet.
    drop(running);
    assert_eq!(admission.waiting(), 1);
    drop(leaves);
    drop(stays.now_or_never().expect("a permit").unwrap());
    assert!(now(&admission, 3).unwrap().is_ok());
}

/// The same, where the one who leaves is out of the queue already, and has not got the permit yet.
#[tokio::test]
async fn a_permit_on_its_way_to_one_who_leaves_goes_on() {
    let admission = admission(1, 2);
    let running = now(&admission, 1).unwrap().unwrap();
    let (leaves, stays) = (waiting(&admission, 1), waiting(&admission, 2));
    admission.shared.state().free += 1;
    let (who, next) = admission.shared.state().next().unwrap();
    drop(leaves);
    admission.shared.give(who, next);
    drop(stays.now_or_never().expect("a permit").unwrap());
    assert_eq!(free(&admission), 1);
    // That permit was made for this test; the other one is still in use.
    drop(running);
}

/// Permits come back while those who wait for them go away, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_between_threads() {
    let admission = Arc::new(admission(2, 8));
    for round in 0..2000_u32 {
        let tasks: Vec<_> = (0..6)
            .map(|name| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move {
                    let _permit = admission.enter(&caller(name), drop).await;
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        for (i, task) in (0..).zip(&tasks) {
            if (round + i) % 2 == 0 {
                task.abort();
            }
        }
        for task in tasks {
            let _ = task.await;
        }
        assert_eq!((admission.waiting(), free(&admission)), (0, 2), "{round}");
    }
}

/// A caller with so many at once.
fn bounded(name: &str, concurrency: usize) -> Caller {
    let allowance = Allowance { concurrency: Some(concurrency), ..Allowance::default() };
    Caller::with_key(name.into(), Arc::new(allowance))
}

#[tokio::test]
async fn a_caller_with_a_bound_waits_beside_free_permits_and_holds_nobody_up() {
    let admission = admission(3, 2);
    let (one, other) = (bounded("one", 1), bounded("other", 1));
    let first = admission.enter(&one, drop).await.unwrap();
    let mut second = Box::pin(admission.enter(&one, drop));
    assert!(second.as_mut().now_or_never().is_none());
    let beside = admission.enter(&other, drop).await.unwrap();
    assert_eq!((free(&admission), admission.waiting()), (1, 1));
    drop(beside);
    assert!(second.as_mut().now_or_never().is_none(), "another's permit is no reason");
    drop(first);
    drop(second.await.unwrap());
    assert_eq!((free(&admission), admission.waiting()), (3, 0));
    assert!(admission.shared.state().held.is_empty());
}

#[tokio::test]
async fn in_the_background_one_waits_without_a_place_and_without_end() {
    let options =
        AdmissionOptions { max_concurrent: 1, queue_limit: 0, queue_timeout: Duration::ZERO };
    let admission = Admission::new(options);
    let running = now(&admission, 1).unwrap().unwrap();
    let patient = caller(1).in_background();
    let mut places = Vec::new();
    let mut waiting = Box::pin(admission.enter(&patient, |place| places.push(place)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(running);
    drop(waiting.await.unwrap());
    assert_eq!(places[0].ahead(), None, "the waiting is over");
}

#[tokio::test]
async fn waiting_has_a_deadline() {
    let queue_timeout = Duration::from_millis(1);
    let options = AdmissionOptions { max_concurrent: 1, queue_limit: 1, queue_timeout };
    let admission = Admission::new(options);
    let _running = now(&admission, 1).unwrap().unwrap();
    assert_eq!(admission.enter(&caller(1), drop).await.unwrap_err().code, BusyCode::QueueTimeout);
    assert_eq!(admission.waiting(), 0);
}

#[tokio::test]
async fn closing_sends_away_the_waiting_and_the_new() {
    let admission = admission(1, 2);
    let running = now(&admission, 1).unwrap().unwrap();
    let queue = [1, 2].map(|name| waiting(&admission, name));
    admission.close();
    for waiting in queue {
        assert_eq!(waiting.await.unwrap_err().code, BusyCode::Draining);
    }
    drop(running);
    assert_eq!(now(&admission, 1).unwrap().unwrap_err().code, BusyCode::Draining);
}

#[test]
fn the_estimate_follows_the_usual_time_and_the_queue() {
    let admission = admission(2, 0);
    let held = |time| {
        for _ in 0..100 {
            admission.shared.state().hand_out(&Who::Service);
            admission.shared.pass_on(&Who::Service, Duration::from_secs(time));
        }
        admission.shared.busy(&admission.shared.state(), BusyCode::QueueFull).retry_after
    };
    let soon = held(10);
    assert!((4..=5).contains(&soon.as_secs()), "{soon:?}");
    assert_eq!(held(3600), RETRY_LATEST);
}

#[derive(Debug, Clone)]
enum Step {
    Enter(u8),
    Look(usize),
    Leave(usize),
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..4).prop_map(Step::Enter),
        2 => (0_usize..8).prop_map(Step::Look),
        1 => (0_usize..8).prop_map(Step::Leave),
        3 => (0_usize..4).prop_map(Step::Release),
    ]
}

proptest! {
    #[test]
    fn no_permit_is_lost_and_none_is_made_up(
        (permits, places) in (1_usize..4, 0_usize..6),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        // For the queue's timer, which never fires here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let admission = admission(permits, places);
        let mut queue = Vec::new();
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Enter(name) => {
                    let mut entering = entering(&admission, name);
                    match entering.as_mut().now_or_never() {
                        Some(Ok(permit)) => held.push(permit),
                        Some(Err(busy)) => prop_assert_eq!(busy.code, BusyCode::QueueFull),
                        None => queue.push(entering),
                    }
                }
                Step::Look(which) => if which < queue.len() {
                    match queue[which].as_mut().now_or_never() {
                        Some(Ok(permit)) => held.push(permit),
                        Some(Err(busy)) => prop_assert_eq!(busy.code, BusyCode::QueueFull),
                        None => continue,
                    }
                    drop(queue.remove(which));
                }
                Step::Leave(which) => if which < queue.len() {
                    drop(queue.remove(which));
                }
                Step::Release(which) => if which < held.len() {
                    drop(held.remove(which));
                }
            }
            prop_assert!(held.len() <= permits);
            prop_assert!(admission.waiting() <= places.min(queue.len()));
            prop_assert!(free(&admission) == 0 || admission.waiting() == 0, "somebody waits for nothing");
        }
        // Whoever still waits is served as the permits come back, or has been sent away.
        held.clear();
        while !queue.is_empty() {
            let before = queue.len();
            queue.retain_mut(|entering| match entering.as_mut().now_or_never() {
                Some(Ok(_)) => false,
                Some(Err(busy)) => busy.code != BusyCode::QueueFull,
                None => true,
            });
            prop_assert!(queue.len() < before, "{} wait for ever", before);
        }
        prop_assert_eq!((free(&admission), admission.waiting()), (permits, 0));
    }
}
