//! How many containers of one kind should wait: moving averages of how often they are asked for and
//! of how long one takes to make.

use std::time::{Duration, Instant};

use super::refill::HEAD_START;

/// The span over which arrivals are averaged: short, so that a burst is followed at once.
const SPAN: Duration = Duration::from_secs(2);
/// After a request, one container waits for the next for this long.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Arrivals are not evenly spread: as many standard deviations of a Poisson distribution more wait
/// than the average asks for.
const DEVIATIONS: f64 = 4.0;
/// Before the first one is made.
const FIRST_GUESS: Duration = Duration::from_millis(100);

/// What is known of the demand for one kind of container.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    /// Arrivals a second, as of `last`.
    rate: f64,
    last: Option<Instant>,
    make: Duration,
}

impl Default for Demand {
    fn default() -> Self {
        Self { rate: 0.0, last: None, make: FIRST_GUESS }
    }
}

impl Demand {
    /// Somebody asks for one.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.rate = self.rate_at(now) + 1.0 / SPAN.as_secs_f64();
        self.last = Some(now);
    }

    /// One was made.
    pub(super) fn made(&mut self, took: Duration) {
        self.make = (self.make * 3 + took) / 4;
    }

    /// How many should wait now: at least `floor`; one for a while after a request; and as many as
    /// are asked for, but for rare bursts, in the time from one being taken to another being made.
    pub(super) fn target(&self, floor: usize, now: Instant) -> usize {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        let remembered = usize::from(since.is_some_and(|since| since < REMEMBERED));
        let average = self.rate_at(now) * (self.make + HEAD_START).as_secs_f64();
        let with_bursts = average + DEVIATIONS * average.sqrt();
        floor.max(remembered).max(with_bursts.floor() as usize)
    }

    /// Nobody has asked for so long that nothing need be remembered.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.target(0, now) == 0
    }

    fn rate_at(&self, now: Instant) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let since = now.saturating_duration_since(last);
        self.rate * (-since.as_secs_f64() / SPAN.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked for so many times a second for ten seconds; then the target.
    fn target(per_second: u32, make: Duration, floor: usize) -> usize {
        let mut demand = Demand::default();
        for _ in 0..50 {
            demand.made(make);
        }
        let start = Instant::now();
        let mut now = start;
        for n in 0..per_second * 10 {
            now = start + Duration::from_secs(1) / per_second * n;
            demand.arrived(now);
        }
        demand.target(floor, now)
    }

    #[test]
    fn the_target_follows_arrivals_and_the_time_to_make_one() {
        let ms = Duration::from_millis;
        assert_eq!(target(1, ms(10), 0), 1);
        assert!((8..=10).contains(&target(200, ms(10), 0)));
        assert!((14..=18).contains(&target(20, ms(300), 0)));
        assert_eq!(target(1, ms(10), 5), 5);
    }

    #[test]
    fn without_demand_only_the_floor_is_left() {
        let now = Instant::now();
        let mut demand = Demand::default();
        assert_eq!((demand.target(0, now), demand.target(3, now)), (0, 3));
        assert!(demand.is_over(now));
        for _ in 0..1000 {
            demand.arrived(now);
        }
        assert!(demand.target(3, now) > 3);
        let later = now + Duration::from_secs(30);
        assert_eq!((demand.target(0, later), demand.target(3, later)), (1, 3));
        let much_later = now + REMEMBERED;
        assert_eq!(demand.target(0, much_later), 0);
        assert!(demand.is_over(much_later));
    }
}
