//! What the log says of a request: one line each, never its contents.

use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "otel")]
use std::time::SystemTime;

use actix_web::rt;
use tracing::{debug, error, info};
use uuid::Uuid;

use super::{Code, Problem, RequestId};
use crate::execution::Executor;
use crate::execution::admission::{Caller, Who};
use crate::execution::limits::Limits;
use crate::execution::outcome::{LimitHit, Outcome, Status, Timings};
use crate::execution::request::Execution;
use crate::telemetry::{Trace, clean};

/// A request that got no answer: loud where the fault is ours.
pub fn problem(request_id: &str, problem: &Problem) {
    let (status, code) = (problem.status().as_u16(), problem.code.name());
    match problem.fault.as_deref().map(clean) {
        Some(fault) if is_ours(problem) => {
            error!(request_id, status, code, fault, "request failed");
        }
        Some(fault) => info!(request_id, status, code, fault, "request refused"),
        None => info!(request_id, status, code, "request refused"),
    }
}

fn is_ours(problem: &Problem) -> bool {
    problem.status().is_server_error()
}

/// An execution, from when it is asked for to its one line in the log. Dropped without a word on
/// its end, nobody waited for it any more.
pub struct Watched(Line);

impl Watched {
    pub fn begin(
        executor: &Executor,
        execution: &Execution,
        caller: &Caller,
        trace: Trace,
        request_id: RequestId,
    ) -> Self {
        debug!(id = %execution.id, request_id = request_id.as_str(), "execution asked for");
        let bytes = |bytes: usize| bytes as u64;
        let line = Line {
            id: execution.id,
            request_id,
            trace,
            key: match &caller.who {
                Who::Key(name) => Some(Arc::clone(name)),
                Who::Service | Who::Address(_) => None,
            },
            image: execution.image.as_ref().unwrap_or(executor.base_image()).to_string(),
            runtime: execution.runtime.as_ref().map(|runtime| runtime.name.to_string()),
            language: execution.language.map(|language| language.name),
            limits: executor.limits(execution, caller).ok(),
            script: bytes(execution.script.len()),
            stdin: execution.stdin.as_ref().map(|stdin| bytes(stdin.len())),
            files: execution.files.len(),
            file_bytes: execution.files.iter().map(|file| bytes(file.content.len())).sum(),
            #[cfg(feature = "otel")]
            began: SystemTime::now(),
            end: End::Left,
        };
        Self(line)
    }

    /// The script ran, and this is how it ended.
    pub fn ended(mut self, outcome: &Outcome) -> Line {
        let kept = |file: &crate::engine::ResultFile| {
            file.content.as_ref().ok().map(|content| content.bytes.len() as u64)
        };
        self.0.image.clone_from(&outcome.image);
        self.0.end = End::Ended(Ended {
            status: outcome.status,
            exit_code: outcome.exit_code,
            signal: outcome.signal.clone(),
            limits_hit: outcome.limits_hit.iter().copied().map(LimitHit::name).collect(),
            digest: outcome.image_digest.clone(),
            stdout: outcome.stdout.total,
            stderr: outcome.stderr.total,
            files: outcome.files.iter().filter_map(kept).count(),
            file_bytes: outcome.files.iter().filter_map(kept).sum(),
            timings: outcome.timings,
        });
        self.0
    }

    /// The script did not run, or we lost it. The problem that comes back is in the log already.
    pub fn failed(mut self, problem: impl Into<Problem>) -> Problem {
        let problem = problem.into();
        self.0.end = End::Failed {
            status: match problem.code {
                Code::Cancelled => Status::Cancelled.name(),
                _ if is_ours(&problem) => "failed",
                _ => "refused",
            },
            loud: is_ours(&problem) && problem.fault.is_some(),
            code: problem.code.name(),
            fault: problem.fault.as_deref().map(clean),
        };
        Problem { logged: true, ..problem }
    }
}

/// The line of one execution; dropping it writes it.
pub struct Line {
    id: Uuid,
    request_id: RequestId,
    trace: Trace,
    key: Option<Arc<str>>,
    image: String,
    runtime: Option<String>,
    language: Option<&'static str>,
    /// `None` where the request asks for more than it may.
    limits: Option<Limits>,
    script: u64,
    stdin: Option<u64>,
    files: usize,
    file_bytes: u64,
    #[cfg(feature = "otel")]
    began: SystemTime,
    end: End,
}

enum End {
    Left,
    Ended(Ended),
    Failed { status: &'static str, loud: bool, code: &'static str, fault: Option<String> },
}

struct Ended {
    status: Status,
    exit_code: u16,
    signal: Option<String>,
    limits_hit: Vec<&'static str>,
    digest: Option<String>,
    stdout: u64,
    stderr: u64,
    files: usize,
    file_bytes: u64,
    timings: Timings,
}

/// Every field of the line, once for all that is made of it. What is `None` is left out.
macro_rules! fields {
    ($line:ident, $ended:ident, $use:ident) => {
        $use! {
            id = $line.id.to_string().as_str(),
            request_id = $line.request_id.as_str(),
            trace_id = $line.trace.id().to_string().as_str(),
            key = $line.key.as_deref().map(clean).as_deref(),
            image = clean(&$line.image).as_str(),
            digest = $ended.and_then(|ended| ended.digest.as_deref()),
            runtime = $line.runtime.as_deref(),
            language = $line.language,
            timeout = $line.limits.map(|limits| limits.timeout.as_secs_f64()),
            memory_limit = $line.limits.map(|limits| limits.memory),
            cpu_limit = $line.limits.map(|limits| f64::from(limits.cpu_millis) / 1000.0),
            pids_limit = $line.limits.map(|limits| u64::from(limits.pids)),
            tmp_size = $line.limits.map(|limits| limits.tmp),
            output_limit = $line.limits.map(|limits| limits.output),
            status = $line.end.status(),
            exit_code = $ended.map(|ended| u64::from(ended.exit_code)),
            signal = $ended.and_then(|ended| ended.signal.as_deref()),
            limits_hit = $line.end.limits_hit().as_deref(),
            code = $line.end.code(),
            fault = $line.end.fault(),
            script_bytes = $line.script,
            stdin_bytes = $line.stdin,
            files_in = $line.files as u64,
            files_in_bytes = $line.file_bytes,
            stdout_bytes = $ended.map(|ended| ended.stdout),
            stderr_bytes = $ended.map(|ended| ended.stderr),
            files_out = $ended.map(|ended| ended.files as u64),
            files_out_bytes = $ended.map(|ended| ended.file_bytes),
            queued_ms = $ended.map(|ended| milliseconds(ended.timings.queued)),
            prepared_ms = $ended.map(|ended| milliseconds(ended.timings.prepared)),
            ran_ms = $ended.map(|ended| milliseconds(ended.timings.ran)),
        }
    };
}

impl Line {
    /// Writes it when the answer is on its way: a log that is slow is not the client's to wait for.
    /// Must be called by a handler.
    pub fn behind_the_answer(self) {
        rt::spawn(async move { drop(self) });
    }

    fn write(&self) {
        let ended = self.end.ended();
        let message = self.end.message();
        macro_rules! loud {
            ($($name:ident = $value:expr,)*) => { error!($($name = $value,)* "{message}") };
        }
        macro_rules! usual {
            ($($name:ident = $value:expr,)*) => { info!($($name = $value,)* "{message}") };
        }
        match self.end {
            End::Failed { loud: true, .. } => fields!(self, ended, loud),
            _ => fields!(self, ended, usual),
        }
    }

    #[cfg(feature = "otel")]
    fn export(&self) {
        use crate::telemetry::otel::{self, Attributes, Spans};
        if !otel::keeps(&self.trace) {
            return;
        }
        let ended = self.end.ended();
        let mut attributes = Attributes::default();
        macro_rules! collect {
            ($($name:ident = $value:expr,)*) => { $(attributes.add(stringify!($name), $value);)* };
        }
        fields!(self, ended, collect);
        let phases = ended.map_or_else(Vec::new, |Ended { timings, .. }| {
            let Timings { queued, prepared, ran } = *timings;
            vec![("queued", queued), ("prepared", prepared), ("ran", ran)]
        });
        let failed = match self.end {
            End::Failed { loud: true, code, .. } => Some(code),
            _ => None,
        };
        otel::export(Spans {
            trace: self.trace,
            name: "execution",
            began: self.began,
            attributes,
            phases,
            failed,
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write();
        #[cfg(feature = "otel")]
        self.export();
    }
}

impl End {
    fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Ended(ended) => Some(ended),
            Self::Left | Self::Failed { .. } => None,
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Left => "execution given up: nobody waits for its answer",
            Self::Ended(_) => "execution ended",
            Self::Failed { .. } => "execution without an answer",
        }
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Left => Status::Cancelled.name(),
            Self::Ended(ended) => ended.status.name(),
            Self::Failed { status, .. } => status,
        }
    }

    fn limits_hit(&self) -> Option<String> {
        self.ended().map(|ended| ended.limits_hit.join(",")).filter(|hit| !hit.is_empty())
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Failed { code, .. } => Some(code),
            Self::Left | Self::Ended(_) => None,
        }
    }

    fn fault(&self) -> Option<&str> {
        match self {
            Self::Failed { fault, .. } => fault.as_deref(),
            Self::Left | Self::Ended(_) => None,
        }
    }
}

/// With three digits after the point: finer ones would be noise.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
