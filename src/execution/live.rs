//! An execution as those see it who follow it while it goes on: any number of them, each at his own
//! pace, and none of them holds it up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Failure;
use super::admission::Place;
use super::observer::Observer;
use super::outcome::Outcome;
use super::transcript::{Stream, Transcript};

/// How it ended.
pub type End = Arc<Result<Outcome, Failure>>;

/// One execution, from when it is accepted to its end.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
    /// Counts what happens.
    changes: watch::Sender<u64>,
}

/// What is known of it now.
#[derive(Debug, Default)]
pub struct State {
    pub stage: Stage,
    pub transcript: Transcript,
    /// The script has begun.
    pub started: bool,
}

/// How far it has come.
#[derive(Debug, Clone, Default)]
pub enum Stage {
    /// It has been accepted, or its image is being pulled.
    #[default]
    Accepted,
    /// It waits for its turn.
    Queued(Place),
    /// The script runs.
    Running,
    Ended(End),
}

impl Default for Live {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Live {
    /// One that is over.
    #[must_use]
    pub fn over(transcript: Transcript, end: End) -> Self {
        let started = end.is_ok();
        let state = State { stage: Stage::Ended(end), transcript, started };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// What is known now. The lock holds the execution up: it must not be kept.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    /// Says when there is something new since it was last asked, from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// It has ended.
    pub fn end(&self, end: End) {
        self.change(|state| {
            state.transcript.end();
            state.stage = Stage::Ended(end);
        });
    }

    /// Waits for its end.
    pub async fn ended(&self) -> End {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(end) = self.look(|state| state.stage.end().cloned()) {
                return end;
            }
            // The sender is this very value, so it is there.
            let _ = changes.changed().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// How it ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match self {
            Self::Ended(end) => Some(end),
            _ => None,
        }
    }
}

impl Observer for Live {
    fn waits(&self, place: Place) {
        self.change(|state| state.stage = Stage::Queued(place));
    }

    fn started(&self) {
        self.change(|state| {
            state.stage = Stage::Running;
            state.started = true;
        });
    }

    fn stdout(&self, bytes: &[u8]) {
        self.change(|state| state.transcript.push(Stream::Stdout, bytes));
    }

    fn stderr(&self, bytes: &[u8]) {
        self.change(|state| state.transcript.push(Stream::Stderr, bytes));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn followers_see_what_has_happened_and_are_woken_by_what_comes() {
        let live = Live::default();
        let mut changes = live.changes();
        assert!(changes.changed().now_or_never().is_none());
        live.started();
        live.stdout(b"a");
        assert!(changes.changed().now_or_never().is_some());
        assert!(changes.changed().now_or_never().is_none(), "once for all of it");
        assert!(live.look(|state| matches!(state.stage, Stage::Running)));
        assert_eq!(live.look(|state| state.transcript.position()), 1);

        let mut ended = Box::pin(live.ended());
        assert!(ended.as_mut().now_or_never().is_none());
        live.end(Arc::new(Err(Failure::Cancelled)));
        assert!(matches!(&*ended.await, Err(Failure::Cancelled)));
        assert!(matches!(&*live.ended().await, Err(Failure::Cancelled)), "also who comes later");
    }
}
