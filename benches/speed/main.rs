//! How fast Oncebox is, always beside what it is compared with, in one run:
//!
//! ```text
//! cargo bench --bench speed                     all parts but the soak, on both engines
//! cargo bench --bench speed -- latency --engine native
//! cargo bench --bench speed -- soak             100,000 executions on native, 10,000 on Docker
//! cargo bench --bench speed -- --quick          to try it; such figures mean nothing
//! ```
//!
//! It drives the release build of the service over HTTP and writes what it finds to
//! `benches/RESULTS.md` (a quick run to `target/tmp/RESULTS.md`); a part that is not run keeps its
//! last figures there. A wrong answer ends the bench.
//!
//! The native engine needs root; Docker needs a daemon at `DOCKER_HOST` with the suite's images
//! (`tests/images $DOCKER_HOST`); the host needs `python3`, `node` and Debian's `docker-registry`. Nothing else should run on
//! the machine: load generator, service and containers share its cores. It takes most of an hour, the
//! soak on Docker as much again.

// A program for people: it may stop at the first surprise, and it waits by sleeping.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod client;
mod docker;
mod door;
mod latency;
mod load;
mod machine;
mod memory;
mod processes;
mod pull;
mod results;
mod rivals;
mod scaling;
mod service;
mod soak;
mod stats;
mod sustained;

use std::fmt;
use std::process::Stdio;

use clap::{Arg, ArgAction, ArgMatches, Command};

use docker::Daemon;
use results::{Report, Results};
use rivals::Scripts;
use service::Service;

/// What makes the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Native,
    Docker,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Docker => "docker",
        })
    }
}

/// What one run is asked to do, and what all its parts share.
pub struct Bench {
    pub quick: bool,
    /// The image on Docker, for the service and for `docker run`.
    image: String,
    /// Settings of the service, above those of the bench.
    set: Vec<(String, String)>,
    pub scripts: Scripts,
    /// `None` where no daemon answers.
    pub daemon: Option<Daemon>,
}

impl Bench {
    /// Starts a service of its own with these settings.
    pub fn start(&self, engine: Engine, settings: &[(&str, &str)]) -> Service {
        self.start_with(engine, settings, Stdio::inherit())
    }

    /// The same, with its log in a file.
    pub fn start_logging(
        &self,
        engine: Engine,
        settings: &[(&str, &str)],
        log: std::fs::File,
    ) -> Service {
        self.start_with(engine, settings, log.into())
    }

    fn start_with(&self, engine: Engine, settings: &[(&str, &str)], log: Stdio) -> Service {
        let own = self.set.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let settings: Vec<_> = settings.iter().copied().chain(own).collect();
        let image = if engine == Engine::Docker { &self.image } else { "host" };
        Service::start(engine, image, &settings, log)
    }

    /// The first of two figures, or the second in a quick run.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

type Part = fn(&Bench, Engine) -> Report;

/// In the order of the file; all but the last run unless others are named.
const PARTS: [(&str, Part); 7] = [
    ("latency", latency::run),
    ("door", door::run),
    ("sustained", sustained::run),
    ("scaling", scaling::run),
    ("memory", memory::run),
    ("pull", pull::run),
    ("soak", soak::run),
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // Our own re-execution: the minimal program that forks.
    if args.get(1).is_some_and(|word| word == rivals::WORD) {
        return rivals::serve(&args[2..]);
    }
    let asked = command().get_matches_from(&args);
    let daemon = Daemon::reach();
    let engines: Vec<Engine> = match asked.get_one::<String>("engine").map(String::as_str) {
        Some("native") => vec![Engine::Native],
        Some(_) => vec![Engine::Docker],
        None => vec![Engine::Native, Engine::Docker],
    };
    assert!(
        daemon.is_some() || engines == [Engine::Native],
        "no Docker daemon answers at DOCKER_HOST; name one, or say --engine native"
    );
    let bench = Bench {
        quick: asked.get_flag("quick"),
        image: asked.get_one::<String>("image").expect("it has a default").clone(),
        set: settings(&asked),
        scripts: Scripts::write(),
        daemon,
    };
    let mut results = Results::open(bench.quick, &bench.set);
    let named: Vec<&String> = asked.get_many("part").into_iter().flatten().collect();
    for (name, part) in PARTS {
        let wanted =
            if named.is_empty() { name != "soak" } else { named.iter().any(|n| *n == name) };
        for engine in engines.iter().filter(|_| wanted) {
            eprintln!("speed: {engine}, {name}");
            results.record(*engine, name, part(&bench, *engine));
        }
    }
    results.summary();
}

fn command() -> Command {
    Command::new("cargo bench --bench speed --")
        .about("How fast Oncebox is, beside what it is compared with")
        .arg(
            Arg::new("part")
                .action(ArgAction::Append)
                .value_parser(PARTS.map(|(name, _)| name))
                .help("What to run [default: all but soak]"),
        )
        .arg(
            Arg::new("engine")
                .long("engine")
                .value_parser(["native", "docker"])
                .help("The engine to measure [default: both]"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("A few rounds, to see that it works; leaves benches/RESULTS.md alone"),
        )
        .arg(
            Arg::new("image")
                .long("image")
                .default_value("oncebox-test/debian:latest")
                .help("The image on Docker; with sh, python3 and node"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("A setting of the service, such as POOL_SIZE=16; noted in the results"),
        )
        // What cargo itself passes.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

fn settings(asked: &ArgMatches) -> Vec<(String, String)> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').expect("--set takes KEY=VALUE");
        (key.to_owned(), value.to_owned())
    };
    asked.get_many::<String>("set").into_iter().flatten().map(pair).collect()
}
