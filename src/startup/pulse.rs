//! Whether all is well around the service. A process that is stopped, a clock that is set and a table
//! of open files that is full end nothing here, and explain a lot to whoever reads the log.

use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;
use tracing::warn;

use crate::telemetry;
use crate::telemetry::metrics::{Fault, Metrics};

const BEAT: Duration = Duration::from_millis(500);
/// What is no more than this is a busy machine.
const MUCH: f64 = 1.0;

/// Looks for as long as it is polled.
pub(super) async fn watch(metrics: &Metrics) {
    let (mut at, mut clock, mut lost) = (Instant::now(), SystemTime::now(), telemetry::lost());
    let mut exhausted = false;
    loop {
        sleep(BEAT).await;
        // One more of what is open already needs nothing but a descriptor.
        let none_left = std::io::stderr().as_fd().try_clone_to_owned().is_err();
        if none_left && !exhausted {
            metrics.fault(Fault::NoDescriptors);
            warn!(
                "the service can open no more files: raise its limit (ulimit -Hn), or lower MAX_CONNECTIONS"
            );
        }
        exhausted = none_left;
        let passed = at.elapsed().as_secs_f64();
        let shown = seconds(clock, SystemTime::now());
        (at, clock) = (Instant::now(), SystemTime::now());
        let still = passed - BEAT.as_secs_f64();
        if still > MUCH {
            metrics.fault(Fault::StoodStill);
            warn!("the service stood still for {still:.1} s: it was stopped, or had no processor");
        }
        let set = shown - passed;
        if set.abs() > MUCH {
            metrics.fault(Fault::ClockSet);
            warn!("the clock was set by {set:+.1} s; no deadline goes by it");
        }
        let now = telemetry::lost();
        // While lines are still lost, this one would be as well, and nobody would ever read it.
        if now > lost && !telemetry::stuck() {
            warn!("{} lines of this log could not be written", now - lost);
            lost = now;
        }
    }
}

/// From one moment to another, by a clock that may be set.
fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(forward) => forward.as_secs_f64(),
        Err(back) => -back.duration().as_secs_f64(),
    }
}
