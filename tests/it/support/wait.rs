//! Waiting for a condition: the only place that sleeps; and how long it took.

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
        // Often at first, for what takes milliseconds; seldom later, to leave the machine alone.
        let pause = began.elapsed() / 20;
        std::thread::sleep(pause.clamp(Duration::from_micros(200), Duration::from_millis(10)));
    }
}

/// What so many of a hundred took at the most.
pub fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}
