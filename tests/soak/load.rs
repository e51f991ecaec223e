//! The load: how much the engine can do, and then an even stream of less than that.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
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

/// What became of the requests.
pub struct Parts {
    /// Of one more part before the others: it finds what the callers left who tried how much the
    /// engine can do, so that it says nothing of how long this load takes.
    pub before: Vec<Run>,
    pub each: Vec<Vec<Run>>,
}

/// When the load ends.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    Time(Duration),
    Executions(u32),
}

impl Length {
    /// Whether another request belongs to its first parts, after so long and so many requests.
    fn reaches(self, parts: u32, after: Duration, sent: u32) -> bool {
        match self {
            Self::Time(time) => after < time * parts / PARTS,
            Self::Executions(count) => sent < count * parts / PARTS,
        }
    }
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
}

impl Load {
    pub fn on(service: &Service, seed: u64) -> Self {
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build();
        Self {
            client: client.expect("a client"),
            url: format!("http://{}/execute", service.address()),
            seed,
        }
    }

    /// Executions a second, with callers enough to keep it busy and the requests of one part: which
    /// hostile scripts there are decides more than anything else what the engine can do.
    pub async fn capacity(&self, length: Length) -> f64 {
        let began = Instant::now();
        let (mut chance, mut sent) = (Chance::of(self.seed), 0);
        let requests = iter::from_fn(|| {
            length.reaches(1, began.elapsed(), sent).then(|| {
                sent += 1;
                Self::drawn(&mut chance, 1.0).0
            })
        });
        let callers = stream::iter(requests).for_each_concurrent(CALLERS, async |request| {
            self.send(request, Instant::now()).await;
        });
        callers.await;
        f64::from(sent) / began.elapsed().as_secs_f64()
    }

    /// So many a second, at moments of chance, whether or not those before are answered. Each of the
    /// parts is the same requests at the same moments, so that what differs is not their doing.
    pub async fn open(self: &Arc<Self>, rate: f64, length: Length) -> Parts {
        let began = Instant::now();
        let mut due = began;
        let mut parts = Vec::new();
        let mut sent = 0_u32;
        for last in 1..=PARTS + 1 {
            let mut chance = Chance::of(self.seed);
            let mut part = JoinSet::new();
            while length.reaches(last, due.duration_since(began), sent) {
                let (request, pause) = Self::drawn(&mut chance, rate);
                tokio::time::sleep_until(due).await;
                let load = Arc::clone(self);
                part.spawn(async move { load.send(request, due).await });
                sent += 1;
                due += pause;
            }
            parts.push(part);
        }
        let mut each = Vec::new();
        for part in parts {
            each.push(part.join_all().await);
        }
        Parts { before: each.remove(0), each }
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

    /// A request, and how long after it the next one is due.
    fn drawn(chance: &mut Chance, rate: f64) -> (Request, Duration) {
        (Request::drawn(chance), chance.pause(rate))
    }
}
