//! What came of it, as a table.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::load::{Parts, Run};
use crate::resources::Sample;
use crate::support::Engine;
use crate::support::wait::percentile;

/// How much more it may hold at rest than before all of it.
const GROWTH: f64 = 1.2;
/// Descriptors come and go with connections and containers.
const DESCRIPTORS: f64 = 16.0;
/// How much the 99th percentile may drift, with `--strict`.
const DRIFT: f64 = 0.1;

pub struct Report {
    pub engine: Engine,
    pub seed: u64,
    /// Executions a second.
    pub capacity: f64,
    pub parts: Parts,
    pub resources: Vec<Sample>,
    /// What the service held before, and what it held when all was answered.
    pub rest: (Sample, Sample),
    pub orphans: BTreeSet<String>,
    pub stopped: ExitStatus,
    pub log: String,
}

impl Report {
    pub fn passed(&self, strict: bool) -> bool {
        self.wrong(true) + self.wrong(false) == 0
            && self.orphans.is_empty()
            && self.stopped.success()
            && self.rest.1.resident_kib <= self.rest.0.resident_kib * GROWTH
            && self.rest.1.descriptors <= self.rest.0.descriptors + DESCRIPTORS
            && (!strict || self.drift() <= DRIFT)
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.parts.before.iter().chain(self.parts.each.iter().flatten())
    }

    fn wrong(&self, hostile: bool) -> usize {
        self.runs().filter(|run| run.hostile == hostile && run.wrong.is_some()).count()
    }

    /// The means of each part's time.
    fn held(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mean =
            |samples: &[Sample]| samples.iter().map(&of).sum::<f64>() / samples.len().max(1) as f64;
        let part = self.resources.len().div_ceil(1 + self.parts.each.len()).max(1);
        self.resources.chunks(part).skip(1).map(mean).collect()
    }

    /// The 99th percentile of honest scripts in each part, in seconds.
    fn slow(&self) -> Vec<f64> {
        self.parts.each.iter().map(|part| percentile(&took(part), 99).as_secs_f64()).collect()
    }

    fn drift(&self) -> f64 {
        let slow = self.slow();
        slow[slow.len() - 1] / slow[0] - 1.0
    }
}

/// What honest scripts took.
fn took<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<Duration> {
    runs.into_iter().filter(|run| !run.hostile).map(|run| run.took).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.runs().count();
        let hostile = self.runs().filter(|run| run.hostile).count();
        writeln!(f, "== soak on {}, seed {}", self.engine, self.seed)?;
        writeln!(
            f,
            "capacity            {:.1} executions/s, of which 70 % were asked for",
            self.capacity
        )?;
        writeln!(f, "executions          {all}, {hostile} of them hostile")?;
        writeln!(f, "wrong verdicts      {}", self.wrong(true))?;
        writeln!(f, "false failures      {}", self.wrong(false))?;
        writeln!(f, "orphans             {}", self.orphans.len())?;
        for (what, values) in [
            ("resident KiB", self.held(|sample| sample.resident_kib)),
            ("descriptors", self.held(|sample| sample.descriptors)),
            ("p99 of honest, ms", self.slow().iter().map(|seconds| seconds * 1000.0).collect()),
        ] {
            write!(f, "{what:20}")?;
            values.iter().try_for_each(|value| write!(f, "{value:.0} "))?;
            writeln!(f)?;
            let grown = values[values.len() - 1] - values[0];
            let slope = grown / 0.9 / (all - self.parts.before.len()) as f64 * 1000.0;
            writeln!(f, "{:20}{slope:+.2} for 1,000 executions", "")?;
        }
        let (before, after) = self.rest;
        writeln!(
            f,
            "at rest             {:.0} to {:.0} KiB, {} to {} descriptors",
            before.resident_kib, after.resident_kib, before.descriptors, after.descriptors
        )?;
        let honest = took(self.runs());
        writeln!(
            f,
            "honest p50, p99     {:.1?}, {:.1?}",
            percentile(&honest, 50),
            percentile(&honest, 99)
        )?;
        writeln!(
            f,
            "drift of p99        {:+.0} % from the first part to the last (bar {:.0} %)",
            self.drift() * 100.0,
            DRIFT * 100.0
        )?;
        for wrong in self.runs().filter_map(|run| run.wrong.as_ref()).take(5) {
            writeln!(f, "  {wrong}")?;
        }
        for orphan in self.orphans.iter().take(10) {
            writeln!(f, "  left behind: {orphan}")?;
        }
        if !self.stopped.success() {
            writeln!(f, "  the service ended with {}:\n{}", self.stopped, self.log)?;
        }
        Ok(())
    }
}
