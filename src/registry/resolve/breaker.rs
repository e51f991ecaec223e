//! Registries that fail again and again, or that have enough of us, are left alone for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::{ImageError, ImageErrorKind};
use crate::telemetry::metrics::Metrics;

/// Failed attempts in a row, of any pulls, after which a registry is left alone.
const FAILURES: u32 = 5;
/// For this long; then one pull may try.
const OPEN: Duration = Duration::from_secs(30);
/// While that one tries, the others are told to come back after this.
const TRIAL: Duration = Duration::from_secs(1);
/// A registry can't keep itself away for longer.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// How many registries are remembered; past it goes the one that was not heard of for the longest,
/// rather one that may be asked.
const MOST: usize = 256;
/// How many of the operator's registries have a name of their own in the metrics.
const LABELS: usize = 64;
const OTHER: &str = "other";

/// What is known of registries that did not just work.
pub(super) struct Breakers {
    known: Mutex<HashMap<String, State>>,
    /// Registries that the operator names.
    labels: HashSet<String>,
    metrics: Arc<Metrics>,
}

struct State {
    failures: u32,
    /// It has failed too often, and has not worked since.
    open: bool,
    /// One pull tries whether it works again.
    on_trial: bool,
    /// It is not asked before.
    held: Instant,
    heard: Instant,
}

/// A registry that is not to be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rest: Duration,
    /// It failed too often; otherwise it only asked for a pause.
    pub(super) open: bool,
}

/// What an attempt says of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers, if only that it has no such image.
    Works,
    /// It does not answer, or not as a registry.
    Fails,
    /// It answers and wants to be left alone for so long.
    Wants(Duration),
    /// Nothing.
    Silent,
}

impl Verdict {
    /// Where `answered`, the registry had begun to send the image.
    pub(super) fn of(failed: Option<&ImageError>, answered: bool) -> Self {
        use ImageErrorKind as Kind;
        let Some(error) = failed else { return Self::Works };
        match (error.kind, error.retry_after) {
            (Kind::Unavailable | Kind::Timeout, Some(pause)) => Self::Wants(pause),
            // Too slow for a large image is not the same as gone.
            (Kind::Timeout, None) if answered => Self::Silent,
            (Kind::Timeout, None) => Self::Fails,
            (Kind::Unavailable, None) if error.passing => Self::Fails,
            (Kind::Unavailable | Kind::NotAllowed | Kind::InUse, _) => Self::Silent,
            (Kind::EngineAway | Kind::EngineSlow | Kind::EngineFailed, _) => Self::Silent,
            _ => Self::Works,
        }
    }
}

/// A pull's leave to ask a registry.
pub(super) struct Trial<'a> {
    breakers: &'a Breakers,
    registry: &'a str,
    /// The others wait for what this one finds.
    only: bool,
}

impl Breakers {
    pub(super) fn new<'a>(
        operators: impl IntoIterator<Item = &'a str>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut labels = HashSet::new();
        for name in operators {
            if labels.len() < LABELS {
                labels.insert(name.to_ascii_lowercase());
            }
        }
        // Shown from the start, so that the first failure is seen as a step.
        for label in labels.iter().map(String::as_str).chain([OTHER]) {
            metrics.images().breakers(label, 0);
        }
        Self { known: Mutex::default(), labels, metrics }
    }

    /// # Errors
    /// [`Held`] while the registry is to be left alone.
    pub(super) fn admit<'a>(&'a self, registry: &'a str) -> Result<Trial<'a>, Held> {
        let now = Instant::now();
        let mut known = self.known();
        let mut only = false;
        if let Some(state) = known.get_mut(registry) {
            let open = state.open;
            if now < state.held {
                return Err(Held { rest: state.held - now, open });
            }
            if open && state.on_trial {
                return Err(Held { rest: TRIAL, open });
            }
            state.on_trial = open;
            only = open;
        }
        Ok(Trial { breakers: self, registry, only })
    }

    fn report(&self, registry: &str, verdict: Verdict) {
        let now = Instant::now();
        let mut known = self.known();
        let was_open = known.get(registry).is_some_and(|state| state.open);
        if verdict == Verdict::Works {
            // What it asked for holds all the same.
            if known.get(registry).is_some_and(|state| was_open || state.held <= now) {
                known.remove(registry);
            }
            if let Some(state) = known.get_mut(registry) {
                state.failures = 0;
            }
        } else {
            self.make_room(&mut known, registry);
            let new = State { failures: 0, open: false, on_trial: false, held: now, heard: now };
            let state = known.entry(registry.to_owned()).or_insert(new);
            state.heard = now;
            match verdict {
                Verdict::Fails => {
                    state.failures = state.failures.saturating_add(1);
                    state.on_trial = false;
                    if state.open || state.failures >= FAILURES {
                        (state.open, state.held) = (true, now + OPEN);
                    }
                }
                Verdict::Wants(pause) => {
                    let held = now + pause.min(LONGEST_HOLD);
                    let held = if state.open { held } else { held.max(state.held) };
                    *state = State { failures: 0, open: false, on_trial: false, held, heard: now };
                }
                Verdict::Works | Verdict::Silent => {}
            }
        }
        let is_open = known.get(registry).is_some_and(|state| state.open);
        self.count(registry, i64::from(is_open) - i64::from(was_open));
    }

    fn make_room(&self, known: &mut HashMap<String, State>, registry: &str) {
        if known.len() < MOST || known.contains_key(registry) {
            return;
        }
        let oldest = known.iter().min_by_key(|(_, state)| (state.open, state.heard));
        if let Some(oldest) = oldest.map(|(name, _)| name.clone())
            && known.remove(&oldest).is_some_and(|state| state.open)
        {
            self.count(&oldest, -1);
        }
    }

    fn count(&self, registry: &str, change: i64) {
        if change != 0 {
            let own = self.labels.get(&registry.to_ascii_lowercase());
            self.metrics.images().breakers(own.map_or(OTHER, String::as_str), change);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial<'_> {
    /// An attempt has ended.
    pub(super) fn report(&mut self, verdict: Verdict) {
        if verdict != Verdict::Silent {
            self.only = false;
            self.breakers.report(self.registry, verdict);
        }
    }
}

impl Drop for Trial<'_> {
    /// A trial that found nothing leaves the place to another one.
    fn drop(&mut self) {
        if self.only
            && let Some(state) = self.breakers.known().get_mut(self.registry)
        {
            state.on_trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const REG: &str = "reg.example";
    const SECOND: Duration = Duration::from_secs(1);

    fn breakers() -> Breakers {
        Breakers::new([REG, "Reg.Example"], Arc::default())
    }

    fn report(breakers: &Breakers, verdict: Verdict, times: u32) {
        for _ in 0..times {
            breakers.report(REG, verdict);
        }
    }

    fn held(breakers: &Breakers) -> Option<Held> {
        breakers.admit(REG).err()
    }

    fn gauge(breakers: &Breakers, label: &str) -> String {
        let text = breakers.metrics.encode();
        let name = format!("oncebox_registry_breaker_open{{registry=\"{label}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or("none").to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_five_failures_in_a_row_and_closes_after_a_success() {
        let breakers = breakers();
        report(&breakers, Verdict::Fails, FAILURES - 1);
        report(&breakers, Verdict::Works, 1);
        report(&breakers, Verdict::Fails, FAILURES - 1);
        // What says nothing breaks no row.
        breakers.admit(REG).ok().unwrap().report(Verdict::Silent);
        assert_eq!((held(&breakers), gauge(&breakers, REG)), (None, "0".into()));
        report(&breakers, Verdict::Fails, 1);
        assert_eq!(held(&breakers), Some(Held { rest: OPEN, open: true }));
        assert_eq!(gauge(&breakers, REG), "1");
        assert!(breakers.admit("other.example").is_ok());
        advance(OPEN - SECOND).await;
        assert_eq!(held(&breakers), Some(Held { rest: SECOND, open: true }));
        advance(SECOND).await;
        let mut trial = breakers.admit(REG).ok().unwrap();
        assert_eq!(held(&breakers), Some(Held { rest: TRIAL, open: true }));
        trial.report(Verdict::Works);
        assert_eq!((held(&breakers), gauge(&breakers, REG)), (None, "0".into()));
        assert!(breakers.known().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_failed_trial_opens_it_again() {
        let breakers = breakers();
        report(&breakers, Verdict::Fails, FAILURES);
        advance(OPEN).await;
        breakers.admit(REG).ok().unwrap().report(Verdict::Fails);
        assert_eq!(held(&breakers), Some(Held { rest: OPEN, open: true }));
        assert_eq!(gauge(&breakers, REG), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_leaves_its_place_to_another() {
        let breakers = breakers();
        report(&breakers, Verdict::Fails, FAILURES);
        advance(OPEN).await;
        for _ in 0..2 {
            let mut trial = breakers.admit(REG).ok().unwrap();
            trial.report(Verdict::Silent);
            assert!(held(&breakers).is_some());
            drop(trial);
        }
        assert_eq!(held(&breakers), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_wants_a_pause_has_it() {
        let breakers = breakers();
        report(&breakers, Verdict::Wants(SECOND * 10), 1);
        report(&breakers, Verdict::Wants(SECOND), 1);
        // Others may still be answered.
        report(&breakers, Verdict::Works, 1);
        assert_eq!(held(&breakers), Some(Held { rest: SECOND * 10, open: false }));
        assert_eq!(gauge(&breakers, REG), "0");
        advance(SECOND * 10).await;
        assert_eq!(held(&breakers), None);
        report(&breakers, Verdict::Wants(Duration::MAX), 1);
        assert_eq!(held(&breakers), Some(Held { rest: LONGEST_HOLD, open: false }));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_for_a_pause_is_there_again() {
        let breakers = breakers();
        report(&breakers, Verdict::Fails, FAILURES);
        advance(OPEN).await;
        breakers.admit(REG).ok().unwrap().report(Verdict::Wants(SECOND));
        assert_eq!(held(&breakers), Some(Held { rest: SECOND, open: false }));
        assert_eq!(gauge(&breakers, REG), "0");
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_registries_are_bounded_and_have_no_names() {
        let breakers = breakers();
        for n in 0..MOST * 2 {
            for _ in 0..FAILURES {
                breakers.report(&format!("s3cret{n}.example"), Verdict::Fails);
            }
        }
        report(&breakers, Verdict::Fails, FAILURES);
        assert_eq!(breakers.known().len(), MOST);
        assert_eq!(gauge(&breakers, OTHER), (MOST - 1).to_string());
        assert_eq!(gauge(&breakers, REG), "1");
        assert!(!breakers.metrics.encode().contains("s3cret"));
    }

    #[test]
    fn only_what_a_registry_is_to_blame_for_counts_against_it() {
        use ImageErrorKind as Kind;
        let error = |kind| ImageError::new(kind, "no", "");
        let of = |kind| Verdict::of(Some(&error(kind)), false);
        assert_eq!(Verdict::of(None, false), Verdict::Works);
        for kind in [Kind::NotFound, Kind::Auth, Kind::Corrupt, Kind::Unsupported, Kind::NoSpace] {
            assert_eq!(of(kind), Verdict::Works, "{kind:?}");
        }
        for kind in [Kind::EngineAway, Kind::EngineSlow, Kind::EngineFailed] {
            assert_eq!(of(kind), Verdict::Silent, "{kind:?}");
        }
        assert_eq!((of(Kind::Unavailable), of(Kind::Timeout)), (Verdict::Fails, Verdict::Fails));
        assert_eq!(Verdict::of(Some(&error(Kind::Timeout)), true), Verdict::Silent);
        let lasting = ImageError { passing: false, ..error(Kind::Unavailable) };
        assert_eq!(Verdict::of(Some(&lasting), false), Verdict::Silent);
        let busy = ImageError { retry_after: Some(SECOND), ..error(Kind::Unavailable) };
        assert_eq!(Verdict::of(Some(&busy), false), Verdict::Wants(SECOND));
    }
}
