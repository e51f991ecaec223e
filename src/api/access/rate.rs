//! How fast one caller may ask: so many requests at once, and as many more, spread evenly, in each
//! window (GCRA, by `governor`).

mod addresses;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

pub use addresses::Addresses;

/// Two fields of draft-ietf-httpapi-ratelimit-headers-11.
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub const STANDING: HeaderName = HeaderName::from_static("ratelimit");
/// Finer than a request in a microsecond means nothing.
const MOST: u32 = 1_000_000;

/// Requests in a window: `100/s`, `600/m`, `10000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    requests: NonZeroU32,
    /// Seconds.
    window: u32,
}

impl Rate {
    /// Until one more request may come.
    fn interval(self) -> Duration {
        Duration::from_secs(self.window.into()) / self.requests.get()
    }

    fn quota(self) -> Option<Quota> {
        Some(Quota::with_period(self.interval())?.allow_burst(self.requests))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.window {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "write requests, at most 1000000, in a second, minute or hour, such as 100/s, \
                    600/m or 10000/h";
        let (requests, unit) = text.split_once('/').ok_or(rule)?;
        let window = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(rule),
        };
        let digits = requests.bytes().all(|b| b.is_ascii_digit());
        let requests = requests.parse::<NonZeroU32>().ok().filter(|n| digits && n.get() <= MOST);
        Ok(Self { requests: requests.ok_or(rule)?, window })
    }
}

/// Where a caller stands after a request of his.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    rate: Rate,
    /// What he may still ask at once.
    remaining: u32,
    /// Until he may ask once more.
    next: Duration,
    pub allowed: bool,
}

impl Standing {
    fn of<C: Clock>(
        rate: Rate,
        clock: &C,
        outcome: Result<StateSnapshot, NotUntil<C::Instant>>,
    ) -> Self {
        match outcome {
            Ok(state) => Self {
                rate,
                remaining: state.remaining_burst_capacity(),
                next: rate.interval(),
                allowed: true,
            },
            Err(until) => {
                let next = until.wait_time_from(clock.now());
                Self { rate, remaining: 0, next, allowed: false }
            }
        }
    }

    /// How long to wait, for one who was refused.
    pub fn retry_after(&self) -> Duration {
        self.next
    }

    /// Says it in the headers of an answer.
    pub fn say(&self, headers: &mut HeaderMap) {
        let Self { rate, remaining, next, .. } = self;
        // Whole seconds, rounded up: within them he can use no more than what remains.
        let seconds = next.as_secs() + u64::from(next.subsec_nanos() > 0);
        let policy = format!("\"default\";q={};w={}", rate.requests, rate.window);
        let standing = format!("\"default\";r={remaining};t={}", seconds.max(1));
        for (name, value) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// The rate of one caller, and where he stands.
#[derive(Debug)]
pub struct Limiter {
    pub rate: Rate,
    state: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

impl Limiter {
    /// `None` for a rate so fine that it is none.
    pub fn new(rate: Rate) -> Option<Self> {
        let state = RateLimiter::direct(rate.quota()?).with_middleware();
        Some(Self { rate, state })
    }

    /// Counts a request.
    pub fn take(&self) -> Standing {
        Standing::of(self.rate, self.state.clock(), self.state.check())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1/s", 1, 1000)]
    #[case("100/s", 100, 10)]
    #[case("600/m", 600, 100)]
    #[case("2/h", 2, 1_800_000)]
    fn a_rate_is_requests_in_a_window(
        #[case] text: &str,
        #[case] requests: u32,
        #[case] interval: u64,
    ) {
        let rate: Rate = text.parse().expect("a rate");
        assert_eq!(rate.requests.get(), requests);
        assert_eq!(rate.interval(), Duration::from_millis(interval));
        assert_eq!(rate.to_string(), text);
        assert!(rate.quota().is_some());
    }

    #[rstest]
    fn anything_else_is_refused(
        #[values("", "1", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "1/d", "1/S", "1000001/s")]
        text: &str,
    ) {
        assert!(text.parse::<Rate>().is_err());
    }

    #[test]
    fn as_many_as_fit_and_then_no_more() {
        let limiter = Limiter::new("3/h".parse().expect("a rate")).expect("a limiter");
        let remaining = [(); 3].map(|()| limiter.take()).map(|s| (s.allowed, s.remaining));
        assert_eq!(remaining, [(true, 2), (true, 1), (true, 0)]);
        let refused = limiter.take();
        assert!(!refused.allowed);
        let wait = refused.retry_after().as_secs();
        assert!((1100..=1200).contains(&wait), "{wait}");
    }

    #[test]
    fn headers_are_those_of_the_draft() {
        let rate = "100/m".parse().expect("a rate");
        let next = Duration::from_millis(600);
        let mut headers = HeaderMap::new();
        Standing { rate, remaining: 7, next, allowed: true }.say(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").expect("said"), "\"default\";q=100;w=60");
        assert_eq!(headers.get("ratelimit").expect("said"), "\"default\";r=7;t=1");
    }
}
