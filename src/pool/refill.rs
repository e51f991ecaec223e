//! When the next container is made in the place of one that was taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::slot::Slot;

/// A script that takes longer than this is not made faster by waiting.
pub(super) const HEAD_START: Duration = Duration::from_millis(3);

/// Holds a place's refill back until this is dropped, or for a head start at the most: making a
/// container takes the processor longer than a short script runs, and the two would only slow each
/// other down.
#[derive(Debug)]
pub struct Refill(Arc<Notify>);

impl Refill {
    /// For a place that was just emptied. The waiting is done by the thread that calls, so that no
    /// other is woken before the script has its head start.
    pub(super) fn of(slot: Arc<Slot>) -> Self {
        let over = Arc::new(Notify::new());
        let waits = Arc::clone(&over);
        tokio::spawn(async move {
            // The seat is told even when this runtime ends first.
            let told = Told(slot);
            let _ = timeout(HEAD_START, waits.notified()).await;
            drop(told);
        });
        Self(over)
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

struct Told(Arc<Slot>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.tell();
    }
}
