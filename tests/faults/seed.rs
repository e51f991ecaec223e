//! The schedule of a run: everything that a fault leaves to chance comes from one seed.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::support::Engine;
use super::table::say;

/// `ONCEBOX_FAULT_SEED`, as a row of the table has printed it, plays the same schedule again.
pub static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("ONCEBOX_FAULT_SEED") {
    Ok(seed) => seed.parse().expect("ONCEBOX_FAULT_SEED is a number"),
    Err(_) => {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    }
});

/// `ONCEBOX_FAULTS=full` has what the issue says of a stopped daemon take as long as it says.
pub fn full() -> bool {
    std::env::var("ONCEBOX_FAULTS").is_ok_and(|how| how == "full")
}

/// What fills minutes is left out unless all is asked for: on Docker, faults of which another one
/// of the same kind is chosen this time, or that are not the engine's at all.
pub fn left_out(engine: Engine, kind: &str, at: u64, of: u64) -> bool {
    let left = engine == Engine::Docker && !full() && Random::of(kind).below(of) != at;
    if left {
        say(&format!("{engine}: {kind} {} of {of} is left to ONCEBOX_FAULTS=full", at + 1));
    }
    left
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The choices of one fault: the same for a seed, whatever else runs.
    pub fn of(name: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(*SEED ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn millis(&mut self, least: u64, end: u64) -> Duration {
        Duration::from_millis(least + self.below(end - least))
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len() as u64);
        &all[usize::try_from(at).expect("an index")]
    }
}
