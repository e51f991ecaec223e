//! Runs for minutes at 70 % of what the engine can do, one execution in ten hostile, and says what
//! became of all of them.
//!
//! ```text
//! cargo test --test soak -- --engine native --minutes 3
//! cargo test --release --test soak -- --engine docker --executions 5000
//! ```
//!
//! It fails on a wrong verdict, on an honest script that did not get its own answer, on anything left
//! behind, and where the service's memory or descriptors grow. The load is the same ten times, behind once
//! that only warms up, so that what the last tenth takes longer than the first is not the load's doing.
//! How far the 99th percentile drifts is a figure of time all the same: it is printed beside its bar,
//! and counts with `--strict`, on a machine that does nothing else.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    unreachable_pub,
    unused_macros
)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

mod honest;
mod hostile;
mod load;
mod report;
mod request;
mod resources;
#[path = "../attacks/scripts.rs"]
mod scripts;

use std::num::ParseFloatError;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command, value_parser};

use crate::load::{Length, Load};
use crate::report::Report;
use crate::resources::{Resources, sample};
use crate::support::chance::Chance;
use crate::support::{Engine, Service, engines, host, until};

/// Of what the engine can do.
const SHARE: f64 = 0.7;
/// For what goes away behind the last answers, and behind the end.
const SETTLE: Duration = Duration::from_secs(10);

const SETTINGS: &[(&str, &str)] = &[
    ("MEMORY_LIMIT", "64m"),
    ("TMP_SIZE", "16m"),
    ("OUTPUT_LIMIT", "64k"),
    ("TIMEOUT", "10"),
    ("MAX_CONCURRENT", "8"),
    ("QUEUE_LIMIT", "1000"),
    ("QUEUE_TIMEOUT", "30"),
];

fn main() -> ExitCode {
    let asked = arguments().get_matches();
    let seed = asked.get_one("seed").copied().unwrap_or_else(Chance::seed);
    let minutes: f64 = *asked.get_one("minutes").expect("a default");
    let length = asked.get_one::<u32>("executions").map_or_else(
        || Length::Time(Duration::from_secs_f64(minutes * 60.0)),
        |executions| Length::Executions(*executions),
    );
    let named: Option<&String> = asked.get_one("engine");
    let chosen = engines().into_iter().filter(|e| named.is_none_or(|name| *name == e.to_string()));
    // What is left is looked for at every engine; one that does not answer is told before the load.
    if engines().contains(&Engine::Docker) {
        host::docker(&["version"]);
    }
    let mut passed = true;
    for engine in chosen {
        let report = soak(engine, length, seed);
        println!("{report}");
        passed &= report.passed(asked.get_flag("strict"));
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Command {
    Command::new("soak").args([
        Arg::new("engine")
            .long("engine")
            .value_parser(["native", "docker"])
            .help("Both without it"),
        Arg::new("minutes")
            .long("minutes")
            .value_parser(minutes)
            .default_value("3")
            .help("How long each engine is under load, 0.1 or more"),
        Arg::new("executions")
            .long("executions")
            .value_parser(value_parser!(u32).range(100..))
            .help("End after so many, 100 or more, instead"),
        Arg::new("seed").long("seed").value_parser(value_parser!(u64)).help("Of an earlier run"),
        Arg::new("strict")
            .long("strict")
            .action(ArgAction::SetTrue)
            .help("Let the drift of p99 count, on a machine at rest"),
    ])
}

/// Less leaves parts without anything to compare.
fn minutes(asked: &str) -> Result<f64, String> {
    let minutes = asked.parse().map_err(|e: ParseFloatError| e.to_string())?;
    let some = (0.1..=f64::from(u16::MAX)).contains(&minutes);
    some.then_some(minutes).ok_or_else(|| "not from 0.1 to 65535".to_owned())
}

fn soak(engine: Engine, length: Length, seed: u64) -> Report {
    let mut service = Service::start(engine, SETTINGS);
    ready(&service);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let load = Arc::new(Load::on(&service, seed));
    let capacity = runtime.block_on(load.capacity(length));
    let before = sample(service.pid());
    let resources = Resources::watch(service.pid());
    let parts = runtime.block_on(load.open(capacity * SHARE, length));
    drop(runtime);
    let resources = resources.end();
    let after = settled(|| sample(service.pid()), |now| now.descriptors <= before.descriptors);
    service.terminate();
    let stopped = service.wait();
    let log = service.last_words();
    let residue = service.gone_by_force();
    let orphans = settled(|| residue.left(), |left| left.is_empty());
    Report {
        engine,
        seed,
        capacity,
        parts,
        resources,
        rest: (before, after),
        orphans,
        stopped,
        log,
    }
}

/// The first look at which all is well, or the last there was time for.
fn settled<T>(look: impl Fn() -> T, well: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    until("a look at what is left", SETTLE * 2, || {
        let late = began.elapsed() > SETTLE;
        Some(look()).filter(|seen| late || well(seen))
    })
}

fn ready(service: &Service) {
    until("a full pool", Duration::from_secs(60), || {
        (service.get("/ready").expect("an answer").http == 200).then_some(())
    });
}
