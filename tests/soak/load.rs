//! The load: how much the engine can do, and then an even stream of less than that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::request::Request;
use crate::support::Service;
use crate::support::chance::Chance;

/// At once, to find what the engine can do.
const CALLERS: usize = 16;
/// Longer than any script, its wait included.
const PATIENCE: Duration = Duration::from_secs(60);

/// In so many parts, each the same as the others.
const PARTS: u32 = 10;

/// What became of each part's requests.
pub type Parts = Vec<Vec<Run>>;

/// When the load ends.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    Time(Duration),
    Executions(u32),
}

/// What became of one request.
#[derive(Debug)]
pub struct Run {
    pub hostile: bool,
    /// From when it was due, so that a service that falls behind shows.
    pub took: Duration,
    pub wrong: Option<String>,
}

pub struct Load {
    client: reqwest::Client,
    url: String,
    seed: u64,
    chance: Mutex<Chance>,
}

impl Load {
    pub fn on(service: &Service, seed: u64) -> Self {
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build();
        Self {
            client: client.expect("a client"),
            url: format!("http://{}/execute", service.address()),
            seed,
            chance: Mutex::new(Chance::of(seed)),
        }
    }

    /// Executions a second, with callers enough to keep it busy.
    pub async fn capacity(self: &Arc<Self>, time: Duration) -> f64 {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let load = Arc::clone(self);
            callers.spawn(async move {
                let mut done = 0_usize;
                while began.elapsed() < time {
                    let request = load.drawn();
                    load.send(request, Instant::now()).await;
                    done += 1;
                }
                done
            });
        }
        let done: usize = callers.join_all().await.into_iter().sum();
        done as f64 / began.elapsed().as_secs_f64()
    }

    /// So many a second, at moments of chance, whether or not those before are answered. Each of the
    /// parts is the same requests at the same moments, so that what differs is not their doing.
    pub async fn open(self: &Arc<Self>, rate: f64, length: Length) -> Parts {
        let began = Instant::now();
        let mut due = began;
        let mut parts = Vec::new();
        let mut sent = 0_u32;
        for last in 1..=PARTS {
            let mut chance = Chance::of(self.seed);
            let mut part = JoinSet::new();
            while match length {
                Length::Time(time) => due.duration_since(began) < time * last / PARTS,
                Length::Executions(count) => sent < count * last / PARTS,
            } {
                let (request, pause) = (Request::drawn(&mut chance), chance.pause(rate));
                tokio::time::sleep_until(due).await;
                let load = Arc::clone(self);
                part.spawn(async move { load.send(request, due).await });
                sent += 1;
                due += pause;
            }
            parts.push(part);
        }
        let mut runs = Vec::new();
        for part in parts {
            runs.push(part.join_all().await);
        }
        runs
    }

    async fn send(&self, request: Request, due: Instant) -> Run {
        let sent = self.client.post(&self.url).json(&request.body).send().await;
        let answer = match sent {
            Ok(response) => {
                let http = response.status().as_u16();
                response.json::<Value>().await.map(|answer| (http, answer))
            }
            Err(error) => Err(error),
        };
        let took = due.elapsed();
        let judged = match answer {
            Ok((http, answer)) => request.judge(http, &answer),
            Err(error) => Err(format!("{}: no answer: {error}", request.name)),
        };
        Run { hostile: request.hostile, took, wrong: judged.err() }
    }

    fn drawn(&self) -> Request {
        Request::drawn(&mut self.chance())
    }

    fn chance(&self) -> std::sync::MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
