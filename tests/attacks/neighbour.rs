//! NEIGHBOUR: while one execution attacks, others are served as ever.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Service;
use crate::support::meanwhile::meanwhile;
use crate::support::wait::percentile;

/// How many runs tell how long one takes alone, or as many as there is patience for.
const ALONE: usize = 30;
const PATIENCE: Duration = Duration::from_secs(2);
/// Below this a delay is the machine's own.
const FLOOR: Duration = Duration::from_millis(200);
/// The longest that `/health` may take.
pub const HEALTH: Duration = Duration::from_millis(100);

/// Plays an attack while `echo ok` runs again and again in another slot and `/health` is asked.
///
/// # Panics
/// When one of them fails, or takes too long.
#[track_caller]
pub fn beside<T>(service: &Service, attack: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let patient = |_: &usize| began.elapsed() < PATIENCE;
    let alone: Vec<_> = (0..ALONE).take_while(patient).map(|_| once(service)).collect();
    let alone = percentile(&alone, 99);
    let again = || (once(service), health(service));
    let (outcome, seen) = meanwhile(again, attack);
    let (executions, health): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let (executions, health) = (percentile(&executions, 99), percentile(&health, 99));
    let most = (alone * 3).max(FLOOR);
    assert!(executions <= most, "p99 {executions:?} beside the attack, {alone:?} alone");
    assert!(health <= HEALTH, "/health took {health:?}");
    outcome
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
