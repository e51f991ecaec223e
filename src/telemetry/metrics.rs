//! Every metric, each defined once. Labels come from closed sets of the program's own words, so no
//! text of a caller's can become one; the names of registries that the operator says are his own.

mod background;
#[cfg(test)]
mod dashboard;
mod faults;
mod http;
mod images;
mod process;

use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::log;
use crate::execution::outcome::Status;

pub use background::{BackgroundMetrics, Delivery};
pub use faults::Fault;
use faults::FaultMetrics;
pub use http::{CLASSES, Connection, HttpMetrics, METHODS, ROUTES, Request};
pub use images::{ImageMetrics, Pulling, Resolved, Spared};

/// What [`Metrics::encode`] writes: OpenMetrics 1.0, which every Prometheus since 2.5 reads.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A part of an execution's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a permit.
    Queued,
    /// Getting an image and a container.
    Prepared,
    /// From handing the job over to its end.
    Ran,
    /// From giving up a container that has run to the proof that nothing of it is left; nobody
    /// waits for it.
    Teardown,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Queued, Self::Prepared, Self::Ran, Self::Teardown];

    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prepared => "prepared",
            Self::Ran => "ran",
            Self::Teardown => "teardown",
        }
    }
}

/// How far ahead of its request a container was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Its interpreter was started already.
    Started,
    /// Only its guest was waiting.
    Waiting,
}

impl Hit {
    const ALL: [Self; 2] = [Self::Started, Self::Waiting];

    fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Waiting => "waiting",
        }
    }
}

/// One label with its value.
type Label = [(&'static str, &'static str); 1];

/// What there is to count and to measure, for all of the process. `startup` makes it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Registry,
    phases: Family<Label, Histogram, fn() -> Histogram>,
    executions: Family<Label, Counter>,
    output: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
    queue: Gauge,
    running: Gauge,
    pool_hits: Family<Label, Counter>,
    pool_misses: Counter,
    pool_made: Counter,
    pool_make: Histogram,
    pool_died: Counter,
    pool_expired: Counter,
    pool_failed: Counter,
    pool_age: Histogram,
    pool_waiting: Gauge,
    images: ImageMetrics,
    http: HttpMetrics,
    background: BackgroundMetrics,
    faults: FaultMetrics,
}

/// 0.1 ms to 52 s, each twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 20))
}

/// 10 ms to 44 min, each four times the one before.
fn long_seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-2, 4.0, 10))
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("oncebox"),
            process: process::registry(),
            phases: Family::new_with_constructor(seconds),
            executions: Family::default(),
            output: Family::default(),
            refusals: Family::default(),
            queue: Gauge::default(),
            running: Gauge::default(),
            pool_hits: Family::default(),
            pool_misses: Counter::default(),
            pool_made: Counter::default(),
            pool_make: seconds(),
            pool_died: Counter::default(),
            pool_expired: Counter::default(),
            pool_failed: Counter::default(),
            pool_age: long_seconds(),
            pool_waiting: Gauge::default(),
            images: ImageMetrics::default(),
            http: HttpMetrics::default(),
            background: BackgroundMetrics::default(),
            faults: FaultMetrics::default(),
        };
        // Shown from the start, so that the first one of its kind is seen as a step.
        for phase in Phase::ALL {
            let _ = metrics.phases.get_or_create(&[("phase", phase.name())]);
        }
        for hit in Hit::ALL {
            let _ = metrics.pool_hits.get_or_create(&[("kind", hit.name())]);
        }
        for status in Status::ALL {
            let _ = metrics.executions.get_or_create(&[("status", status.name())]);
        }
        for stream in ["stdout", "stderr"] {
            let _ = metrics.output.get_or_create(&[("stream", stream)]);
        }
        for code in ["queue_full", "queue_timeout"] {
            let _ = metrics.refusals.get_or_create(&[("code", code)]);
        }
        metrics.named()
    }

    /// Gives everything its name; the encoder adds `_total` to counters.
    fn named(mut self) -> Self {
        let r = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Which version this is", version);
        r.register("phase_seconds", "Where the time of executions went", self.phases.clone());
        let help = "Scripts that ran, by how they ended";
        r.register("executions", help, self.executions.clone());
        let help = "Bytes that scripts wrote, those past the cap included";
        r.register("output_bytes", help, self.output.clone());
        let help = "Requests answered with a problem document, by its code";
        r.register("refusals", help, self.refusals.clone());
        r.register("queue_length", "Executions that wait for a permit", self.queue.clone());
        r.register("running", "Scripts that run now", self.running.clone());
        let help = "Containers taken from a pool, by how far they had been made";
        r.register("pool_hits", help, self.pool_hits.clone());
        let help = "Containers made for a request because no pool had one";
        r.register("pool_misses", help, self.pool_misses.clone());
        r.register("pool_made", "Containers made ahead", self.pool_made.clone());
        let help = "How long making a container ahead took";
        r.register("pool_make_seconds", help, self.pool_make.clone());
        let help = "Waiting containers that died by themselves";
        r.register("pool_died", help, self.pool_died.clone());
        let help = "Waiting containers that were given up for their age";
        r.register("pool_expired", help, self.pool_expired.clone());
        let help = "Containers that could not be made ahead";
        r.register("pool_make_failures", help, self.pool_failed.clone());
        let help = "How long containers had waited when they were taken";
        r.register("pool_age_seconds", help, self.pool_age.clone());
        r.register("pool_waiting", "Containers that wait in pools", self.pool_waiting.clone());
        self.images.register(r);
        self.http.register(r);
        self.background.register(r);
        self.faults.register(r);
        self
    }

    /// A phase has ended, after that long.
    pub fn phase(&self, phase: Phase, took: Duration) {
        self.phases.get_or_create(&[("phase", phase.name())]).observe(took.as_secs_f64());
    }

    /// A script starts to run.
    pub fn run(&self) -> Running<'_> {
        self.running.inc();
        Running { metrics: self, status: Some(Status::Cancelled) }
    }

    /// A script has written so much.
    pub fn output(&self, stdout: u64, stderr: u64) {
        for (stream, bytes) in [("stdout", stdout), ("stderr", stderr)] {
            self.output.get_or_create(&[("stream", stream)]).inc_by(bytes);
        }
    }

    /// A request is answered with a problem of this code.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&[("code", code)]).inc();
    }

    /// How many executions wait for a permit.
    pub fn queue_length(&self, waiting: i64) {
        self.queue.set(waiting);
    }

    /// A container was taken from a pool.
    pub fn pool_hit(&self, hit: Hit) {
        self.pool_hits.get_or_create(&[("kind", hit.name())]).inc();
    }

    /// No pool had a container for a request.
    pub fn pool_miss(&self) {
        self.pool_misses.inc();
    }

    /// A container was made ahead, in that time.
    pub fn pool_made(&self, took: Duration) {
        self.pool_made.inc();
        self.pool_make.observe(took.as_secs_f64());
    }

    /// A waiting container died by itself.
    pub fn pool_died(&self) {
        self.pool_died.inc();
    }

    /// A waiting container was given up for its age.
    pub fn pool_expired(&self) {
        self.pool_expired.inc();
    }

    /// A container could not be made ahead.
    pub fn pool_failed(&self) {
        self.pool_failed.inc();
    }

    /// How long a container had waited when it was taken.
    pub fn pool_age(&self, age: Duration) {
        self.pool_age.observe(age.as_secs_f64());
    }

    /// How many containers wait in all pools.
    pub fn pool_waiting(&self, waiting: i64) {
        self.pool_waiting.set(waiting);
    }

    /// What there is to count about images.
    #[must_use]
    pub fn images(&self) -> &ImageMetrics {
        &self.images
    }

    /// What there is to count about HTTP.
    #[must_use]
    pub fn http(&self) -> &HttpMetrics {
        &self.http
    }

    /// What there is to count about executions that outlive their requests.
    #[must_use]
    pub fn background(&self) -> &BackgroundMetrics {
        &self.background
    }

    /// Something went wrong that is nobody's request's.
    pub fn fault(&self, fault: Fault) {
        self.faults.add(fault, 1);
    }

    /// All of it, as [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        self.faults.add(Fault::LogLost, log::take_lost());
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string can't fail.
        let _ = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &self.process))
            .and_then(|()| text::encode_eof(&mut text));
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A script while it runs. Dropped without a word on its end, it counts as `cancelled`: nobody
/// waits for its answer any more.
#[derive(Debug)]
#[must_use]
pub struct Running<'a> {
    metrics: &'a Metrics,
    status: Option<Status>,
}

impl Running<'_> {
    /// It ended with this status.
    pub fn ended(mut self, status: Status) {
        self.status = Some(status);
    }

    /// We failed, and nothing is known of its end.
    pub fn failed(mut self) {
        self.status = None;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.running.dec();
        if let Some(status) = self.status {
            self.metrics.executions.get_or_create(&[("status", status.name())]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples that differ after `act`, without the buckets.
    pub(super) fn moved(act: impl FnOnce(&Metrics)) -> Vec<String> {
        let metrics = Metrics::new();
        let before = metrics.encode();
        act(&metrics);
        let after = metrics.encode();
        let ours = after.lines().filter(|line| line.starts_with("oncebox_"));
        let new = ours.filter(|line| !before.lines().any(|old| old == *line));
        new.filter(|line| !line.contains("_bucket{")).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn each_event_moves_its_own_metric() {
        let second = Duration::from_secs(1);
        let one = |name: &str| vec![format!("oncebox_{name} 1")];
        let timed =
            |name: &str| vec![format!("oncebox_{name}_sum 1.0"), format!("oncebox_{name}_count 1")];
        assert_eq!(
            moved(|m| m.phase(Phase::Ran, second)),
            [
                r#"oncebox_phase_seconds_sum{phase="ran"} 1.0"#,
                r#"oncebox_phase_seconds_count{phase="ran"} 1"#
            ]
        );
        let output = |stream| format!("oncebox_output_bytes_total{{stream=\"{stream}\"}} 1");
        let mut both = moved(|m| m.output(1, 1));
        both.sort();
        assert_eq!(both, [output("stderr"), output("stdout")]);
        assert_eq!(moved(|m| m.refused("x")), one(r#"refusals_total{code="x"}"#));
        assert_eq!(moved(|m| m.queue_length(1)), one("queue_length"));
        assert_eq!(moved(|m| m.pool_hit(Hit::Started)), one(r#"pool_hits_total{kind="started"}"#));
        assert_eq!(moved(|m| m.pool_hit(Hit::Waiting)), one(r#"pool_hits_total{kind="waiting"}"#));
        assert_eq!(moved(Metrics::pool_miss), one("pool_misses_total"));
        let made = [one("pool_made_total"), timed("pool_make_seconds")].concat();
        assert_eq!(moved(|m| m.pool_made(second)), made);
        assert_eq!(moved(Metrics::pool_died), one("pool_died_total"));
        assert_eq!(moved(Metrics::pool_expired), one("pool_expired_total"));
        assert_eq!(moved(Metrics::pool_failed), one("pool_make_failures_total"));
        assert_eq!(moved(|m| m.pool_age(second)), timed("pool_age_seconds"));
        assert_eq!(moved(|m| m.pool_waiting(1)), one("pool_waiting"));
    }

    #[test]
    fn a_script_counts_while_it_runs_and_when_it_ended() {
        let metrics = Metrics::new();
        let (ended, failed, left) = (metrics.run(), metrics.run(), metrics.run());
        assert!(metrics.encode().contains("\noncebox_running 3\n"));
        ended.ended(Status::Completed);
        failed.failed();
        drop(left);
        let text = metrics.encode();
        assert!(text.contains("\noncebox_running 0\n"), "{text}");
        for (status, times) in [("completed", 1), ("cancelled", 1), ("signaled", 0)] {
            let sample = format!("oncebox_executions_total{{status=\"{status}\"}} {times}\n");
            assert!(text.contains(&sample), "{sample} in {text}");
        }
    }

    #[test]
    fn every_metric_has_a_type_and_the_text_an_end() {
        let text = Metrics::new().encode();
        let types = text.lines().filter(|line| line.starts_with("# TYPE oncebox_"));
        assert_eq!(types.count(), 29);
        assert!(text.ends_with("# EOF\n"));
    }
}
