//! What waits at all times: images that the operator names, each with a number.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
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
    /// Keeps a floor from now on, whatever image its reference leads to. `recipe` says what is made
    /// ahead of an image that nobody has asked for yet.
    pub fn keep(
        self: &Arc<Self>,
        floor: Floor,
        recipe: impl Fn(Image) -> Recipe + Send + Sync + 'static,
    ) {
        let pool = Arc::clone(self);
        self.unknown.fetch_add(1, Ordering::AcqRel);
        let closed = self.closed.clone();
        let life = async move { closed.run_until_cancelled(pool.follow(floor, recipe)).await };
        self.seats.spawn_on(life, &self.runtime);
    }

    /// Looks the image up, now and whenever it may have changed.
    async fn follow(self: Arc<Self>, floor: Floor, recipe: impl Fn(Image) -> Recipe) {
        let mut kept: Option<Key> = None;
        let mut pause = FIRST_PAUSE;
        let mut looked = false;
        let mut look = || {
            if !std::mem::replace(&mut looked, true) {
                self.unknown.fetch_sub(1, Ordering::AcqRel);
            }
        };
        loop {
            let changed = self.registry.changed();
            // An image that has yet to be pulled holds nothing up.
            if self.registry.images().find(&floor.image).await.is_err() {
                look();
            }
            match self.registry.named(&floor.image).await {
                Ok(image) => {
                    pause = FIRST_PAUSE;
                    let recipe = recipe(image);
                    let key = Key::of(&recipe);
                    if kept.as_ref() != Some(&key) {
                        if let Some(old) = kept.take() {
                            self.stock().release(&old, floor.count);
                            // What a name has left behind is hardly asked for any more.
                            self.discard(&old.image);
                        }
                        self.stock().hold(&key, &recipe, floor.count);
                        self.grow(&key);
                        kept = Some(key);
                    }
                    look();
                    changed.await;
                }
                Err(error) => {
                    warn!(image = %floor.image, %error, "nothing waits of this image");
                    look();
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
