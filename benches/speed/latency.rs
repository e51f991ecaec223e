//! How long one client waits for one answer, over one keep-alive connection.
//!
//! *From rest*: one turn each, beginning when the machine is quiet, so that a container waits and
//! nobody pays for another's tidying. *Back to back*: blocks of requests without a pause, so that
//! making the next containers competes with running in this one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Request;
use crate::docker::Daemon;
use crate::machine::quiet;
use crate::results::{Bar, Report, Table};
use crate::rivals::Rival;
use crate::service::Service;
use crate::stats::{Spread, Times};
use crate::{Bench, Engine};

/// Before the clock starts: caches fill, lazy things are made.
const WARM_UP: usize = 5;

/// How turns are taken.
pub struct Rhythm {
    /// So many series, each with a ratio of its own.
    pub series: usize,
    /// Turns of each contender in a series.
    pub rounds: usize,
    /// Runs that count in one turn, and those before them that don't.
    pub block: usize,
    pub lead: usize,
}

/// What one contender needed, by series.
pub type Measured = Vec<Vec<Duration>>;
pub type Contender<'a> = Box<dyn FnMut() -> Duration + 'a>;

/// A hello in one language, and the command that says it on the host.
struct Hello {
    name: &'static str,
    request: Value,
    rival: Vec<String>,
    /// The most that it may take, as a multiple of the host's, and the aim.
    native: (f64, Option<f64>),
    docker: (f64, Option<f64>),
}

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let service = bench.start(engine, &[]);
    let mut report = Report::default();
    let mut table = Table::new(&["", "ratio of p50", "oncebox", "the other", "runs"]);
    let rest = Rhythm { series: bench.pick(5, 2), rounds: bench.pick(40, 5), block: 1, lead: 0 };
    for hello in hellos(bench) {
        let mut contenders =
            [ours(&service, &hello.request), fork_exec(Rival::start(&hello.rival))];
        let [ours, theirs] = take_turns(engine, &mut contenders, &rest);
        let ratio = ratio(&ours, &theirs);
        let (most, aim) = if engine == Engine::Native { hello.native } else { hello.docker };
        let name = format!("{} p50 ÷ the same on the host, from rest", hello.name);
        report.bars.push(Bar::at_most(name, ratio.median, most, aim));
        let name = format!("{}: oncebox ÷ fork + exec, from rest", hello.name);
        table.row([name, ratio.to_string(), text(&ours), text(&theirs), count(&ours)]);
    }
    streak(bench, engine, &service, &mut report, &mut table);
    if bench.daemon.is_some() {
        against_docker(bench, engine, &service, &mut report, &mut table);
    } else {
        report.note("No Docker daemon answered: not held against `docker run`.");
    }
    report.table("p50 / p95 / p99 in milliseconds", &table);
    report
}

fn hellos(bench: &Bench) -> [Hello; 3] {
    let python = json!({"script": "print('hi')\n", "language": "python"});
    let node = json!({"script": "console.log('hi')\n", "language": "node"});
    [
        Hello {
            name: "echo hi",
            request: echo(),
            rival: echo_on_the_host(),
            native: (1.5, Some(1.0)),
            docker: (5.0, Some(2.5)),
        },
        Hello {
            name: "Python hello",
            request: python,
            rival: bench.scripts.command("python3", "hello.py"),
            native: (0.4, Some(0.25)),
            docker: (0.5, None),
        },
        Hello {
            name: "Node hello",
            request: node,
            rival: bench.scripts.command("node", "hello.js"),
            native: (0.3, Some(0.15)),
            docker: (0.4, None),
        },
    ]
}

/// The request of most parts.
pub fn echo() -> Value {
    json!({"script": "echo hi"})
}

/// The command of most rivals.
pub fn echo_on_the_host() -> Vec<String> {
    ["/bin/sh", "-c", "echo hi"].map(str::to_owned).to_vec()
}

fn streak(
    bench: &Bench,
    engine: Engine,
    service: &Service,
    report: &mut Report,
    table: &mut Table,
) {
    let (block, rounds) = if engine == Engine::Native { (50, 4) } else { (20, 1) };
    let (series, block) = (bench.pick(5, 2), bench.pick(block, 10));
    let rhythm = Rhythm { series, rounds: bench.pick(rounds, 1), block, lead: bench.pick(10, 5) };
    let mut contenders = [ours(service, &echo()), fork_exec(Rival::start(&echo_on_the_host()))];
    let [ours, theirs] = take_turns(engine, &mut contenders, &rhythm);
    let ratio = ratio(&ours, &theirs);
    if engine == Engine::Native {
        let name = "echo hi p50 ÷ the same on the host, back to back".into();
        report.bars.push(Bar::at_most(name, ratio.median, 1.5, Some(1.0)));
    }
    let name = "echo hi: oncebox ÷ fork + exec, back to back".into();
    table.row([name, ratio.to_string(), text(&ours), text(&theirs), count(&ours)]);
}

fn against_docker(
    bench: &Bench,
    engine: Engine,
    service: &Service,
    report: &mut Report,
    table: &mut Table,
) {
    let daemon = bench.daemon.as_ref().expect("it was asked for");
    let mut api = daemon.api().expect("the daemon takes connections");
    let mut contenders = [
        ours(service, &echo()),
        fork_exec(Rival::start(&Daemon::run(&bench.image))),
        Box::new(move || api.container(&bench.image)),
    ];
    let rhythm = Rhythm { series: 3, rounds: bench.pick(10, 1), block: 1, lead: 0 };
    let [ours, cli, api] = take_turns(engine, &mut contenders, &rhythm);
    let (least, aim) = if engine == Engine::Native { (200.0, 300.0) } else { (50.0, 150.0) };
    let ratio_cli = ratio(&cli, &ours);
    let name = "docker run --rm p50 ÷ echo hi, from rest".into();
    report.bars.push(Bar::at_least(name, ratio_cli.median, least, Some(aim)));
    let rows = [
        ("docker run --rm --network none ÷ oncebox, from rest", &cli, ratio_cli),
        ("Docker API create, start, wait, remove ÷ oncebox, from rest", &api, ratio(&api, &ours)),
    ];
    for (name, theirs, ratio) in rows {
        table.row([name.into(), ratio.to_string(), text(&ours), text(theirs), count(&ours)]);
    }
}

pub fn ours<'a>(service: &Service, body: &Value) -> Contender<'a> {
    let mut connection = service.connect();
    let request = Request::printing("hi\n", body);
    Box::new(move || connection.run(&request))
}

fn fork_exec<'a>(mut rival: Rival) -> Contender<'a> {
    Box::new(move || rival.once())
}

pub fn take_turns<const N: usize>(
    engine: Engine,
    contenders: &mut [Contender<'_>; N],
    rhythm: &Rhythm,
) -> [Measured; N] {
    let mut measured = [(); N].map(|()| Measured::new());
    for contender in &mut *contenders {
        for _ in 0..WARM_UP {
            contender();
        }
    }
    for _ in 0..rhythm.series {
        let mut series = [(); N].map(|()| Vec::new());
        for _ in 0..rhythm.rounds {
            for (contender, times) in contenders.iter_mut().zip(&mut series) {
                quiet(engine);
                for _ in 0..rhythm.lead {
                    contender();
                }
                times.extend((0..rhythm.block).map(|_| contender()));
            }
        }
        for (all, series) in measured.iter_mut().zip(series) {
            all.push(series);
        }
    }
    measured
}

/// The ratio of medians, series by series.
pub fn ratio(above: &Measured, below: &Measured) -> Spread {
    let p50 = |times: &Vec<Duration>| Times::new(times.clone()).at(50.0);
    Spread::of(above.iter().zip(below).map(|(above, below)| p50(above) / p50(below)))
}

pub fn text(measured: &Measured) -> String {
    Times::new(measured.concat()).to_string()
}

pub fn count(measured: &Measured) -> String {
    measured.concat().len().to_string()
}
