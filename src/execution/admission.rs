//! The right to run now.
//!
//! There are so many permits, and each runs one script. When all are in use, or as many as their
//! caller may have, executions wait in a queue: callers in turn, and each caller's own in the order
//! they came. Its rules are in [`queue`].

mod caller;
mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Failure;
pub use caller::{Allowance, Caller, Lane, Who};
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
    /// Permits that nobody holds. While there are any, nobody waits who may have one.
    free: usize,
    /// How many each caller holds, of those who hold any.
    held: HashMap<Who, usize>,
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
    who: Who,
    since: Instant,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyCode {
    QueueFull,
    QueueTimeout,
    Draining,
}

/// No permit: why, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub code: BusyCode,
    /// At least one second.
    pub retry_after: Duration,
}

/// Where somebody stands in the queue.
#[derive(Debug, Clone)]
pub struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Place {
    /// How many are served before, as it looks now; `None` when the waiting is over.
    #[must_use]
    pub fn ahead(&self) -> Option<usize> {
        self.shared.state().queue.ahead(&self.ticket)
    }
}

/// Somebody who waits. Dropped, the place is given back; a permit that has come by then is in
/// `answer`, and goes on to the next when that is dropped.
struct Waiting {
    place: Place,
    answer: oneshot::Receiver<Result<Permit, Busy>>,
}

enum Asked {
    Permit(Permit),
    Waiting(Waiting),
}

impl Admission {
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let AdmissionOptions { max_concurrent, queue_limit, queue_timeout } = options;
        let state = Mutex::new(State {
            free: max_concurrent,
            held: HashMap::new(),
            queue: Queue::new(queue_limit),
            closed: false,
            usual: Duration::ZERO,
        });
        Self { shared: Arc::new(Shared { state, max_concurrent }), queue_timeout }
    }

    /// Waits for a permit, in the queue if need be; `waits` is told where. Dropping the future gives
    /// the place back.
    ///
    /// # Errors
    /// [`Busy`]: `QueueTimeout` after the wait; `QueueFull` and `Draining` at once, or during the
    /// wait, when the place goes to another caller or the service stops. In the background it can
    /// only be `Draining`.
    pub async fn enter(&self, caller: &Caller, waits: impl FnOnce(Place)) -> Result<Permit, Busy> {
        let mut waiting = match self.shared.ask(caller)? {
            Asked::Permit(permit) => return Ok(permit),
            Asked::Waiting(waiting) => waiting,
        };
        waits(waiting.place.clone());
        let answered = match caller.lane {
            Lane::Interactive => timeout(self.queue_timeout, &mut waiting.answer).await,
            Lane::Background => Ok((&mut waiting.answer).await),
        };
        match answered {
            Ok(answer) => answer.unwrap_or(Err(DRAINING)),
            Err(_) => Err(self.shared.busy(&self.shared.state(), BusyCode::QueueTimeout)),
        }
    }

    /// Gives no more permits, and sends away who waits. Permits in use stay valid.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        let waiting: Vec<_> = std::iter::from_fn(|| state.queue.next(|_, _| true)).collect();
        drop(state);
        for (_, answer) in waiting {
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

const DRAINING: Busy = Busy { code: BusyCode::Draining, retry_after: RETRY_DRAINING };

impl Shared {
    fn ask(self: &Arc<Self>, caller: &Caller) -> Result<Asked, Busy> {
        let mut state = self.state();
        if state.closed {
            return Err(DRAINING);
        }
        if state.free > 0 && state.holds(&caller.who) < caller.concurrency() {
            state.hand_out(&caller.who);
            return Ok(Asked::Permit(self.permit(caller.who.clone())));
        }
        let (sender, answer) = oneshot::channel();
        let busy = self.busy(&state, BusyCode::QueueFull);
        let Ok(Joined { ticket, displaced }) = state.queue.join(caller, sender) else {
            return Err(busy);
        };
        drop(state);
        if let Some(displaced) = displaced {
            let _ = displaced.send(Err(busy));
        }
        let place = Place { shared: Arc::clone(self), ticket };
        Ok(Asked::Waiting(Waiting { place, answer }))
    }

    /// To whoever is next and may have it, or back.
    fn pass_on(self: &Arc<Self>, who: &Who, held: Duration) {
        let mut state = self.state();
        state.usual = state.usual - state.usual / 8 + held / 8;
        state.take_back(who);
        let next = state.next();
        drop(state);
        if let Some((who, answer)) = next {
            self.give(who, answer);
        }
    }

    /// Must be called without the lock: where nobody waits for this answer any more, the permit is
    /// dropped at once, and goes on to the one after.
    fn give(self: &Arc<Self>, who: Who, next: Answer) {
        let _ = next.send(Ok(self.permit(who)));
    }

    fn permit(self: &Arc<Self>, who: Who) -> Permit {
        Permit { shared: Arc::clone(self), who, since: Instant::now() }
    }

    /// When the queue as it is now should have been worked off.
    fn busy(&self, state: &State, code: BusyCode) -> Busy {
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

impl State {
    fn holds(&self, who: &Who) -> usize {
        self.held.get(who).copied().unwrap_or(0)
    }

    fn hand_out(&mut self, who: &Who) {
        self.free -= 1;
        *self.held.entry(who.clone()).or_default() += 1;
    }

    fn take_back(&mut self, who: &Who) {
        self.free += 1;
        match self.holds(who) {
            0 | 1 => drop(self.held.remove(who)),
            more => drop(self.held.insert(who.clone(), more - 1)),
        }
    }

    /// Hands a permit out to whoever waits first and may have it.
    fn next(&mut self) -> Option<(Who, Answer)> {
        let held = &self.held;
        let may = |who: &Who, most| held.get(who).copied().unwrap_or(0) < most;
        let (who, answer) = if self.free > 0 { self.queue.next(may)? } else { return None };
        self.hand_out(&who);
        Some((who, answer))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.pass_on(&self.who, self.since.elapsed());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.place.shared.state().queue.leave(&self.place.ticket);
    }
}

impl From<Busy> for Failure {
    fn from(Busy { code, retry_after }: Busy) -> Self {
        Self::Busy { code, retry_after }
    }
}

#[cfg(test)]
mod tests;
