//! The table of faults: a row each, on the terminal whatever the test harness keeps to itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::seed::SEED;
use super::support::Engine;
use super::task::{Got, Sent};

static FIGURE: Mutex<Figure> = Mutex::new(Figure { injected: 0, passed: 0 });

/// Faults passed of those injected.
struct Figure {
    injected: usize,
    passed: usize,
}

/// One fault's row, which says that it failed unless it is told otherwise.
#[must_use]
pub struct Row {
    engine: Engine,
    name: String,
    answers: String,
    ready: Option<Duration>,
    began: Instant,
    passed: bool,
}

impl Row {
    pub fn begin(engine: Engine, name: &str) -> Self {
        FIGURE.lock().unwrap_or_else(PoisonError::into_inner).injected += 1;
        say(&format!("{engine:6} {name:28} begins | seed {}", *SEED));
        let (answers, began) = (String::new(), Instant::now());
        Self { engine, name: name.into(), answers, ready: None, began, passed: false }
    }

    pub fn answers(&mut self, sent: &[Sent]) {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for one in sent {
            let kind = match &one.got {
                Got::Right(_) => "right".into(),
                Got::Busy => "no room".into(),
                Got::Ours(code) => code.clone(),
                Got::Gone(_) => "connection ended".into(),
                Got::Hang => "HANG".into(),
                Got::Wrong(_) => "WRONG".into(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        let answered = sent.iter().filter(|s| !matches!(s.got, Got::Gone(_) | Got::Hang)).count();
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let slowest = sent.iter().map(|s| s.took).max().unwrap_or_default();
        self.answers = format!(
            "requests {:>3}, answered {answered:>3} ({}), slowest {slowest:.1?}",
            sent.len(),
            kinds.join(", ")
        );
    }

    pub fn ready(&mut self, after: Duration) {
        self.ready = Some(after);
    }

    pub fn passed(mut self) {
        self.passed = true;
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let mut figure = FIGURE.lock().unwrap_or_else(PoisonError::into_inner);
        figure.passed += usize::from(self.passed);
        let Self { engine, name, answers, ready, began, passed } = self;
        let verdict = if *passed { "passed" } else { "FAILED" };
        let ready = ready.map_or("never".into(), |after| format!("{after:.2?}"));
        say(&format!(
            "{engine:6} {name:28} {verdict} | seed {} | {answers} | ready after {ready} | {:.0?} in all \
             | faults passed {} of {}",
            *SEED,
            began.elapsed(),
            figure.passed,
            figure.injected
        ));
    }
}

/// A line on the terminal.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "faults: {line}");
}
