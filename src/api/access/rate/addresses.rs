//! The same rate for every address, in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

use super::{Rate, Standing};
use crate::execution::admission::Who;

/// Callers whose standing is known at once. Whoever comes on top of them shares one standing with
/// all others who do.
const MOST: usize = 10_000;
/// Between two looks for callers who need not be remembered any more.
const SWEEP: Duration = Duration::from_secs(1);

/// Limits every caller without a key.
#[derive(Debug)]
pub struct Addresses<C: Clock = DefaultClock> {
    rate: Rate,
    state: RateLimiter<Who, Known, C, StateInformationMiddleware>,
    swept: Mutex<C::Instant>,
}

impl Addresses {
    /// `None` for a rate so fine that it is none.
    pub fn new(rate: Rate) -> Option<Self> {
        Self::with_clock(rate, DefaultClock::default(), MOST)
    }
}

impl<C: Clock> Addresses<C> {
    fn with_clock(rate: Rate, clock: C, most: usize) -> Option<Self> {
        let swept = Mutex::new(clock.now());
        let known = Known { most, standings: Mutex::default() };
        let state = RateLimiter::new(rate.quota()?, known, clock);
        Some(Self { rate, state, swept })
    }

    /// Counts a request.
    pub fn take(&self, who: &Who) -> Standing {
        self.sweep();
        Standing::of(self.rate, self.state.clock(), self.state.check_key(who))
    }

    /// Forgets whoever has all of his requests again, now and then.
    fn sweep(&self) {
        let now = self.state.clock().now();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = Duration::from(now.duration_since(*swept)) >= SWEEP;
        if due {
            *swept = now;
        }
        drop(swept);
        if due {
            self.state.retain_recent();
        }
    }
}

/// When each caller will have all of his requests again.
#[derive(Debug)]
struct Known {
    most: usize,
    standings: Mutex<HashMap<Who, Nanos>>,
}

impl Known {
    fn standings(&self) -> MutexGuard<'_, HashMap<Who, Nanos>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Known {
    type Key = Who;

    fn measure_and_replace<T, F, E>(&self, who: &Who, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut standings = self.standings();
        let full = standings.len() >= self.most && !standings.contains_key(who);
        // No address is the service's own, so its place is free for all who have none.
        let who = if full { &Who::Service } else { who };
        let (outcome, standing) = decide(standings.get(who).copied())?;
        standings.insert(who.clone(), standing);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Who> for Known {
    fn retain_recent(&self, drop_below: Nanos) {
        self.standings().retain(|_, standing| *standing > drop_below);
    }

    fn len(&self) -> usize {
        self.standings().len()
    }

    fn is_empty(&self) -> bool {
        self.standings().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn who(number: u32) -> Who {
        Who::at(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn addresses_do_not_know_of_one_another() {
        let clock = FakeRelativeClock::default();
        let rate = "2/m".parse().expect("a rate");
        let addresses = Addresses::with_clock(rate, clock.clone(), 10).expect("a limiter");
        let allowed = |who: &Who| addresses.take(who).allowed;
        assert_eq!(
            [1, 1, 1, 2, 2, 2].map(who).map(|who| allowed(&who)),
            [true, true, false, true, true, false]
        );
        clock.advance(Duration::from_secs(30));
        assert_eq!([1, 1].map(who).map(|who| allowed(&who)), [true, false]);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_no_place_of_those_who_are_known() {
        let clock = FakeRelativeClock::default();
        let rate = "2/m".parse().expect("a rate");
        let addresses = Addresses::with_clock(rate, clock.clone(), 10).expect("a limiter");
        let allowed = |number| addresses.take(&who(number)).allowed;
        assert!((0..10).all(allowed));
        // Two of them all together; who is known still has his second request.
        assert_eq!((100..1100).filter(|number| allowed(*number)).count(), 2);
        assert_eq!(addresses.state.len(), 11);
        assert!((0..10).all(allowed));
        clock.advance(Duration::from_secs(120));
        assert!((200..210).all(allowed));
        assert_eq!(addresses.state.len(), 10);
    }
}
