//! The right to run now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::Failure;

/// How soon a refused caller may come back, at the least and at the most.
const RETRY_SOONEST: Duration = Duration::from_secs(1);
const RETRY_LATEST: Duration = Duration::from_secs(60);
/// How soon another instance should have taken over from one that is closing.
const RETRY_DRAINING: Duration = Duration::from_secs(5);

/// How many executions run at once, how many may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionOptions {
    pub max_concurrent: usize,
    pub queue_limit: usize,
    pub queue_timeout: Duration,
}

/// Gives permits: at once while there are any, then first come, first served.
#[derive(Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    places: Semaphore,
    options: AdmissionOptions,
    pace: Arc<Pace>,
}

/// The right to run one script now. It exists only while it is held.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
    since: Instant,
    pace: Arc<Pace>,
}

/// No permit: a stable word for why, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// `queue_full`, `queue_timeout` or `draining`.
    pub code: &'static str,
    /// At least one second.
    pub retry_after: Duration,
}

impl Admission {
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let options = AdmissionOptions {
            max_concurrent: options.max_concurrent.min(Semaphore::MAX_PERMITS),
            queue_limit: options.queue_limit.min(Semaphore::MAX_PERMITS),
            ..options
        };
        Self {
            permits: Arc::new(Semaphore::new(options.max_concurrent)),
            places: Semaphore::new(options.queue_limit),
            options,
            pace: Arc::default(),
        }
    }

    /// Waits for a permit, in the queue if need be. Dropping the future gives the place back.
    ///
    /// # Errors
    /// [`Busy`]: `queue_full` and `draining` at once, `queue_timeout` after the wait.
    pub async fn enter(&self) -> Result<Permit, Busy> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => return Ok(self.permit(permit)),
            Err(TryAcquireError::Closed) => return Err(draining()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let Ok(_place) = self.places.try_acquire() else { return Err(self.busy("queue_full")) };
        let permit = Arc::clone(&self.permits).acquire_owned();
        match timeout(self.options.queue_timeout, permit).await {
            Ok(Ok(permit)) => Ok(self.permit(permit)),
            Ok(Err(_)) => Err(draining()),
            Err(_) => Err(self.busy("queue_timeout")),
        }
    }

    /// Gives no more permits, and sends away who waits. Permits in use stay valid.
    pub fn close(&self) {
        self.permits.close();
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.options.queue_limit.saturating_sub(self.places.available_permits())
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        Permit { _permit: permit, since: Instant::now(), pace: Arc::clone(&self.pace) }
    }

    /// When the queue as it is now should have been worked off.
    fn busy(&self, code: &'static str) -> Busy {
        let ahead = u32::try_from(self.waiting() + 1).unwrap_or(u32::MAX);
        let side_by_side = u32::try_from(self.options.max_concurrent.max(1)).unwrap_or(u32::MAX);
        let wait = self.pace.usual().saturating_mul(ahead) / side_by_side;
        Busy { code, retry_after: wait.clamp(RETRY_SOONEST, RETRY_LATEST) }
    }
}

fn draining() -> Busy {
    Busy { code: "draining", retry_after: RETRY_DRAINING }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pace.note(self.since.elapsed());
    }
}

impl From<Busy> for Failure {
    fn from(Busy { code, retry_after }: Busy) -> Self {
        Self::Busy { code, retry_after }
    }
}

/// How long a permit is usually held: a moving average, in milliseconds.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    fn note(&self, held: Duration) {
        let held = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        // Two at once may lose one of the two; it is an estimate.
        let usual = self.0.load(Ordering::Relaxed);
        self.0.store(usual - usual / 8 + held / 8, Ordering::Relaxed);
    }

    fn usual(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn admission(max_concurrent: usize, queue_limit: usize) -> Admission {
        let queue_timeout = Duration::from_secs(600);
        Admission::new(AdmissionOptions { max_concurrent, queue_limit, queue_timeout })
    }

    fn now(admission: &Admission) -> Option<Result<Permit, Busy>> {
        admission.enter().now_or_never()
    }

    #[tokio::test]
    async fn permits_are_limited_and_come_back_on_drop() {
        let admission = admission(2, 0);
        let first = now(&admission).unwrap().unwrap();
        let _second = now(&admission).unwrap().unwrap();
        let busy = now(&admission).unwrap().unwrap_err();
        assert_eq!(busy.code, "queue_full");
        assert!(busy.retry_after >= Duration::from_secs(1));
        drop(first);
        assert!(now(&admission).unwrap().is_ok());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_first_come_first_served() {
        let admission = admission(1, 2);
        let running = now(&admission).unwrap().unwrap();
        let mut first = pin!(admission.enter());
        let mut second = pin!(admission.enter());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(admission.waiting(), 2);
        assert_eq!(now(&admission).unwrap().unwrap_err().code, "queue_full");

        drop(running);
        assert!(second.as_mut().now_or_never().is_none());
        let running = first.await.unwrap();
        drop(running);
        assert!(second.await.is_ok());
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_gives_the_place_back() {
        let admission = admission(1, 1);
        let running = now(&admission).unwrap().unwrap();
        assert!(now(&admission).is_none());
        assert_eq!(admission.waiting(), 0);
        drop(running);
        assert!(now(&admission).unwrap().is_ok());
    }

    #[tokio::test]
    async fn waiting_has_a_deadline() {
        let queue_timeout = Duration::from_millis(1);
        let options = AdmissionOptions { max_concurrent: 1, queue_limit: 1, queue_timeout };
        let admission = Admission::new(options);
        let _running = now(&admission).unwrap().unwrap();
        assert_eq!(admission.enter().await.unwrap_err().code, "queue_timeout");
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn closing_sends_away_the_waiting_and_the_new() {
        let admission = admission(1, 1);
        let running = now(&admission).unwrap().unwrap();
        let mut waiting = pin!(admission.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        admission.close();
        assert_eq!(waiting.await.unwrap_err().code, "draining");
        drop(running);
        assert_eq!(now(&admission).unwrap().unwrap_err().code, "draining");
    }

    #[test]
    fn the_estimate_follows_the_usual_time_and_the_queue() {
        let admission = admission(2, 0);
        for _ in 0..100 {
            admission.pace.note(Duration::from_secs(10));
        }
        let Busy { retry_after, .. } = admission.busy("queue_full");
        assert!((4..=5).contains(&retry_after.as_secs()), "{retry_after:?}");
        for _ in 0..100 {
            admission.pace.note(Duration::from_secs(3600));
        }
        assert_eq!(admission.busy("queue_full").retry_after, RETRY_LATEST);
    }
}
