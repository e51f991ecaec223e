//! Containers made ahead, keyed by image and language, each used once.
//!
//! A *seat* is a task that makes one container, goes as far with it as can be gone without a
//! script, waits with it until it is taken, dies or grows old, and begins again. How many seats a
//! kind has follows its floor and its demand, within a budget. Whoever asks never waits for a seat:
//! where nothing waits, a container is made now.

mod demand;
mod floors;
mod refill;
mod seat;
mod slot;
mod stock;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use oncebox_guest::wire::Prestart;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use floors::Floor;
pub use stock::FIRST_GUESS;

use crate::engine::{Container, ContainerSpec, Engine, EngineError};
use crate::registry::{Image, Registry};
use crate::telemetry::metrics::{Hit, Metrics};
use refill::Refill;
use slot::Slot;
use stock::Stock;

/// How long things may take here.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// A request waits so long for an engine that is coming back.
    patience: Duration,
    /// A waiting container older than this is thrown away unused.
    max_age: Duration,
    /// How often a container that waits asks whether it is still wanted.
    look: Duration,
}

const TIMES: Times = Times {
    patience: Duration::from_secs(5),
    max_age: Duration::from_secs(600),
    look: Duration::from_secs(30),
};

const PAUSE: Duration = Duration::from_millis(50);
/// For waiting containers to be given up when the service stops.
const CLOSE: Duration = Duration::from_secs(5);

/// What a container made ahead is like, and how far it can go without its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    pub spec: ContainerSpec,
    /// `None`: only its guest waits.
    pub ahead: Option<Ahead>,
}

/// An interpreter that can be started before its script is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The catalogue's name for the language.
    pub language: &'static str,
    pub order: Prestart,
}

/// The most that containers may take while they wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that they really use.
    pub memory: u64,
    /// The sum of their process limits.
    pub pids: u64,
}

/// What one execution needs.
#[derive(Debug)]
pub struct Need {
    /// The container, with the limits that the request asks for.
    pub spec: ContainerSpec,
    /// What is made ahead for requests like this one.
    pub recipe: Recipe,
}

/// A container for one execution.
#[derive(Debug)]
pub struct Taken {
    pub container: Container,
    /// Its interpreter waits for the script.
    pub prestarted: bool,
    /// To be dropped when the script has ended; `None` for a container made now.
    pub refill: Option<Refill>,
}

/// Containers with the same key can stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// The digest, or the reference of an image that has none.
    image: String,
    language: Option<&'static str>,
    /// Bytes of `/tmp`, which nobody can change any more.
    tmp: u64,
}

impl Key {
    fn of(recipe: &Recipe) -> Self {
        let Image { digest, reference, .. } = &recipe.spec.image;
        let image = digest.clone().unwrap_or_else(|| reference.full());
        let language = recipe.ahead.as_ref().map(|ahead| ahead.language);
        Self { image, language, tmp: recipe.spec.tmp }
    }
}

/// Keeps containers waiting at one engine.
pub struct Pool {
    engine: Arc<dyn Engine>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stock: Mutex<Stock>,
    /// Containers being made ahead at a time: making one is half waiting for the kernel, so fewer
    /// would leave cores idle, and more would only slow down the scripts that run.
    turns: Semaphore,
    /// Where seats live, whichever thread asks for them.
    runtime: Handle,
    seats: TaskTracker,
    closed: CancellationToken,
    /// `false`: nothing is made ahead.
    on: bool,
    /// Floors whose image was not looked up yet.
    unknown: AtomicUsize,
    /// Every floor was reached, once.
    was_full: AtomicBool,
    times: Times,
}

/// What waits, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub containers: usize,
    /// Every floor is reached now.
    pub full: bool,
    /// Every floor was reached at least once, so the service may take its load.
    pub ready: bool,
}

impl Pool {
    /// A pool in which nothing waits yet. Without a budget nothing ever will. Must be called within
    /// a tokio runtime, on which the waiting is done.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        registry: Arc<Registry>,
        budget: Option<Budget>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Self::with_times(engine, registry, budget, metrics, TIMES)
    }

    fn with_times(
        engine: Arc<dyn Engine>,
        registry: Arc<Registry>,
        budget: Option<Budget>,
        metrics: Arc<Metrics>,
        times: Times,
    ) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let pool = Arc::new(Self {
            engine,
            registry,
            metrics,
            stock: Mutex::new(Stock::new(budget.unwrap_or_default())),
            turns: Semaphore::new(cores.max(2) * 2),
            runtime: Handle::current(),
            seats: TaskTracker::new(),
            closed: CancellationToken::new(),
            on: budget.is_some(),
            unknown: AtomicUsize::new(0),
            was_full: AtomicBool::new(false),
            times,
        });
        let closed = pool.closed.clone();
        let tidying = tidy(Arc::downgrade(&pool), times.look);
        pool.seats.spawn(async move { closed.run_until_cancelled(tidying).await });
        pool
    }

    /// Ends what waits of an image, by its digest, unless the operator wants it to wait: for whoever
    /// wants the image to go.
    pub fn discard(&self, digest: &str) {
        let discarded = self.stock().discard(digest);
        for slot in discarded {
            slot.discard();
        }
        self.stock().tidy(Instant::now());
    }

    /// What makes the containers.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Where its images come from.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Keeps count of what waits.
    fn note(&self) {
        let waiting = self.waiting().containers;
        self.metrics.pool_waiting(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// What waits now. An image that can't be found holds nothing up.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let (containers, full) = self.stock().waiting();
        let full = full && self.unknown.load(Ordering::Acquire) == 0;
        let ready = full || self.was_full.load(Ordering::Relaxed);
        if ready {
            self.was_full.store(true, Ordering::Relaxed);
        }
        Waiting { containers, full, ready }
    }

    /// How many wait of one image, by its digest, or by the full name of one that has none.
    #[must_use]
    pub fn waiting_of(&self, image: &str) -> usize {
        self.stock().waiting_of(image)
    }

    /// A container for one execution: one that waits, or one made now. It never refuses because
    /// none waits.
    ///
    /// # Errors
    /// Why none could be made. An engine that does not answer is given a few seconds to come back.
    pub async fn take(self: &Arc<Self>, need: &Need) -> Result<Taken, EngineError> {
        if self.on {
            let key = Key::of(&need.recipe);
            self.stock().asked(&key, &need.recipe, Instant::now());
            self.grow(&key);
            if let Some((slot, container, started)) = self.pop(&key, need.spec.tmp) {
                let refill = Refill::of(Arc::clone(&slot));
                match adapt(container, &slot.spec, &need.spec).await {
                    Ok(container) => {
                        self.metrics.pool_hit(if started { Hit::Started } else { Hit::Waiting });
                        self.metrics.pool_age(slot.age());
                        return Ok(Taken { container, prestarted: started, refill: Some(refill) });
                    }
                    // The next one would refuse as well.
                    Err(error) => tracing::debug!(%error, "a waiting container can't be used"),
                }
            }
            self.metrics.pool_miss();
        }
        self.fresh(need).await
    }

    /// A container made now: also for whoever has got a waiting one that was dead, since the others
    /// may have died with it and nobody have heard of it yet.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub async fn fresh(&self, need: &Need) -> Result<Taken, EngineError> {
        let container = self.make_now(&need.spec).await?;
        Ok(Taken { container, prestarted: false, refill: None })
    }

    /// The best that waits: one with its interpreter started, else one whose guest waits, else one
    /// whose shell, small as it is, can be ended again.
    fn pop(&self, key: &Key, tmp: u64) -> Option<(Arc<Slot>, Container, bool)> {
        let guest = Key { language: None, ..key.clone() };
        let shell = Key { language: Some(SHELL), ..key.clone() };
        for (candidate, fits) in [(key, key.language.is_some()), (&guest, false), (&shell, false)] {
            loop {
                let Some(slot) = self.stock().pop(candidate, tmp) else { break };
                if let Some(container) = slot.take() {
                    let started = fits && slot.prestarted;
                    return Some((slot, container, started));
                }
            }
        }
        None
    }

    async fn make_now(&self, spec: &ContainerSpec) -> Result<Container, EngineError> {
        let began = Instant::now();
        loop {
            match self.engine.make(spec).await {
                Err(EngineError::Unavailable(_)) if began.elapsed() < self.times.patience => {
                    sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// Gives up whatever waits, and makes nothing ahead any more.
    pub async fn close(&self) {
        self.closed.cancel();
        self.seats.close();
        // The second time for what was put there in between.
        drop(self.stock().clear());
        if timeout(CLOSE, self.seats.wait()).await.is_err() {
            tracing::error!(seats = self.seats.len(), "the pool did not close in time");
        }
        drop(self.stock().clear());
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        // Nothing panics while it holds the lock.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets images go that nobody asks for any more.
async fn tidy(pool: Weak<Pool>, pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.stock().tidy(Instant::now());
    }
}

/// The language of a script that names none, whose interpreter costs next to nothing to end.
pub const SHELL: &str = "sh";

/// Gives a waiting container the limits that a request asks for, where they differ.
async fn adapt(
    mut container: Container,
    has: &ContainerSpec,
    wanted: &ContainerSpec,
) -> Result<Container, EngineError> {
    let limits = |spec: &ContainerSpec| (spec.memory, spec.cpu_millis, spec.pids);
    if limits(has) != limits(wanted) {
        container.limit(wanted).await?;
    }
    Ok(container)
}

#[cfg(test)]
mod tests;
