//! How long to wait before a registry is asked again.

use std::time::Duration;

use crate::internet::jittered;

/// After the first failure, and doubled with each.
const BASE: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(15);

/// The pause after so many failed attempts: at random between half and all of what is doubled each
/// time, so that those who failed together do not come back together.
pub(super) fn pause(failed: u32) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    jittered(BASE.saturating_mul(1 << doublings).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_never_fall_below_half() {
        for (failed, most) in [(1, 500), (2, 1000), (3, 2000), (6, 15_000), (u32::MAX, 15_000)] {
            let most = Duration::from_millis(most);
            let pauses: Vec<_> = (0..200).map(|_| pause(failed)).collect();
            assert!(pauses.iter().all(|pause| (most / 2..=most).contains(pause)), "{pauses:?}");
            // They are spread over all of that range.
            assert!(pauses.iter().any(|pause| *pause < most * 6 / 10), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause > most * 9 / 10), "{pauses:?}");
        }
    }
}
