//! One script with a known right answer, and what became of it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::chance::Chance;
use super::support::{Answer, Reply};

/// What a script may take, by its request.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A script that prints lines and a hash, and exits with a code of its own.
#[derive(Debug, Clone)]
pub struct Task {
    id: String,
    pause: Duration,
    lines: u64,
    code: u64,
    /// Its client follows it.
    followed: bool,
}

/// What a client got for its request.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    /// The one right answer, with the execution's id.
    Right(String),
    /// It was not let in: there is no room.
    Busy,
    /// A problem document that takes the fault on us, by its code.
    Ours(String),
    /// The connection ended.
    Gone(String),
    /// Nothing within the deadline.
    Hang,
    /// Anything else.
    Wrong(String),
}

/// One request.
#[derive(Debug)]
pub struct Sent {
    /// As in `X-Request-Id`.
    pub id: String,
    pub took: Duration,
    /// From the script's start to its end, where its client followed it.
    pub ran: Option<Duration>,
    pub got: Got,
}

impl Task {
    pub fn new(id: String, random: &mut Chance) -> Self {
        Self {
            id,
            pause: random.millis(50, 700),
            // One in four has more to say than fits into one frame or one read.
            lines: if random.below(4) == 0 { 2000 } else { 3 },
            code: random.below(100),
            followed: random.below(3) == 0,
        }
    }

    pub fn request(&self) -> Value {
        let Self { id, pause, lines, code, .. } = self;
        let script = format!(
            "echo begin {id}; sleep {}; i=0; while [ $i -lt {lines} ]; do echo {id} $i; \
             i=$((i+1)); done; printf %s {id} | sha256sum; echo end {id} >&2; exit {code}",
            pause.as_secs_f64()
        );
        json!({"script": script, "timeout": TIMEOUT.as_secs()})
    }

    fn stdout(&self) -> String {
        let Self { id, lines, .. } = self;
        let mut text = format!("begin {id}\n");
        for line in 0..*lines {
            writeln!(text, "{id} {line}").expect("into memory");
        }
        let hash =
            Sha256::digest(id).iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        text + &format!("{hash}  -\n")
    }

    /// Sends it, and waits for what comes until `deadline`.
    pub fn send(&self, client: &Client, address: SocketAddr, deadline: Duration) -> Sent {
        let began = Instant::now();
        let post = client.post(format!("http://{address}/execute")).timeout(deadline);
        let post = post.header("x-request-id", &self.id).json(&self.request());
        let (got, ran) = match self.followed {
            true => follow(self, post.header("accept", "text/event-stream").send()),
            false => {
                (post.send().and_then(reply).map_or_else(gone, |reply| self.judge(reply)), None)
            }
        };
        Sent { id: self.id.clone(), took: began.elapsed(), ran, got }
    }

    fn judge(&self, reply: Reply) -> Got {
        match reply.http {
            200 => match serde_json::from_slice(&reply.body) {
                Ok(answer) => self.judge_answer(answer),
                Err(error) => Got::Wrong(format!("no JSON: {error}")),
            },
            400.. => judge_problem(reply.refused().0),
            other => Got::Wrong(format!("status {other}")),
        }
    }

    fn judge_answer(&self, answer: Value) -> Got {
        let answer = Answer::read(answer);
        let right = answer.status() == "completed"
            && answer.exit_code() == i64::try_from(self.code).expect("small")
            && answer.stdout() == self.stdout().as_bytes()
            && answer.0["stderr"] == format!("end {}\n", self.id);
        match right {
            true => Got::Right(answer.0["id"].as_str().expect("an id").to_owned()),
            false => Got::Wrong(format!("{self:?} was answered by {}", answer.0)),
        }
    }
}

fn judge_problem(problem: Value) -> Got {
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    match (problem["status"].as_u64(), &*code) {
        (_, "queue_full" | "queue_timeout" | "too_many_connections") => Got::Busy,
        (Some(500..), _) => Got::Ours(code),
        _ => Got::Wrong(problem.to_string()),
    }
}

fn reply(response: Response) -> reqwest::Result<Reply> {
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Ok(Reply {
        http: response.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        retry_after: header("retry-after"),
        body: response.bytes()?.to_vec(),
    })
}

fn gone(error: reqwest::Error) -> Got {
    match error.is_timeout() {
        true => Got::Hang,
        false => Got::Gone(format!("{error:?}")),
    }
}

/// Reads the events of an execution, of which any may be the last that comes.
fn follow(task: &Task, response: reqwest::Result<Response>) -> (Got, Option<Duration>) {
    let response = match response {
        Ok(response) if response.status() == 200 => response,
        Ok(other) => return (reply(other).map_or_else(gone, |reply| task.judge(reply)), None),
        Err(error) => return (gone(error), None),
    };
    let (mut name, mut started) = (String::new(), None);
    for line in BufReader::new(response).lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return (Got::Hang, None),
            Err(error) => return (Got::Gone(error.to_string()), None),
        };
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
            if name == "started" {
                started = Some(Instant::now());
            }
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let ran = started.map(|at| at.elapsed());
        match (&*name, serde_json::from_str(data)) {
            ("result", Ok(answer)) => return (task.judge_answer(answer), ran),
            ("error", Ok(problem)) => return (judge_problem(problem), ran),
            (_, Err(error)) => return (Got::Wrong(format!("{error} in {line:?}")), ran),
            _ => {}
        }
    }
    (Got::Gone("the events ended".into()), None)
}
