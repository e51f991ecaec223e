//! Ways to keep the service, or its rivals, busy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::Request;
use crate::machine::Cpu;
use crate::rivals::Rival;
use crate::service::Service;
use crate::stats::Times;

/// From when every connection has had an answer to the begin of the measurement.
const LEAD_IN: Duration = Duration::from_millis(500);

/// What a load has come to.
pub struct Load {
    /// Executions a second.
    pub rate: f64,
    /// Milliseconds of processor time of the whole machine, load generator included, an execution.
    pub cpu: f64,
    pub times: Vec<Duration>,
}

impl Load {
    fn new(times: Vec<Duration>, took: Duration, spent: Duration) -> Self {
        let count = times.len().max(1) as f64;
        Self { rate: count / took.as_secs_f64(), cpu: spent.as_secs_f64() * 1e3 / count, times }
    }
}

/// So many connections, each sending its next request as soon as it has its answer. Counted is what
/// ends within the window, and the window begins in the steady state: what was made ahead is used
/// up, and what is used is made again at the same rate.
pub fn closed(service: &Service, request: &Request, connections: usize, window: Duration) -> Load {
    let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let one = || {
            let mut connection = service.connect();
            let mut ended = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let took = connection.run(request);
                if ended.is_empty() {
                    begun.fetch_add(1, Ordering::Relaxed);
                }
                ended.push((Instant::now(), took));
            }
            ended
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        let alive = || threads.iter().all(|thread| !thread.is_finished());
        while begun.load(Ordering::Relaxed) < connections && alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(LEAD_IN);
        let (cpu, from) = (Cpu::now(), Instant::now());
        std::thread::sleep(window);
        let (spent, until) = (cpu.spent(), Instant::now());
        stop.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().flat_map(|thread| thread.join().expect("right answers"));
        let within = ended.filter(|(at, _)| (from..until).contains(at));
        Load::new(within.map(|(_, took)| took).collect(), until - from, spent)
    })
}

/// All these rivals at once, each running its command again and again.
pub fn rivals(rivals: &mut [Rival], window: Duration) -> Load {
    let (cpu, began) = (Cpu::now(), Instant::now());
    for rival in &mut *rivals {
        rival.ask(window);
    }
    let times = rivals.iter_mut().flat_map(Rival::answer).collect();
    Load::new(times, began.elapsed(), cpu.spent())
}

/// Arrivals at a fixed rate, whatever the answers do; each time counts from when its request was
/// due, so that a slow answer makes those behind it late as well.
pub fn paced(service: &Service, request: &Request, rate: f64, time: Duration) -> Times {
    const CONNECTIONS: usize = 32;
    let arrivals = (rate * time.as_secs_f64()) as usize;
    // All connections are open by then.
    let begin = Instant::now() + Duration::from_millis(100);
    std::thread::scope(|scope| {
        let one = |first: usize| {
            let mut connection = service.connect();
            let run = move |arrival: usize| {
                let due = begin + Duration::from_secs_f64(arrival as f64 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                connection.run(request);
                due.elapsed()
            };
            (first..arrivals).step_by(CONNECTIONS).map(run).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|first| scope.spawn(move || one(first))).collect();
        let times = threads.into_iter().flat_map(|thread| thread.join().expect("right answers"));
        Times::new(times.collect())
    })
}

/// So many executions, over so many connections.
pub fn counted(service: &Service, request: &Request, connections: usize, executions: usize) {
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = service.connect();
                while taken.fetch_add(1, Ordering::Relaxed) < executions {
                    connection.run(request);
                }
            });
        }
    });
}
