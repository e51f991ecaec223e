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

/// When the load ends.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    Time(Duration),
    Executions(usize),
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
    chance: Mutex<Chance>,
}

impl Load {
    pub fn on(service: &Service, seed: u64) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self {
            client: client.expect("a client"),
            url: format!("http://{}/execute", service.address()),
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

    /// So many a second, at moments of chance, whether or not those before are answered.
    pub async fn open(self: &Arc<Self>, rate: f64, length: Length) -> Vec<Run> {
        let began = Instant::now();
        let mut due = began;
        let mut running = JoinSet::new();
        loop {
            let over = match length {
                Length::Time(time) => due.duration_since(began) >= time,
                Length::Executions(count) => running.len() >= count,
            };
            if over {
                return running.join_all().await;
            }
            let (request, pause) = {
                let mut chance = self.chance();
                (Request::drawn(&mut chance), chance.pause(rate))
            };
            tokio::time::sleep_until(due).await;
            let load = Arc::clone(self);
            running.spawn(async move { load.send(request, due).await });
            due += pause;
        }
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
