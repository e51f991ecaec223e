//! stress-ng: the stressors of a class together, against the limits of one execution.

use super::{attack, record};
use crate::stage::Stage;
use crate::support::Engine;
use crate::support::length::rounds;

const CLASSES: &[&str] = &[
    "cpu-cache",
    "cpu",
    "device",
    "filesystem",
    "gpu",
    "interrupt",
    "io",
    "memory",
    "network",
    "os",
    "pipe",
    "scheduler",
    "security",
    "vm",
];
/// Those whose stressors go for what executions share: the kernel's tables, memory and processes.
const CHOSEN: &[&str] = &["filesystem", "network", "scheduler", "vm"];
/// What it says before it begins.
const BEGINS: &str = "dispatching hogs";

fn stress_ng_stays_within(engine: Engine) {
    let (seconds, full) = (rounds(1, 10), rounds(0, 1) == 1);
    let mut starts = Vec::new();
    for class in if full { CLASSES } else { CHOSEN } {
        // One for each, so that none outlives the patience of its watchdog.
        let stage = Stage::with(engine, &[]);
        let together = format!("--all 1 --timeout {seconds}s");
        let in_turn = full.then(|| "--sequential 1 --timeout 1s".to_owned());
        for how in std::iter::once(together).chain(in_turn) {
            let command =
                format!("stress-ng --class {class} {how} --oomable --temp-path /tmp/work");
            let answer = attack(&stage, &command);
            let began = String::from_utf8_lossy(&answer.stdout()).contains(BEGINS);
            let end = (answer.status(), answer.exit_code(), answer.limits_hit());
            record(&format!("stress-ng on {engine}: {class} {how}: {end:?}, began: {began}"));
            starts.extend(began.then_some(*class));
        }
    }
    starts.dedup();
    record(&format!("stress-ng on {engine}: {} classes began and harmed nobody", starts.len()));
    let missing: Vec<_> = CHOSEN.iter().filter(|class| !starts.contains(class)).collect();
    assert!(missing.is_empty(), "{missing:?} did not begin");
}

on_both_engines! { together: stress_ng_stays_within }
