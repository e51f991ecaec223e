//! What waits at all times: images that the operator names, each with a number.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::DropGuard;
use tracing::warn;

use super::{Key, Pool, Recipe};
use crate::registry::{Image, Reference};

/// After an image could not be found, and doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// So many containers of an image wait at all times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    pub image: Reference,
    pub count: usize,
}

impl Pool {
    /// Keeps a floor until the guard is dropped, whatever image its reference leads to. `recipe`
    /// says what is made ahead of an image that nobody has asked for yet.
    pub fn keep(
        self: &Arc<Self>,
        floor: Floor,
        recipe: impl Fn(Image) -> Recipe + Send + Sync + 'static,
    ) -> DropGuard {
        let pool = Arc::clone(self);
        self.unknown.fetch_add(1, Ordering::AcqRel);
        let over = self.closed.child_token();
        let guard = over.clone().drop_guard();
        let life = async move {
            let mut held = Held { pool: &pool, floor: &floor, key: None, looked: false };
            over.run_until_cancelled(pool.follow(&mut held, recipe)).await;
        };
        self.seats.spawn_on(life, &self.runtime);
        guard
    }

    /// Looks the image up, now and whenever it may have changed.
    async fn follow(self: &Arc<Self>, held: &mut Held<'_>, recipe: impl Fn(Image) -> Recipe) {
        let floor = held.floor;
        let mut pause = FIRST_PAUSE;
        loop {
            let changed = self.registry.changed();
            // An image that has yet to be pulled holds nothing up.
            if self.registry.images().find(&floor.image).await.is_err() {
                held.look();
            }
            match self.registry.named(&floor.image).await {
                Ok(image) => {
                    pause = FIRST_PAUSE;
                    let recipe = recipe(image);
                    let key = Key::of(&recipe);
                    if held.key.as_ref() != Some(&key) {
                        held.release();
                        self.stock().hold(&key, &recipe, floor.count);
                        self.grow(&key);
                        held.key = Some(key);
                    }
                    held.look();
                    changed.await;
                }
                Err(error) => {
                    warn!(image = %floor.image, %error, "nothing waits of this image");
                    held.look();
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = changed => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// What of a floor must be given back at its end.
struct Held<'a> {
    pool: &'a Pool,
    floor: &'a Floor,
    /// Of the image that is kept waiting now.
    key: Option<Key>,
    /// The image was looked for, once.
    looked: bool,
}

impl Held<'_> {
    fn look(&mut self) {
        if !std::mem::replace(&mut self.looked, true) {
            self.pool.unknown.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn release(&mut self) {
        if let Some(old) = self.key.take() {
            self.pool.stock().release(&old, self.floor.count);
            // What a name has left behind is hardly asked for any more.
            self.pool.discard(&old.image);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.look();
        self.release();
        self.pool.registry.forget(&self.floor.image);
    }
}
