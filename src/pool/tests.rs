//! Pools over containers whose guests are played: for what a real engine does not do on demand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncebox_guest::wire::Report;
use tokio::sync::Notify;

use super::testing::recipe;
use super::*;
use crate::engine::EngineName;
use crate::engine::testing::{Guest, Held, container_of};
use crate::registry::testing::everything;
use crate::registry::testing::shelf::Shelf;
use crate::registry::{Policy, PullOptions};

/// Makes containers whose guests answer an order to start an interpreter, and keeps count.
#[derive(Default)]
struct Stage {
    made: AtomicUsize,
    /// So many makings fail first, because the engine is away.
    away: AtomicUsize,
    /// By number, in the order in which they were made.
    guests: Mutex<HashMap<usize, (Guest, CancellationToken)>>,
    changed: Notify,
    no_interpreter: bool,
    limits_stay: bool,
}

impl Stage {
    fn present(away: &AtomicUsize) -> Result<(), EngineError> {
        let one_less = |n: usize| n.checked_sub(1);
        match away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(EngineError::Unavailable("away".into())),
            Err(_) => Ok(()),
        }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<usize, (Guest, CancellationToken)>> {
        self.guests.lock().unwrap()
    }

    /// Waits until so many containers live.
    async fn alive(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.guests().values().filter(|(_, gone)| !gone.is_cancelled()).count() == count {
                return;
            }
            changed.await;
        }
    }
}

struct Handle(Arc<Stage>);

impl Engine for Handle {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn make<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        let stage = Arc::clone(&self.0);
        let has_interpreter = !stage.no_interpreter && spec.image.reference.repository() != "x";
        async move {
            Stage::present(&stage.away)?;
            let number = stage.made.fetch_add(1, Ordering::Relaxed);
            let gone = CancellationToken::new();
            let (limits_stay, freed) = (stage.limits_stay, CancellationToken::new());
            let held = Held { gone, freed, usage: None, limits_stay, mute: false };
            let (container, guest, gone) = container_of(held).await;
            let kept = Arc::clone(&stage);
            tokio::spawn(async move {
                let mut guest = guest;
                if guest.asked_to_prestart().await {
                    guest.say(&Report::Prestarted { waits: has_interpreter, memory: None }).await;
                }
                kept.guests().insert(number, (guest, gone.clone()));
                kept.changed.notify_waiters();
                gone.cancelled().await;
                kept.changed.notify_waiters();
            });
            Ok(container)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

const BUDGET: Budget = Budget { memory: 1 << 40, pids: 1 << 20 };

fn pool(stage: Stage) -> (Arc<Pool>, Arc<Stage>) {
    pool_with(stage, TIMES)
}

fn pool_with(stage: Stage, times: Times) -> (Arc<Pool>, Arc<Stage>) {
    let stage = Arc::new(stage);
    let engine = Arc::new(Handle(Arc::clone(&stage)));
    (Pool::with_times(engine, everything(), Some(BUDGET), Arc::default(), times), stage)
}

fn keep(pool: &Arc<Pool>, count: usize) {
    let floor = Floor { image: "a".parse().unwrap(), count };
    pool.keep(floor, |_| recipe("a", SHELL)).disarm();
}

fn need(image: &str, language: Option<&'static str>) -> Need {
    let mut recipe = recipe(image, language.unwrap_or(SHELL));
    if language.is_none() {
        recipe.ahead = None;
    }
    Need { spec: recipe.spec.clone(), recipe }
}

/// Waits until so many containers can be taken.
async fn filled(pool: &Pool, count: usize) {
    while pool.waiting().containers != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_floor_is_filled_and_filled_again_and_none_is_handed_out_twice() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 3);
    filled(&pool, 3).await;
    assert_eq!(stage.made(), 3);
    let first = pool.take(&need("a", Some(SHELL))).await.unwrap();
    assert!(first.prestarted);
    filled(&pool, 3).await;
    assert_eq!(stage.made(), 4);
    let second = pool.take(&need("a", Some(SHELL))).await.unwrap();
    filled(&pool, 3).await;
    drop((first, second));
    stage.alive(3).await;
    assert_eq!(stage.made(), 5);
}

#[tokio::test]
async fn ready_is_said_once_every_floor_was_reached_and_then_for_good() {
    let (pool, _stage) = pool(Stage::default());
    keep(&pool, 2);
    assert!(!pool.waiting().ready);
    filled(&pool, 2).await;
    assert!(pool.waiting().ready);
    pool.take(&need("a", Some(SHELL))).await.unwrap();
    let Waiting { full, ready, .. } = pool.waiting();
    assert!(!full && ready);
}

#[tokio::test]
async fn an_image_that_has_yet_to_come_holds_nothing_up() {
    let shelf = Shelf::with(&["a"]);
    let images = Arc::<Shelf>::clone(&shelf);
    let registry = Registry::new(images, Policy::default(), PullOptions::default(), Arc::default());
    let stage = Arc::new(Stage::default());
    let engine = Arc::new(Handle(Arc::clone(&stage)));
    let pool = Pool::with_times(engine, Arc::new(registry), Some(BUDGET), Arc::default(), TIMES);
    for image in ["a", "later"] {
        let floor = Floor { image: image.parse().unwrap(), count: 1 };
        pool.keep(floor, |image| Recipe {
            spec: ContainerSpec { image, ..recipe("a", SHELL).spec },
            ahead: None,
        })
        .disarm();
    }
    filled(&pool, 1).await;
    while !pool.waiting().ready {
        tokio::task::yield_now().await;
    }
    let waiting_of = |name: &str| pool.waiting_of(&Shelf::digest(&name.parse().unwrap()));
    assert_eq!((waiting_of("a"), waiting_of("later")), (1, 0));
    shelf.arrive.cancel();
    filled(&pool, 2).await;
    assert_eq!((waiting_of("a"), waiting_of("later")), (1, 1));
}

#[tokio::test]
async fn an_empty_pool_makes_one_and_follows_what_is_asked_for() {
    let (pool, stage) = pool(Stage::default());
    let taken = pool.take(&need("a", Some("python"))).await.unwrap();
    assert!(!taken.prestarted);
    filled(&pool, 1).await;
    assert_eq!(stage.made(), 2);
    assert!(pool.take(&need("a", Some("python"))).await.unwrap().prestarted);
    // What waits for one image or language is not for another.
    filled(&pool, 1).await;
    assert!(!pool.take(&need("b", Some("python"))).await.unwrap().prestarted);
    assert!(!pool.take(&need("a", Some("node"))).await.unwrap().prestarted);
}

#[tokio::test]
async fn a_request_that_does_not_fit_goes_one_step_back() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 1);
    filled(&pool, 1).await;
    let taken = pool.take(&need("a", None)).await.unwrap();
    assert!(!taken.prestarted, "its shell is ended for it");
    // The floor's next one, and one whose guest waits alone.
    filled(&pool, 2).await;
    assert_eq!(stage.made(), 3);
}

#[tokio::test]
async fn an_interpreter_that_is_not_there_leaves_the_guest_waiting() {
    let (pool, _stage) = pool(Stage { no_interpreter: true, ..Stage::default() });
    keep(&pool, 2);
    filled(&pool, 2).await;
    assert!(!pool.take(&need("a", Some(SHELL))).await.unwrap().prestarted);
}

#[tokio::test]
async fn a_tmp_of_another_size_takes_a_container_of_its_own() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 1);
    filled(&pool, 1).await;
    let mut other = need("a", Some(SHELL));
    other.spec.tmp += 4096;
    assert!(!pool.take(&other).await.unwrap().prestarted);
    assert_eq!((stage.made(), pool.waiting().containers), (2, 1));
    // Other limits can be changed.
    let mut other = need("a", Some(SHELL));
    other.spec.memory += 4096;
    assert!(pool.take(&other).await.unwrap().prestarted);
}

#[tokio::test]
async fn limits_that_can_t_be_changed_take_one_fresh_container_and_spare_the_others() {
    let (pool, stage) = pool(Stage { limits_stay: true, ..Stage::default() });
    keep(&pool, 3);
    filled(&pool, 3).await;
    let mut other = need("a", Some(SHELL));
    other.spec.memory += 4096;
    let taken = pool.take(&other).await.unwrap();
    assert!(!taken.prestarted, "it was made now");
    assert_eq!(pool.waiting().containers, 2);
    drop(taken);
    filled(&pool, 3).await;
    assert_eq!(stage.made(), 5);
}

#[tokio::test]
async fn one_that_dies_while_it_waits_is_replaced() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 2);
    filled(&pool, 2).await;
    stage.alive(2).await;
    let (guest, gone) = stage.guests().remove(&0).unwrap();
    drop(guest);
    gone.cancelled().await;
    stage.alive(2).await;
    filled(&pool, 2).await;
    assert_eq!(stage.made(), 3);
}

#[tokio::test]
async fn one_that_has_just_died_is_not_handed_out() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 1);
    filled(&pool, 1).await;
    stage.alive(1).await;
    // Nobody but this task runs between the death and the request.
    drop(stage.guests().remove(&0).unwrap().0);
    let taken = pool.take(&need("a", Some(SHELL))).now_or_never();
    assert!(taken.is_none_or(|taken| !taken.unwrap().prestarted));
}

#[tokio::test]
async fn requests_wait_a_little_for_an_engine_that_comes_back() {
    let patience = Duration::from_millis(200);
    let stage = Stage { away: AtomicUsize::new(2), ..Stage::default() };
    let (pool, stage) = pool_with(stage, Times { patience, ..TIMES });
    assert!(pool.take(&need("a", None)).await.is_ok());
    stage.away.store(usize::MAX, Ordering::Relaxed);
    let gone = pool.take(&need("b", None)).await.unwrap_err();
    assert!(matches!(gone, EngineError::Unavailable(_)));
}

#[tokio::test]
async fn what_grows_old_is_replaced() {
    let max_age = Duration::from_millis(20);
    let (pool, stage) = pool_with(Stage::default(), Times { max_age, ..TIMES });
    keep(&pool, 1);
    let old = loop {
        stage.changed.notified().await;
        if let Some((_, gone)) = stage.guests().get(&0) {
            break gone.clone();
        }
    };
    old.cancelled().await;
    filled(&pool, 1).await;
    assert!(stage.made() >= 2);
    assert!(!pool.metrics.encode().contains("pool_expired_total 0\n"));
}

#[tokio::test]
async fn one_that_could_not_be_made_is_counted_and_made_again() {
    let (pool, stage) = pool(Stage { away: AtomicUsize::new(1), ..Stage::default() });
    keep(&pool, 1);
    filled(&pool, 1).await;
    assert_eq!(stage.made(), 1);
    assert!(pool.metrics.encode().contains("pool_make_failures_total 1\n"));
}

#[tokio::test]
async fn what_nobody_wants_any_more_goes() {
    let look = Duration::from_millis(10);
    let (pool, stage) = pool_with(Stage::default(), Times { look, ..TIMES });
    let recipe = recipe("a", SHELL);
    let key = Key::of(&recipe);
    pool.stock().hold(&key, &recipe, 3);
    pool.grow(&key);
    filled(&pool, 3).await;
    pool.stock().release(&key, 2);
    filled(&pool, 1).await;
    stage.alive(1).await;
    assert_eq!(stage.made(), 3);
}

#[tokio::test]
async fn an_image_that_is_to_go_is_let_go() {
    let (pool, stage) = pool(Stage::default());
    pool.take(&need("a", Some(SHELL))).await.unwrap();
    filled(&pool, 1).await;
    let image = Key::of(&recipe("a", SHELL)).image;
    assert_eq!(pool.waiting_of(&image), 1);
    pool.discard(&image);
    stage.alive(0).await;
    while pool.stock().recipe(&Key::of(&recipe("a", SHELL))).is_some() {
        tokio::task::yield_now().await;
        pool.discard(&image);
    }
    assert_eq!((pool.waiting_of(&image), stage.made()), (0, 2));
}

#[tokio::test]
async fn closing_gives_everything_up_and_makes_nothing_more() {
    let (pool, stage) = pool(Stage::default());
    keep(&pool, 3);
    filled(&pool, 3).await;
    stage.alive(3).await;
    pool.close().await;
    stage.alive(0).await;
    assert_eq!((pool.waiting().containers, stage.made()), (0, 3));
}

#[tokio::test]
async fn without_a_budget_nothing_waits() {
    let stage = Arc::new(Stage::default());
    let engine = Arc::new(Handle(Arc::clone(&stage)));
    let pool = Pool::new(engine, everything(), None, Arc::default());
    pool.take(&need("a", Some(SHELL))).await.unwrap();
    assert_eq!((stage.made(), pool.waiting().containers), (1, 0));
}
