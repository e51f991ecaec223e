//! Doing one thing over and over for as long as another one takes.

use std::sync::atomic::{AtomicBool, Ordering};

/// Tells that it is over, however that came.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Plays `attack`, and meanwhile does `again` in a thread of its own, of which each time is returned.
pub fn meanwhile<T, S: Send>(
    mut again: impl FnMut() -> S + Send,
    attack: impl FnOnce() -> T,
) -> (T, Vec<S>) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Ordering::SeqCst) {
                seen.push(again());
            }
            seen
        });
        let outcome = {
            // Without it nobody would ever join the thread of an attack that panics.
            let _over = Over(&over);
            attack()
        };
        (outcome, beside.join().expect("whatever is done meanwhile goes well"))
    })
}
