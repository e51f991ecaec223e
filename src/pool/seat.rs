//! The life of a seat: make a container, wait with it, begin again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{debug, warn};

use super::slot::{Left, Slot};
use super::stock::Made;
use super::{Key, Pool, Recipe};
use crate::engine::EngineError;

/// After a container could not be made ahead, and doubled each time that it happens again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Pool {
    /// Adds seats for as long as they are wanted.
    pub(super) fn grow(self: &Arc<Self>, key: &Key) {
        loop {
            if self.closed.is_cancelled() || !self.stock().seat(key, Instant::now()) {
                return;
            }
            let seat = Seat { pool: Arc::clone(self), key: key.clone() };
            let closed = self.closed.clone();
            let life = async move { closed.run_until_cancelled(seat.sit()).await };
            self.seats.spawn_on(life, &self.runtime);
        }
    }
}

/// A place for one container; given back when dropped.
struct Seat {
    pool: Arc<Pool>,
    key: Key,
}

impl Seat {
    async fn sit(self) {
        let mut pause = FIRST_PAUSE;
        while self.is_wanted() {
            match self.make().await {
                Ok(slot) => {
                    pause = FIRST_PAUSE;
                    self.wait(&slot).await;
                }
                Err(error) => {
                    self.pool.metrics.pool_failed();
                    let image = self.key.image.as_str();
                    warn!(image, %error, "a container could not be made ahead");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.pool.stock().stays(&self.key, Instant::now())
    }

    /// Makes one container and puts it where it can be taken.
    async fn make(&self) -> Result<Arc<Slot>, EngineError> {
        let closing = |_| EngineError::Unavailable("the pool is closing".into());
        let turn = self.pool.turns.acquire().await.map_err(closing)?;
        let gone = || EngineError::Make("nobody asks for this kind any more".into());
        let recipe = self.pool.stock().recipe(&self.key).ok_or_else(gone)?;
        let began = Instant::now();
        let (slot, memory) = self.make_ready(&recipe).await?;
        drop(turn);
        let took = began.elapsed();
        self.pool.metrics.pool_made(took);
        self.pool.stock().put(&self.key, Arc::clone(&slot), Made { took, memory });
        self.pool.note();
        Ok(slot)
    }

    async fn make_ready(&self, recipe: &Recipe) -> Result<(Arc<Slot>, Option<u64>), EngineError> {
        let mut container = self.pool.engine.make_ahead(&recipe.spec).await?;
        let Some(ahead) = &recipe.ahead else {
            return Ok((Slot::new(container, recipe.spec.clone(), false), None));
        };
        let started = container.prestart(&ahead.order).await?;
        if !started.waits {
            debug!(image = self.key.image, language = ahead.language, "can't be started ahead");
            self.pool.stock().only_guest(&self.key);
        }
        Ok((Slot::new(container, recipe.spec.clone(), started.waits), started.memory))
    }

    async fn wait(&self, slot: &Arc<Slot>) {
        let left = slot.left(&self.pool.times, || self.is_wanted()).await;
        self.pool.stock().remove(&self.key, slot);
        self.pool.note();
        match left {
            Left::Taken => {}
            Left::Died => {
                warn!(image = self.key.image, "a waiting container died; another takes its place");
                self.pool.metrics.pool_died();
            }
            Left::Expired => self.pool.metrics.pool_expired(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.stock().leave(&self.key);
    }
}
