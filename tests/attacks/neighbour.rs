//! NEIGHBOUR: while one execution attacks, others are served as ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Service;

/// How many runs tell how long one takes alone, or as many as there is patience for.
const ALONE: usize = 30;
const PATIENCE: Duration = Duration::from_secs(2);
/// Below this a delay is the machine's own.
const FLOOR: Duration = Duration::from_millis(200);
/// The longest that `/health` may take.
pub const HEALTH: Duration = Duration::from_millis(100);

/// What callers beside an attack have seen.
struct Seen {
    executions: Vec<Duration>,
    health: Vec<Duration>,
}

/// Plays an attack while `echo ok` runs again and again in another slot and `/health` is asked.
///
/// # Panics
/// When one of them fails, or takes too long.
#[track_caller]
pub fn beside<T>(service: &Service, attack: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let patient = |_: &usize| began.elapsed() < PATIENCE;
    let alone = slowest(&(0..ALONE).take_while(patient).map(|_| once(service)).collect::<Vec<_>>());
    let over = AtomicBool::new(false);
    let (outcome, seen) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut seen = Seen { executions: Vec::new(), health: Vec::new() };
            while !over.load(Ordering::SeqCst) {
                seen.executions.push(once(service));
                seen.health.push(health(service));
            }
            seen
        });
        let outcome = {
            // However the attack ends, or nobody would ever join the neighbour.
            let _over = Over(&over);
            attack()
        };
        (outcome, neighbour.join().expect("every one of the neighbour's is right"))
    });
    let (executions, health) = (slowest(&seen.executions), slowest(&seen.health));
    let most = (alone * 3).max(FLOOR);
    assert!(executions <= most, "p99 {executions:?} beside the attack, {alone:?} alone");
    assert!(health <= HEALTH, "/health took {health:?}");
    outcome
}

/// Tells that it is over.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The 99th of a hundred.
pub fn slowest(all: &[Duration]) -> Duration {
    let mut sorted = all.to_vec();
    sorted.sort();
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}

fn once(service: &Service) -> Duration {
    let began = Instant::now();
    let answer = service.run(&json!({"script": "echo ok"}));
    assert_eq!((answer.text(), answer.exit_code()), ("ok\n".to_owned(), 0), "{}", answer.0);
    began.elapsed()
}

pub fn health(service: &Service) -> Duration {
    let began = Instant::now();
    assert_eq!(service.get("/health").expect("an answer").http, 200);
    began.elapsed()
}
