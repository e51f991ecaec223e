//! How much of an image's allowance each of its layers may take, where several come at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::registry::unpack::Caps;

/// What an image may still unpack to. The shares that are out never add up to more than there is,
/// so that no image takes more of the disk than it may, not even for a moment.
#[derive(Debug)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    left: Caps,
    /// Layers that may come at once besides those that do.
    free: usize,
    /// Layers that have not begun.
    waiting: usize,
}

impl Budget {
    /// For so many layers, so many of them at once.
    pub(super) fn new(left: Caps, layers: usize, at_once: usize) -> Self {
        Self(Mutex::new(State { left, free: at_once, waiting: layers }))
    }

    /// A share for the next layer.
    pub(super) fn take(&self) -> Caps {
        let mut state = self.state();
        let parts = state.free.min(state.waiting).max(1) as u64;
        let share = Caps { bytes: state.left.bytes / parts, entries: state.left.entries / parts };
        state.left.bytes -= share.bytes;
        state.left.entries -= share.entries;
        state.free = state.free.saturating_sub(1);
        state.waiting = state.waiting.saturating_sub(1);
        share
    }

    /// Returns what a layer did not use of its share.
    pub(super) fn give_back(&self, share: Caps, used: Caps) {
        let mut state = self.state();
        state.left.bytes += share.bytes.saturating_sub(used.bytes);
        state.left.entries += share.entries.saturating_sub(used.entries);
        state.free += 1;
    }

    /// All that is left.
    pub(super) fn left(&self) -> Caps {
        self.state().left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(bytes: u64, entries: u64) -> Caps {
        Caps { bytes, entries }
    }

    #[test]
    fn shares_never_add_up_to_more_than_there_is() {
        let budget = Budget::new(caps(90, 30), 5, 3);
        let (first, second, third) = (budget.take(), budget.take(), budget.take());
        assert_eq!([first, second, third], [caps(30, 10); 3]);
        assert_eq!(budget.left(), caps(0, 0));
        budget.give_back(first, caps(10, 1));
        assert_eq!(budget.take(), caps(20, 9));
        budget.give_back(second, caps(0, 0));
        budget.give_back(third, caps(0, 0));
        assert_eq!(budget.take(), caps(60, 20));
    }

    #[test]
    fn the_only_layer_may_have_all() {
        assert_eq!(Budget::new(caps(90, 30), 1, 3).take(), caps(90, 30));
    }
}
