//! What came of it, as a table.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::load::Run;
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
    /// In the order in which they ended.
    pub runs: Vec<Run>,
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

    fn wrong(&self, hostile: bool) -> usize {
        self.runs.iter().filter(|run| run.hostile == hostile && run.wrong.is_some()).count()
    }

    fn memory(&self) -> (f64, f64) {
        self.tenths(|sample| sample.resident_kib)
    }

    fn descriptors(&self) -> (f64, f64) {
        self.tenths(|sample| sample.descriptors)
    }

    /// The means of the first tenth and of the last.
    fn tenths(&self, of: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let tenth = self.resources.len().div_ceil(10);
        let mean =
            |samples: &[Sample]| samples.iter().map(&of).sum::<f64>() / samples.len().max(1) as f64;
        let (first, last) =
            (&self.resources[..tenth], &self.resources[self.resources.len() - tenth..]);
        (mean(first), mean(last))
    }

    /// The 99th percentiles of honest scripts in the first tenth and in the last.
    fn slow(&self) -> (Duration, Duration) {
        let honest: Vec<Duration> =
            self.runs.iter().filter(|run| !run.hostile).map(|run| run.took).collect();
        let tenth = honest.len().div_ceil(10);
        (percentile(&honest[..tenth], 99), percentile(&honest[honest.len() - tenth..], 99))
    }

    fn drift(&self) -> f64 {
        let (first, last) = self.slow();
        last.as_secs_f64() / first.as_secs_f64() - 1.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hostile = self.runs.iter().filter(|run| run.hostile).count();
        writeln!(f, "== soak on {}, seed {}", self.engine, self.seed)?;
        writeln!(
            f,
            "capacity            {:.1} executions/s, of which 70 % were asked for",
            self.capacity
        )?;
        writeln!(f, "executions          {}, {hostile} of them hostile", self.runs.len())?;
        writeln!(f, "wrong verdicts      {}", self.wrong(true))?;
        writeln!(f, "false failures      {}", self.wrong(false))?;
        writeln!(f, "orphans             {}", self.orphans.len())?;
        let per_thousand =
            |(first, last): (f64, f64)| (last - first) / 0.9 / self.runs.len() as f64 * 1000.0;
        let (memory, descriptors) = (self.memory(), self.descriptors());
        writeln!(
            f,
            "resident KiB        {:.0} to {:.0}, {:+.1} for 1,000 executions",
            memory.0,
            memory.1,
            per_thousand(memory)
        )?;
        writeln!(
            f,
            "descriptors         {:.0} to {:.0}, {:+.2} for 1,000 executions",
            descriptors.0,
            descriptors.1,
            per_thousand(descriptors)
        )?;
        let (before, after) = self.rest;
        writeln!(
            f,
            "at rest             {:.0} to {:.0} KiB, {} to {} descriptors",
            before.resident_kib, after.resident_kib, before.descriptors, after.descriptors
        )?;
        let honest: Vec<Duration> =
            self.runs.iter().filter(|r| !r.hostile).map(|r| r.took).collect();
        let (first, last) = self.slow();
        writeln!(
            f,
            "honest p50, p99     {:.1?}, {:.1?}",
            percentile(&honest, 50),
            percentile(&honest, 99)
        )?;
        writeln!(
            f,
            "p99 of the tenths   {first:.1?} to {last:.1?}, {:+.0} % (bar {:.0} %)",
            self.drift() * 100.0,
            DRIFT * 100.0
        )?;
        for wrong in self.runs.iter().filter_map(|run| run.wrong.as_ref()).take(5) {
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
