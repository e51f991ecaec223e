//! The schedule of a run: everything that a fault leaves to chance comes from one seed.

use std::sync::LazyLock;

use super::support::Engine;
use super::support::chance::Chance;
use super::support::length::full;
use super::table::say;

/// `ONCEBOX_FAULT_SEED`, as a row of the table has printed it, plays the same schedule again.
pub static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("ONCEBOX_FAULT_SEED") {
    Ok(seed) => seed.parse().expect("ONCEBOX_FAULT_SEED is a number"),
    Err(_) => Chance::seed(),
});

/// What fills minutes is left out unless all is asked for: on Docker, faults of which another one
/// of the same kind is chosen this time, or that are not the engine's at all.
pub fn left_out(engine: Engine, kind: &str, at: u64, of: u64) -> bool {
    let left = engine == Engine::Docker && !full() && chance(kind).below(of) != at;
    if left {
        say(&format!("{engine}: {kind} {} of {of} is left to ONCEBOX_TEST_LENGTH=full", at + 1));
    }
    left
}

/// The choices of one fault: the same for a seed, whatever else runs.
pub fn chance(name: &str) -> Chance {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Chance::of(name.bytes().fold(*SEED ^ 0xcbf2_9ce4_8422_2325, mix))
}
