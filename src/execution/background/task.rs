//! One execution that has not ended, and whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Now;
use crate::execution::live::{Live, Stage};
use crate::execution::store::kept::Head;
use crate::execution::store::now;

/// One execution, from when it is accepted to when its end is written down.
#[derive(Debug)]
pub struct Task {
    /// As it was accepted.
    pub(super) head: Head,
    pub(super) live: Arc<Live>,
    /// Of its request.
    pub(super) bytes: usize,
    pub(super) cancelled: CancellationToken,
    why: OnceLock<Why>,
    /// Milliseconds since 1970; 0 before.
    started: AtomicU64,
    ended: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// Why an execution was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its owner asked for that.
    Asked,
    /// Nobody waited for the answer any more.
    Left,
    /// The service stops.
    Stopped,
}

/// Clients that wait for the answer of one.
#[derive(Debug, Default)]
struct Waiting {
    clients: usize,
    /// The last one has left.
    over: bool,
}

/// A client that waits for an answer. When the last one is dropped, the execution is cancelled.
#[derive(Debug)]
pub struct Waiter(Arc<Task>);

impl Task {
    pub(super) fn new(head: Head, bytes: usize) -> Self {
        Self {
            head,
            live: Arc::default(),
            bytes,
            cancelled: CancellationToken::new(),
            why: OnceLock::new(),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Ends it before its time; the first reason counts.
    pub(super) fn cancel(&self, why: Why) {
        let _ = self.why.set(why);
        self.cancelled.cancel();
    }

    pub(super) fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// One more who waits for it; `None` when it is being cancelled because nobody did.
    pub(super) fn wait(self: &Arc<Self>) -> Option<Waiter> {
        let mut waiting = self.waiting();
        if waiting.over {
            return None;
        }
        waiting.clients += 1;
        Some(Waiter(Arc::clone(self)))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    pub(super) fn now(&self) -> Now {
        self.live.look(|state| match &state.stage {
            Stage::Accepted => Now::Queued(None),
            Stage::Queued(place) => Now::Queued(place.ahead()),
            Stage::Running => Now::Running,
            Stage::Ended(_) => Now::Over,
        })
    }

    /// The head as it is now.
    pub(super) fn head(&self) -> Head {
        let time = |time: &AtomicU64| Some(time.load(Ordering::Relaxed)).filter(|time| *time > 0);
        Head { started: time(&self.started), ended: time(&self.ended), ..self.head.clone() }
    }

    /// Its script has begun; whether that is news. A guest may say so as often as it likes.
    pub(super) fn begin(&self) -> bool {
        let order = Ordering::Relaxed;
        self.started.compare_exchange(0, now(), order, order).is_ok()
    }

    /// It has ended now.
    pub(super) fn over(&self) {
        self.ended.store(now(), Ordering::Relaxed);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.clients -= 1;
        waiting.over = waiting.clients == 0;
        let over = waiting.over;
        drop(waiting);
        if over {
            self.0.cancel(Why::Left);
        }
    }
}
