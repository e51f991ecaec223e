//! Where images came from, and what pulling them was like.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Label, long_seconds};
use crate::registry::ImageErrorKind;

/// Why a pull was not even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// The same one failed a moment ago.
    JustFailed,
    /// Its registry fails, or wants to be left alone for a while.
    RegistryHeld,
}

impl Spared {
    const ALL: [Self; 2] = [Self::JustFailed, Self::RegistryHeld];

    fn name(self) -> &'static str {
        match self {
            Self::JustFailed => "just_failed",
            Self::RegistryHeld => "registry_held",
        }
    }
}

/// Where an image came from that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// It was here, and no registry was asked.
    Here,
    /// A registry was asked, for the image or whether it has changed.
    Registry,
}

impl Resolved {
    fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Registry => "registry",
        }
    }
}

/// What there is to count about images.
#[derive(Debug)]
pub struct ImageMetrics {
    here: Counter,
    asked: Counter,
    resolved: Family<Label, Counter>,
    pulls: Family<Label, Counter>,
    running: Gauge,
    attempts: Counter,
    took: Histogram,
    spared: Family<Label, Counter>,
    open: Family<[(&'static str, String); 1], Gauge>,
}

impl Default for ImageMetrics {
    fn default() -> Self {
        let resolved = Family::<Label, Counter>::default();
        let from = |from: Resolved| resolved.get_or_create_owned(&[("from", from.name())]);
        let metrics = Self {
            here: from(Resolved::Here),
            asked: from(Resolved::Registry),
            resolved,
            pulls: Family::default(),
            running: Gauge::default(),
            attempts: Counter::default(),
            took: long_seconds(),
            spared: Family::default(),
            open: Family::default(),
        };
        for result in [PULLED, GIVEN_UP, "not_found", "unavailable", "timeout"] {
            let _ = metrics.pulls.get_or_create(&[("result", result)]);
        }
        for spared in Spared::ALL {
            let _ = metrics.spared.get_or_create(&[("reason", spared.name())]);
        }
        metrics
    }
}

const PULLED: &str = "pulled";
const GIVEN_UP: &str = "given_up";

impl ImageMetrics {
    /// Gives everything its name; the encoder adds `_total` to counters.
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Images that were found, by where";
        r.register("image_resolutions", help, self.resolved.clone());
        r.register("pulls", "Pulls, by how they ended", self.pulls.clone());
        r.register("pulls_running", "Pulls that run now", self.running.clone());
        r.register("pull_attempts", "Attempts of all pulls", self.attempts.clone());
        let help = "How long pulls took, all attempts and pauses included";
        r.register("pull_seconds", help, self.took.clone());
        let help = "Pulls that were not tried, by the reason";
        r.register("pulls_spared", help, self.spared.clone());
        let help = "Registries that are asked for nothing until one try succeeds";
        r.register("registry_breaker_open", help, self.open.clone());
    }

    /// An image was found.
    pub fn resolved(&self, from: Resolved) {
        match from {
            Resolved::Here => self.here.inc(),
            Resolved::Registry => self.asked.inc(),
        };
    }

    /// A pull begins.
    pub fn pull(&self) -> Pulling<'_> {
        self.running.inc();
        Pulling { metrics: self, began: Instant::now(), result: GIVEN_UP }
    }

    /// A pull was not tried.
    pub fn spared(&self, reason: Spared) {
        self.spared.get_or_create(&[("reason", reason.name())]).inc();
    }

    /// How many more registries than before (or fewer) are asked for nothing. `label` is the
    /// operator's own name for them, never a caller's.
    pub fn breakers(&self, label: &str, change: i64) {
        self.open.get_or_create(&[("registry", label.to_owned())]).inc_by(change);
    }
}

/// A pull while it runs. Dropped without a word on its end, it counts as `given_up`: nobody waits
/// for the image any more.
#[derive(Debug)]
#[must_use]
pub struct Pulling<'a> {
    metrics: &'a ImageMetrics,
    began: Instant,
    result: &'static str,
}

impl Pulling<'_> {
    /// A registry is asked once more.
    pub fn attempt(&self) {
        self.metrics.attempts.inc();
    }

    /// It ended; `None` is an image.
    pub fn ended(mut self, failed: Option<ImageErrorKind>) {
        self.result = failed.map_or(PULLED, name);
    }
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        self.metrics.running.dec();
        self.metrics.took.observe(self.began.elapsed().as_secs_f64());
        self.metrics.pulls.get_or_create(&[("result", self.result)]).inc();
    }
}

fn name(kind: ImageErrorKind) -> &'static str {
    use ImageErrorKind as Kind;
    match kind {
        Kind::NotAllowed => "not_allowed",
        Kind::NotFound => "not_found",
        Kind::Auth => "auth",
        Kind::Timeout => "timeout",
        Kind::Unavailable => "unavailable",
        Kind::Corrupt => "corrupt",
        Kind::Unsupported => "unsupported",
        Kind::NoSpace => "no_space",
        Kind::InUse => "in_use",
        Kind::EngineAway | Kind::EngineSlow | Kind::EngineFailed => "engine",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;

    #[test]
    fn each_event_moves_its_own_metric() {
        let one = |name: &str| vec![format!("oncebox_{name} 1")];
        let resolved = |from| moved(|m| m.images().resolved(from));
        assert_eq!(resolved(Resolved::Here), one(r#"image_resolutions_total{from="here"}"#));
        assert_eq!(
            resolved(Resolved::Registry),
            one(r#"image_resolutions_total{from="registry"}"#)
        );
        let spared = |reason| moved(|m| m.images().spared(reason));
        let just_failed = one(r#"pulls_spared_total{reason="just_failed"}"#);
        assert_eq!(spared(Spared::JustFailed), just_failed);
        let held = one(r#"pulls_spared_total{reason="registry_held"}"#);
        assert_eq!(spared(Spared::RegistryHeld), held);
    }

    #[test]
    fn registries_are_counted_while_they_are_left_alone() {
        let metrics = super::super::Metrics::new();
        for (change, is) in [(0, 0), (2, 2), (-1, 1), (-1, 0)] {
            metrics.images().breakers("docker.io", change);
            let sample =
                format!("\noncebox_registry_breaker_open{{registry=\"docker.io\"}} {is}\n");
            let text = metrics.encode();
            assert!(text.contains(&sample), "{sample} in {text}");
        }
    }

    #[test]
    fn a_pull_counts_while_it_runs_and_when_it_ended() {
        let metrics = super::super::Metrics::new();
        let images = metrics.images();
        let (pulled, failed, left) = (images.pull(), images.pull(), images.pull());
        assert!(metrics.encode().contains("\noncebox_pulls_running 3\n"));
        pulled.attempt();
        failed.attempt();
        failed.attempt();
        pulled.ended(None);
        failed.ended(Some(ImageErrorKind::Corrupt));
        drop(left);
        let text = metrics.encode();
        for sample in [
            "pulls_running 0",
            "pull_attempts_total 3",
            "pull_seconds_count 3",
            r#"pulls_total{result="pulled"} 1"#,
            r#"pulls_total{result="corrupt"} 1"#,
            r#"pulls_total{result="given_up"} 1"#,
            r#"pulls_total{result="not_found"} 0"#,
        ] {
            assert!(text.contains(&format!("\noncebox_{sample}\n")), "{sample} in {text}");
        }
    }
}
