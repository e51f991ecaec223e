//! Executions a second under lasting load, each in a container of its own, beside fork + exec at
//! the same concurrency; and how evenly answers come at half of what one can carry.

use std::time::Duration;

use crate::client::Request;
use crate::docker::Daemon;
use crate::latency::{echo, echo_on_the_host};
use crate::load::{Load, closed, paced, rivals};
use crate::machine::quiet;
use crate::results::{Bar, Report, Table};
use crate::rivals::Rival;
use crate::service::Service;
use crate::stats::{Spread, Times, figure};
use crate::{Bench, Engine};

const CONCURRENCY: [usize; 4] = [2, 8, 32, 128];
/// The concurrency that the bars are about.
const OF_THE_BARS: usize = 8;

/// One contender's rounds.
type Rounds = Vec<Load>;

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let service = bench.start(engine, &[]);
    let echo = Request::printing("hi\n", &echo());
    let mut report = Report::default();
    let mut table = Table::new(&[
        "concurrency",
        "rate ÷ fork + exec's",
        "oncebox, executions/s",
        "fork + exec, executions/s",
        "CPU-ms an execution: oncebox",
        "fork + exec",
        "p50 / p95 / p99, ms: oncebox",
        "fork + exec",
    ]);
    let mut capacity = 0.0;
    for concurrency in CONCURRENCY {
        let mut forks: Vec<Rival> =
            (0..concurrency).map(|_| Rival::start(&echo_on_the_host())).collect();
        let mut dockers = docker_runs(bench, engine, concurrency);
        let (mut ours, mut theirs, mut cli) = (Rounds::new(), Rounds::new(), Rounds::new());
        // In each of the rounds 5 s: 20 s in all.
        let window = bench.pick(Duration::from_secs(5), Duration::from_millis(1500));
        for _ in 0..bench.pick(4, 2) {
            quiet(engine);
            ours.push(closed(&service, &echo, concurrency, window));
            quiet(engine);
            theirs.push(rivals(&mut forks, window));
            if !dockers.is_empty() {
                quiet(engine);
                cli.push(rivals(&mut dockers, window));
            }
        }
        let ratio = ratio(&ours, &theirs);
        table.row([
            concurrency.to_string(),
            ratio.to_string(),
            rate(&ours),
            rate(&theirs),
            cpu(&ours),
            cpu(&theirs),
            times(&ours),
            times(&theirs),
        ]);
        if concurrency == OF_THE_BARS {
            capacity = Spread::of(ours.iter().map(|load| load.rate)).median;
            bars(engine, &mut report, ratio, &ours, &cli);
        }
    }
    report.table("Every container fresh; median of rounds that take turns", &table);
    evenness(bench, engine, &service, capacity / 2.0, &mut report);
    report
}

/// Their rate is only asked for on Docker, and at the concurrency of the bars.
fn docker_runs(bench: &Bench, engine: Engine, concurrency: usize) -> Vec<Rival> {
    let wanted = engine == Engine::Docker && concurrency == OF_THE_BARS;
    let count = if wanted { concurrency } else { 0 };
    (0..count).map(|_| Rival::start(&Daemon::run(&bench.image))).collect()
}

fn bars(engine: Engine, report: &mut Report, ratio: Spread, ours: &[Load], cli: &[Load]) {
    let name = format!("executions/s at concurrency {OF_THE_BARS} ÷ fork + exec's");
    report.bars.push(match engine {
        Engine::Native => Bar::at_least(name, ratio.median, 0.25, Some(0.4)),
        Engine::Docker => Bar::reported(name, ratio.median),
    });
    if !cli.is_empty() {
        let ratio = self::ratio(ours, cli);
        let name = format!("executions/s at concurrency {OF_THE_BARS} ÷ docker run --rm's");
        report.bars.push(Bar::at_least(name, ratio.median, 3.0, None));
        report.note(&format!(
            "At concurrency {OF_THE_BARS}, rate ÷ `docker run --rm --network none`'s: {ratio}; that \
             one runs {} a second, {} CPU-ms each, p50 / p95 / p99 {} ms.",
            rate(cli),
            cpu(cli),
            times(cli)
        ));
    }
}

/// Arrivals at a fixed rate: p99 over p50.
fn evenness(bench: &Bench, engine: Engine, service: &Service, rate: f64, report: &mut Report) {
    // Long enough for a p99 to be more than the worst.
    let enough = Duration::from_secs_f64((300.0 / rate).clamp(20.0, 90.0));
    let time = bench.pick(enough, Duration::from_secs(3));
    let echo = Request::printing("hi\n", &echo());
    let mut table = Table::new(&["p99 ÷ p50", "p50 / p95 / p99, ms", "executions"]);
    let mut ratios = Vec::new();
    for _ in 0..bench.pick(3, 1) {
        quiet(engine);
        let times = paced(service, &echo, rate, time);
        let ratio = times.at(99.0) / times.at(50.0);
        table.row([figure(ratio), times.to_string(), times.len().to_string()]);
        ratios.push(ratio);
    }
    let ratio = Spread::of(ratios).median;
    let most = if engine == Engine::Native { 5.0 } else { 10.0 };
    report.bars.push(Bar::at_most("p99 ÷ p50 at half of that load".into(), ratio, most, None));
    let title = format!(
        "At half of that, {} arrivals a second whatever the answers do; from when each was due",
        figure(rate)
    );
    report.table(&title, &table);
}

fn ratio(above: &[Load], below: &[Load]) -> Spread {
    Spread::of(above.iter().zip(below).map(|(above, below)| above.rate / below.rate))
}

fn rate(rounds: &[Load]) -> String {
    figure(Spread::of(rounds.iter().map(|load| load.rate)).median)
}

fn cpu(rounds: &[Load]) -> String {
    figure(Spread::of(rounds.iter().map(|load| load.cpu)).median)
}

fn times(rounds: &[Load]) -> String {
    Times::new(rounds.iter().flat_map(|load| load.times.clone()).collect()).to_string()
}
