//! Waiting for a condition: the only place that sleeps.

use std::time::{Duration, Instant};

/// Asks until `ready` answers, at most for `limit`.
///
/// # Panics
/// When the time is over, with `what` was awaited.
pub fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(began.elapsed() < limit, "after {limit:?} still waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
