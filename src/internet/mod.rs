//! What is the same for all that goes out to others: registries and webhooks.

mod address;
mod causes;
mod guard;
mod tls;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

pub(crate) use address::{is_private, is_public};
pub(crate) use causes::causes;
pub(crate) use guard::{NotPublic, PublicOnly, is_loopback, literal};
pub(crate) use tls::tls;

/// At random between half and all of it, so that those who failed together do not come back
/// together.
pub(crate) fn jittered(most: Duration) -> Duration {
    // The standard library seeds its hashers at random.
    let random = RandomState::new().hash_one(());
    #[allow(clippy::cast_precision_loss)]
    let share = random as f64 / u64::MAX as f64;
    most.mul_f64(0.5 + share / 2.0)
}
