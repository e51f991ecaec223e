//! The right to run now.
//!
//! There are so many permits, and each runs one script. When all are in use, executions wait in a
//! bounded queue: callers in turn, and each caller's own in the order they came. Its rules are in
//! [`queue`].

mod caller;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Failure;
pub use caller::Caller;
use queue::{Joined, Queue, Ticket};

/// How soon a refused caller may come back, at the least and at the most.
const RETRY_SOONEST: Duration = Duration::from_secs(1);
const RETRY_LATEST: Duration = Duration::from_secs(60);
/// How soon another instance should have taken over from one that is closing.
const RETRY_DRAINING: Duration = Duration::from_secs(5);

/// How many executions run at once, how many may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionOptions {
    pub max_concurrent: usize,
    pub queue_limit: usize,
    pub queue_timeout: Duration,
}

/// Gives permits: at once while there are any, then to the queue.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    queue_timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    max_concurrent: usize,
}

#[derive(Debug)]
struct State {
    /// Permits that nobody holds. While there are any, nobody waits.
    free: usize,
    queue: Queue<Answer>,
    closed: bool,
    /// How long a permit is usually held: a moving average.
    usual: Duration,
}

type Answer = oneshot::Sender<Result<Permit, Busy>>;

/// The right to run one script now. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    since: Instant,
}

/// No permit: a stable word for why, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// `queue_full`, `queue_timeout` or `draining`.
    pub code: &'static str,
    /// At least one second.
    pub retry_after: Duration,
}

/// Somebody who waits. Dropped, the place is given back; a permit that has come by then is in
/// `answer`, and goes on to the next when that is dropped.
struct Place<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Permit, Busy>>,
}

enum Asked<'a> {
    Permit(Permit),
    Place(Place<'a>),
}

impl Admission {
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let AdmissionOptions { max_concurrent, queue_limit, queue_timeout } = options;
        let state = Mutex::new(State {
            free: max_concurrent,
            queue: Queue::new(queue_limit),
            closed: false,
            usual: Duration::ZERO,
        });
        Self { shared: Arc::new(Shared { state, max_concurrent }), queue_timeout }
    }

    /// Waits for a permit, in the queue if need be. Dropping the future gives the place back.
    ///
    /// # Errors
    /// [`Busy`]: `queue_timeout` after the wait; `queue_full` and `draining` at once, or during the
    /// wait, when the place goes to another caller or the service stops.
    pub async fn enter(&self, caller: &Caller) -> Result<Permit, Busy> {
        let mut place = match self.shared.ask(caller)? {
            Asked::Permit(permit) => return Ok(permit),
            Asked::Place(place) => place,
        };
        match timeout(self.queue_timeout, &mut place.answer).await {
            Ok(answer) => answer.unwrap_or(Err(DRAINING)),
            Err(_) => Err(self.shared.busy(&self.shared.state(), "queue_timeout")),
        }
    }

    /// Gives no more permits, and sends away who waits. Permits in use stay valid.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        let waiting: Vec<_> = std::iter::from_fn(|| state.queue.next()).collect();
        drop(state);
        for answer in waiting {
            // Who has left meanwhile needs no answer.
            let _ = answer.send(Err(DRAINING));
        }
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.state().queue.len()
    }
}

const DRAINING: Busy = Busy { code: "draining", retry_after: RETRY_DRAINING };

impl Shared {
    fn ask(self: &Arc<Self>, caller: &Caller) -> Result<Asked<'_>, Busy> {
        let mut state = self.state();
        if state.closed {
            return Err(DRAINING);
        }
        if state.free > 0 {
            state.free -= 1;
            return Ok(Asked::Permit(self.permit()));
        }
        let (sender, answer) = oneshot::channel();
        let busy = self.busy(&state, "queue_full");
        let Ok(Joined { ticket, displaced }) = state.queue.join(caller, sender) else {
            return Err(busy);
        };
        drop(state);
        if let Some(displaced) = displaced {
            let _ = displaced.send(Err(busy));
        }
        Ok(Asked::Place(Place { shared: self, ticket, answer }))
    }

    /// To whoever is next, or back.
    fn pass_on(self: &Arc<Self>, held: Duration) {
        let mut state = self.state();
        state.usual = state.usual - state.usual / 8 + held / 8;
        let Some(next) = state.queue.next() else {
            state.free += 1;
            return;
        };
        drop(state);
        self.give(next);
    }

    /// Must be called without the lock: where nobody waits for this answer any more, the permit is
    /// dropped at once, and goes on to the one after.
    fn give(self: &Arc<Self>, next: Answer) {
        let _ = next.send(Ok(self.permit()));
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { shared: Arc::clone(self), since: Instant::now() }
    }

    /// When the queue as it is now should have been worked off.
    fn busy(&self, state: &State, code: &'static str) -> Busy {
        let ahead = u32::try_from(state.queue.len() + 1).unwrap_or(u32::MAX);
        let side_by_side = u32::try_from(self.max_concurrent.max(1)).unwrap_or(u32::MAX);
        let wait = state.usual.saturating_mul(ahead) / side_by_side;
        Busy { code, retry_after: wait.clamp(RETRY_SOONEST, RETRY_LATEST) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.pass_on(self.since.elapsed());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.state().queue.leave(&self.ticket);
    }
}

impl From<Busy> for Failure {
    fn from(Busy { code, retry_after }: Busy) -> Self {
        Self::Busy { code, retry_after }
    }
}

#[cfg(test)]
mod tests;
