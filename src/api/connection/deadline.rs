//! A timer for a deadline that moves.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// It is set again only when it has gone off too early, or would go off too late: deadlines move all
/// the time, and mostly nobody reaches them.
#[derive(Default)]
pub(super) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready when it is over; otherwise the task is woken up then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Waits for a deadline that others than this one were asked for before.
    async fn check(before: &[u64], until: u64) -> Duration {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut deadline = Deadline::default();
        let mut moves = before.iter().copied();
        poll_fn(|cx| deadline.poll(cx, at(moves.next().unwrap_or(until)))).await;
        // Polled again at once by whoever moves it.
        poll_fn(|cx| deadline.poll(cx, at(until))).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_may_move_both_ways() {
        let seconds = |time: Duration| time.as_secs_f64().round() as u64;
        for (before, until) in [(&[][..], 5), (&[3], 5), (&[1, 2, 3], 7), (&[0], 0)] {
            assert_eq!(seconds(check(before, until).await), until, "{before:?}");
        }
        let mut deadline = Deadline::default();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx, at(9)))).await.is_pending());
        poll_fn(|cx| deadline.poll(cx, at(2))).await;
        assert_eq!(seconds(began.elapsed()), 2);
    }
}
