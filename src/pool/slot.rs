//! One waiting container, and whoever gets to it first: a request, its own end, or its age.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Times;
use crate::engine::{Container, ContainerSpec};

/// A place in which one container waits.
pub(super) struct Slot {
    place: Mutex<Place>,
    left: Notify,
    /// What it was made with.
    pub(super) spec: ContainerSpec,
    /// Its interpreter waits for the program.
    pub(super) prestarted: bool,
    born: Instant,
}

enum Place {
    Waits(Container),
    Empty(Left),
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Taken,
    /// The container can't be used any more.
    Died,
    /// It was thrown away, too old or no longer wanted.
    Expired,
}

impl Slot {
    pub(super) fn new(container: Container, spec: ContainerSpec, prestarted: bool) -> Arc<Self> {
        let place = Mutex::new(Place::Waits(container));
        let born = Instant::now();
        Arc::new(Self { place, left: Notify::new(), spec, prestarted, born })
    }

    /// A place that was emptied at once, for tests of what counts places.
    #[cfg(test)]
    pub(super) fn empty_for_test(recipe: &super::Recipe) -> Arc<Self> {
        let place = Mutex::new(Place::Empty(Left::Taken));
        let (left, spec, born) = (Notify::new(), recipe.spec.clone(), Instant::now());
        Arc::new(Self { place, left, spec, prestarted: false, born })
    }

    /// The container, if it is still there and still alive. Its seat learns of it by
    /// [`Slot::tell`].
    pub(super) fn take(&self) -> Option<Container> {
        let mut container = self.empty(Left::Taken)?;
        let mut nobody = Context::from_waker(Waker::noop());
        if container.poll_lost(&mut nobody).is_pending() {
            return Some(container);
        }
        *self.lock() = Place::Empty(Left::Died);
        self.tell();
        None
    }

    /// Tells the seat that its container is gone, so that it makes another.
    pub(super) fn tell(&self) {
        self.left.notify_one();
    }

    /// Ends the container, if it is still there.
    pub(super) fn discard(&self) {
        drop(self.empty(Left::Expired));
        self.tell();
    }

    /// Takes the container out, and says why.
    fn empty(&self, why: Left) -> Option<Container> {
        let mut place = self.lock();
        match std::mem::replace(&mut *place, Place::Empty(why)) {
            Place::Waits(container) => Some(container),
            // The first reason stays.
            before => {
                *place = before;
                None
            }
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Waits until the container is gone from here; `wanted` is asked now and then.
    pub(super) async fn left(&self, times: &Times, wanted: impl Fn() -> bool) -> Left {
        loop {
            let next = times.look.min(times.max_age.saturating_sub(self.age()));
            tokio::select! {
                biased;
                () = self.left.notified() => {}
                () = poll_fn(|cx| self.poll_lost(cx)) => drop(self.empty(Left::Died)),
                () = sleep(next) => if self.age() >= times.max_age || !wanted() {
                    drop(self.empty(Left::Expired));
                }
            }
            if let Place::Empty(why) = &*self.lock() {
                return *why;
            }
        }
    }

    fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Place::Waits(container) => container.poll_lost(cx),
            // Whoever emptied it says so by the notice.
            Place::Empty(_) => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        // Nothing panics while it holds the lock.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
