//! Who follows an execution while it goes on.

use super::admission::Place;

/// Is told what happens, by the execution itself: every method returns at once.
pub trait Observer: Send + Sync {
    /// It waits for its turn; more than once where its image had to be pulled meanwhile.
    fn waits(&self, _place: Place) {}

    /// The script begins.
    fn started(&self) {}

    /// Output that is kept, in the order it was written, as far as the two streams have one.
    fn stdout(&self, _bytes: &[u8]) {}

    /// As [`Observer::stdout`].
    fn stderr(&self, _bytes: &[u8]) {}
}

/// Nobody.
impl Observer for () {}
