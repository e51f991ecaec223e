//! The driver: a service under load, one fault, and what must hold after any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{LATE, Load};
use super::seed;
use super::support::chance::Chance;
use super::support::metrics::Metrics;
use super::support::processes::guests;
use super::support::{Engine, Service, until};
use super::table::Row;
use super::task::{Got, Sent, TIMEOUT};

/// From the end of a fault to a service that works.
pub const READY: Duration = Duration::from_secs(5);
/// For what goes away behind the answers.
const SETTLE: Duration = Duration::from_secs(15);
/// For a fault to be felt: longer than the longest patience with an engine.
const FELT: Duration = Duration::from_secs(60);
/// Another caller than the load, whose requests stand before no one's else.
pub const ANOTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Descriptors of a moment: connections that end, and those to the daemon that are kept.
const FLEETING: f64 = 12.0;

/// One kind of fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    /// What a line of the log says of it.
    pub log: &'static str,
    /// What it moves: a sample's name, or how it begins.
    pub metric: &'static str,
    /// Nobody may notice: every request that is let in gets its right answer.
    pub harmless: bool,
    /// The log can't tell of it.
    pub unlogged: bool,
    /// The service itself stands still for so long.
    pub still: Duration,
}

impl Fault {
    pub const fn new(name: &'static str, log: &'static str, metric: &'static str) -> Self {
        Self { name, log, metric, harmless: false, unlogged: false, still: Duration::ZERO }
    }

    pub const fn harmless(self) -> Self {
        Self { harmless: true, ..self }
    }

    pub const fn unlogged(self) -> Self {
        Self { unlogged: true, ..self }
    }

    pub const fn still(self, still: Duration) -> Self {
        Self { still, ..self }
    }
}

/// Lets time pass while the load goes on: what a fault waits for is time itself.
pub fn pass(time: Duration) {
    let (_nobody, never) = channel::<()>();
    let _ = never.recv_timeout(time);
}

/// How many guests a service has, where that can be said.
type Guests<'a> = &'a dyn Fn() -> Option<usize>;

/// A fault that goes on.
pub struct Moment<'a> {
    pub random: Chance,
    signs: Signs<'a>,
}

impl Moment<'_> {
    /// Lets it go on until the service has told of it and has counted it: what a fault touches, and
    /// when, is chance.
    pub fn felt(&self) {
        until("signs of the fault", FELT, || self.signs.all().is_ok().then_some(()));
    }

    /// The same where the service can't be asked meanwhile.
    pub fn told(&self) {
        until("a line of the fault", FELT, || self.signs.told().is_ok().then_some(()));
    }
}

/// Injects a fault into a service under load, and checks everything. `inject` returns when the fault
/// has ended.
pub fn trial(
    service: &Service,
    engine: Engine,
    fault: Fault,
    inject: impl FnOnce(&mut Moment<'_>),
) {
    let guests = || Some(guests(service, engine).len());
    trial_with(service, engine, &guests, fault, inject);
}

/// The same where guests are counted in some way of the caller's.
pub fn trial_with(
    service: &Service,
    engine: Engine,
    guests: Guests<'_>,
    fault: Fault,
    inject: impl FnOnce(&mut Moment<'_>),
) {
    let mut row = Row::begin(engine, fault.name);
    let mut random = seed::chance(&format!("{engine} {}", fault.name));
    let calm = Calm::of(service, guests);
    let signs = Signs::none_yet(service, fault);
    let name = format!("{engine}-{}", fault.name.replace(' ', "-"));
    let load = Load::start(&name, service.address(), &mut random, fault.still);
    load.full(service);
    pass(random.millis(0, 500));
    let mut moment = Moment { random, signs };
    inject(&mut moment);
    row.ready(ready(service));
    load.served();
    let sent = load.stop();
    row.answers(&sent);
    show(moment.signs.log().as_str());
    check_answers(&sent, fault);
    calm.again(service, guests);
    if !fault.unlogged {
        check_lines(&sent, &service.log());
    }
    if let Err(missing) = moment.signs.all() {
        panic!("{missing}:\n{}", service.last_words());
    }
    row.passed();
}

/// What the service said that is more than usual, for whoever looks at the output of a test.
fn show(log: &str) {
    let loud = log.lines().filter(|line| !line.contains("\"INFO\""));
    loud.for_each(|line| eprintln!("{line}"));
}

/// Waits until the service says that it is ready, and an execution is right; how long that took.
pub fn ready(service: &Service) -> Duration {
    let ended = Instant::now();
    let post = service.poster_from(ANOTHER);
    until("a service that is ready and right", READY, || {
        service.get("/ready").ok().filter(|reply| reply.http == 200)?;
        let reply = post(&json!({"script": "echo right; exit 3"})).ok()?;
        let answer = (reply.http == 200).then(|| reply.ran())?;
        assert_eq!((&*answer.text(), answer.exit_code()), ("right\n", 3), "{}", answer.0);
        Some(())
    });
    ended.elapsed()
}

/// No hang, no wrong verdict, no answer twice.
pub fn check_answers(sent: &[Sent], fault: Fault) {
    let mut executions = BTreeSet::new();
    for one in sent {
        match &one.got {
            Got::Right(id) => assert!(executions.insert(id), "{id} was answered twice"),
            Got::Busy => {}
            Got::Ours(_) | Got::Gone(_) => assert!(!fault.harmless, "{one:?}"),
            Got::Hang | Got::Wrong(_) => panic!("{one:?}"),
        }
        let most = TIMEOUT + LATE + fault.still;
        assert!(one.ran.is_none_or(|ran| ran < most), "past its deadline: {one:?}");
    }
}

/// Every request that was answered has one line that tells its end, and none has two.
pub fn check_lines(sent: &[Sent], log: &str) {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let message = line["message"].as_str().unwrap_or_default();
        let is_end = message.starts_with("execution ") || message.starts_with("request ");
        if let (true, Some(id)) = (is_end, line["request_id"].as_str()) {
            *ends.entry(id.to_owned()).or_default() += 1;
        }
    }
    for one in sent {
        let lines = ends.get(&one.id).copied().unwrap_or_default();
        match one.got {
            Got::Right(_) | Got::Ours(_) => assert_eq!(lines, 1, "lines of {one:?}"),
            _ => assert!(lines <= 1, "{lines} lines of {one:?}"),
        }
    }
}

/// How a service tells that there was a fault.
struct Signs<'a> {
    service: &'a Service,
    fault: Fault,
    /// The metric, and the length of the log, before it.
    before: (f64, usize),
}

impl<'a> Signs<'a> {
    fn none_yet(service: &'a Service, fault: Fault) -> Self {
        Self { service, fault, before: (counted(service, fault.metric), service.log().len()) }
    }

    /// What was logged since.
    fn log(&self) -> String {
        self.service.log().split_off(self.before.1)
    }

    /// The fault was told.
    fn told(&self) -> Result<(), String> {
        let Fault { unlogged, log, .. } = self.fault;
        let told = unlogged || self.log().lines().any(|line| line.contains(log));
        told.then_some(()).ok_or_else(|| format!("no line says {log:?}"))
    }

    /// It was told and counted.
    fn all(&self) -> Result<(), String> {
        self.told()?;
        let Fault { metric, .. } = self.fault;
        let moved = counted(self.service, metric) > self.before.0;
        moved.then_some(()).ok_or_else(|| format!("{metric} did not move"))
    }
}

/// All samples whose names begin like this.
pub fn counted(service: &Service, name: &str) -> f64 {
    let samples = Metrics::of(service).samples;
    samples.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
}

/// What a service holds while nobody asks for anything.
struct Calm {
    descriptors: f64,
}

impl Calm {
    fn of(service: &Service, guests: Guests<'_>) -> Self {
        let descriptors = until("a service at rest", SETTLE, || at_rest(service, guests));
        Self { descriptors }
    }

    /// Everything is back to where it was.
    fn again(&self, service: &Service, guests: Guests<'_>) {
        until("all that the fault has left to be gone", SETTLE, || {
            let descriptors = at_rest(service, guests)?;
            (descriptors <= self.descriptors + FLEETING).then_some(())
        });
    }
}

/// The open descriptors beside those of containers that wait, when nothing runs and there is no
/// guest but theirs.
fn at_rest(service: &Service, guests: Guests<'_>) -> Option<f64> {
    let now = Metrics::of(service);
    let idle = now.sample("oncebox_running") == 0.0 && now.sample("oncebox_queue_length") == 0.0;
    let waiting = now.sample("oncebox_pool_waiting");
    let guests = guests()? as f64;
    let open = now.sample("process_open_fds");
    (idle && waiting >= 3.0 && guests == waiting).then_some(open - 2.0 * waiting)
}
