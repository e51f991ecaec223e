//! The signals by which a run is ended early.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Which signal came, and whether another one did.
pub(super) struct Stops {
    /// 0 as long as there was none.
    first: Arc<AtomicU8>,
    pub(super) force: CancellationToken,
}

impl Stops {
    /// The first SIGINT, SIGTERM or SIGHUP cancels, the second forces. One that this process was
    /// started to ignore, as by nohup(1), still is.
    pub(super) fn heard(cancel: &CancellationToken) -> io::Result<Self> {
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status")?);
        let listen = |kind: SignalKind| {
            let heeded = !ignored(kind);
            heeded.then(|| signal(kind)).transpose()
        };
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let stops = Self { first: Arc::default(), force: CancellationToken::new() };
        let first = Arc::clone(&stops.first);
        let tokens = [cancel.clone(), stops.force.clone()];
        tokio::spawn(async move {
            for token in tokens {
                let kind = tokio::select! {
                    () = next(&mut interrupt) => SignalKind::interrupt(),
                    () = next(&mut terminate) => SignalKind::terminate(),
                    () = next(&mut hang_up) => SignalKind::hangup(),
                };
                let number = u8::try_from(kind.as_raw_value()).unwrap_or_default();
                let _ = first.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
                token.cancel();
            }
        });
        Ok(stops)
    }

    /// The number of the first signal, if one came.
    pub(super) fn first(&self) -> Option<u8> {
        Some(self.first.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// What a process ignores, by its `/proc/PID/status` (proc_pid_status(5)).
fn ignored(status: &str) -> impl Fn(SignalKind) -> bool + use<> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    move |kind| mask >> (kind.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let ignored = ignored("Name:\tx\nSigBlk:\tffff\nSigIgn:\t0000000000001003\n");
        assert!(ignored(SignalKind::hangup()));
        assert!(ignored(SignalKind::interrupt()));
        assert!(!ignored(SignalKind::terminate()));
    }
}
