//! One throwaway container, from *ready* to its end.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncebox_guest::wire::{
    self, CHUNK, Ended, Exit, Order, Posture, Prestart, Report, SkipReason, Usage,
};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Channel, ContainerSpec, EngineError};

/// From a new container to its guest's first words.
const READY: Duration = Duration::from_secs(20);
/// For an interpreter to be ready for its program.
const PRESTART: Duration = Duration::from_secs(20);
/// For an engine to apply other limits to a waiting container and to read them back.
const LIMIT: Duration = Duration::from_secs(5);
/// For the guest to take the whole job.
const DELIVER: Duration = Duration::from_secs(20);
/// For the guest to start the script once it has the whole job; the script's own time begins then.
const START: Duration = Duration::from_secs(10);
/// For the guest to kill the script and report, once told to stop; after it the container is
/// killed from outside.
const STOP_GRACE: Duration = Duration::from_millis(300);
/// How much of that passes before a guest that is still silent counts as starved by its own script.
const STARVED: Duration = Duration::from_millis(50);
/// How many reports that had arrived by then are still looked at.
const LAST_WORDS: usize = 64;
/// For whatever carries the guest's words to say that it works, when none have come.
const CARRIER: Duration = Duration::from_millis(400);
/// For words that it had kept until then.
const KEPT_WORDS: Duration = Duration::from_millis(50);
/// For the result files to come back once the script has ended.
const COLLECT: Duration = Duration::from_secs(10);
/// For an engine to say how a container ended that nobody had stopped.
const POST_MORTEM: Duration = Duration::from_secs(5);
/// For an engine to kill a container that did not stop when told to: the answer is late already.
const KILL: Duration = Duration::from_millis(100);
/// How much later than the service's deadline the guest's own timer fires.
const TIMER_MARGIN: Duration = Duration::from_secs(2);

/// The guard of everything a container holds at its engine. Dropping it kills the container and
/// gives everything back, in the background.
pub trait Hold: Send {
    /// Applies the limits of `spec` to a container that waits for its job, and reads them back.
    /// The size of `/tmp` stays as it is.
    fn limit<'a>(&'a mut self, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Asks whatever stands between the guest and us, and carries its words, whether it works; `None`
    /// where nothing does. Where it does not, silence says nothing of the guest.
    fn carrier(&mut self) -> Option<BoxFuture<'_, Result<(), EngineError>>> {
        None
    }

    /// The guest was told to stop its script, and is silent. Gives what is in the container all the
    /// processor time there is, where the engine can: held to its limit, a crowd of processes takes
    /// seconds to die, and the guest dies with them before it has told what they used.
    fn unthrottle(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    /// The guest has said its last word and ends by itself, and the container with it. Gives
    /// everything back, at no cost to the answer that is on its way.
    fn finished(self: Box<Self>);

    /// Kills the container now and reads its counters for the last time, where the engine can.
    fn post_mortem(self: Box<Self>) -> BoxFuture<'static, Option<Usage>>;
}

/// Takes a script's output as it comes.
pub trait Sink: Send {
    /// The script begins.
    fn started(&mut self) {}
    fn stdout(&mut self, bytes: &[u8]);
    fn stderr(&mut self, bytes: &[u8]);
}

/// What one container is to do, once.
#[derive(Debug, Clone)]
pub struct Job {
    pub head: wire::Job,
    pub files: Vec<JobFile>,
    pub stdin: Option<Bytes>,
    pub timeout: Duration,
}

/// A file to write beneath the working directory before the script starts.
#[derive(Debug, Clone)]
pub struct JobFile {
    pub path: String,
    pub content: Bytes,
    pub executable: bool,
}

/// Why the service ended a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Deadline,
    Cancelled,
}

/// How a script ended, as its engine saw it.
#[derive(Debug, Clone)]
pub struct RunEnd {
    pub exit: Exit,
    /// We ended it, and why; `None` when it ended by itself.
    pub stopped: Option<Stop>,
    pub wall: Duration,
    /// Bytes written in all; `None` where the guest could no longer say.
    pub stdout_total: Option<u64>,
    pub stderr_total: Option<u64>,
    pub usage: Usage,
    pub files: Vec<ResultFile>,
}

impl RunEnd {
    /// What the machine lacked, or the group that the service itself is in, where the kernel refused
    /// a process to a script that had fewer than it may have, or killed for memory though less was
    /// used than there may be.
    #[must_use]
    pub fn starved_of(&self, spec: &ContainerSpec) -> Option<&'static str> {
        let happened = |count: Option<u64>| count.is_some_and(|count| count > 0);
        let Usage { pids_refused, max_pids, oom_kills, max_memory, .. } = self.usage;
        if happened(pids_refused) && max_pids.is_some_and(|most| most < u64::from(spec.pids)) {
            return Some("process");
        }
        // The kernel takes memory in batches and counts what was granted: a group that has reached
        // its limit may have been a little below it.
        let all_but_a_little = spec.memory - spec.memory / 16;
        let spared = max_memory.is_some_and(|most| most < all_but_a_little);
        (happened(oom_kills) && spared).then_some("memory")
    }
}

/// A file that matched one of the output patterns.
#[derive(Debug, Clone)]
pub struct ResultFile {
    pub path: String,
    pub content: Result<ResultContent, SkipReason>,
}

/// A result file's bytes and whether it may be executed.
#[derive(Debug, Clone)]
pub struct ResultContent {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

/// We failed, not the script.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct RunError {
    pub error: EngineError,
    /// Something of the script was heard. Otherwise another container may take the job: whatever a
    /// script has done in its first moment went with its container.
    pub started: bool,
}

impl From<EngineError> for RunError {
    /// For what fails before the script begins.
    fn from(error: EngineError) -> Self {
        Self { error, started: false }
    }
}

/// What came of starting an interpreter ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prestarted {
    /// It waits for its program. Otherwise the guest waits alone, as before.
    pub waits: bool,
    /// Bytes of memory the container takes; `None` where the guest can't say.
    pub memory: Option<u64>,
}

/// A container whose guest waits for its only job. `run` consumes it: no container ever runs two.
pub struct Container {
    channel: Channel,
    hold: Box<dyn Hold>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Container")
    }
}

impl Container {
    /// Waits for the guest's first report and hands its posture to `verify`; a container that is
    /// not what was asked for is killed.
    ///
    /// # Errors
    /// [`EngineError::Make`] with what differs; [`EngineError::Slow`] when no report comes.
    pub async fn ready(
        mut channel: Channel,
        hold: Box<dyn Hold>,
        verify: impl FnOnce(&Posture) -> Result<(), String>,
    ) -> Result<Self, EngineError> {
        let report = timeout(READY, channel.next())
            .await
            .map_err(|_| EngineError::Slow("the guest did not report ready".into()))?;
        match report? {
            Some(Report::Ready(posture)) => verify(&posture).map_err(EngineError::Make)?,
            Some(Report::Broken { step, errno }) => return Err(broken(step, errno)),
            Some(_) => return Err(EngineError::Protocol("expected the guest to be ready".into())),
            None => return Err(EngineError::Make("the guest ended before it was ready".into())),
        }
        Ok(Self { channel, hold })
    }

    /// Starts an interpreter that waits for its program; at most once.
    ///
    /// # Errors
    /// When the container can't be used any more. An interpreter that is not there is no error.
    pub async fn prestart(&mut self, wanted: &Prestart) -> Result<Prestarted, EngineError> {
        self.channel.order(&Order::Prestart(wanted.clone())).await?;
        let slow = |_| EngineError::Slow("no interpreter was started ahead".into());
        match timeout(PRESTART, self.channel.next()).await.map_err(slow)?? {
            Some(Report::Prestarted { waits, memory }) => Ok(Prestarted { waits, memory }),
            Some(Report::Broken { step, errno }) => Err(broken(step, errno)),
            Some(_) => Err(EngineError::Protocol("expected an interpreter to be started".into())),
            None => Err(EngineError::Lost("the guest ended before its job".into())),
        }
    }

    /// Gives a waiting container other limits, read back; its `/tmp` keeps its size.
    ///
    /// # Errors
    /// When they do not hold; the container must not be used then.
    pub async fn limit(&mut self, spec: &ContainerSpec) -> Result<(), EngineError> {
        timeout(LIMIT, self.hold.limit(spec))
            .await
            .map_err(|_| EngineError::Slow("limits were not applied".into()))?
    }

    /// Ready when a waiting container can't be used any more: a guest that waits says nothing.
    pub fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(self.channel.next()).poll(cx).map(drop)
    }

    /// Runs one job to its end. The first of the script's own exit, the deadline and `cancel` wins.
    /// When the future is dropped, the container is killed.
    ///
    /// # Errors
    /// Only when we failed; however the script ends, that is a [`RunEnd`].
    pub async fn run(
        mut self,
        job: &Job,
        cancel: &CancellationToken,
        sink: &mut dyn Sink,
    ) -> Result<RunEnd, RunError> {
        let handed = Instant::now();
        self.channel.settle()?;
        timeout(DELIVER, self.deliver(job))
            .await
            .map_err(|_| EngineError::Slow("the guest did not take the job".into()))??;
        let mut started = false;
        let end = self.finish(job, cancel, sink, handed, &mut started).await;
        end.map_err(|error| RunError { error, started })
    }

    async fn finish(
        mut self,
        job: &Job,
        cancel: &CancellationToken,
        sink: &mut dyn Sink,
        handed: Instant,
        started: &mut bool,
    ) -> Result<RunEnd, EngineError> {
        let began = Instant::now();
        let stop = match self.pump(job.timeout, cancel, sink, started).await? {
            Pumped::Ended(ended, stop) => {
                let wall = Duration::from_nanos(ended.wall_ns).min(handed.elapsed());
                let files = timeout(COLLECT, self.collect(job))
                    .await
                    .map_err(|_| EngineError::Slow("result files did not come".into()))??;
                self.hold.finished();
                return Ok(RunEnd {
                    exit: ended.exit,
                    // A guest that stopped the script unasked did so by its own timer.
                    stopped: ended.stopped.then(|| stop.unwrap_or(Stop::Deadline)),
                    wall,
                    stdout_total: Some(ended.stdout_total),
                    stderr_total: Some(ended.stderr_total),
                    usage: ended.usage,
                    files,
                });
            }
            Pumped::Silent(stop) => stop,
        };
        let wall = began.elapsed();
        let patience = if stop.is_some() { KILL } else { POST_MORTEM };
        let usage = timeout(patience, self.hold.post_mortem()).await.unwrap_or_default();
        let out_of_memory = usage.and_then(|usage| usage.oom_kills).is_some_and(|kills| kills > 0);
        if stop.is_none() && !out_of_memory {
            return Err(EngineError::Lost("the guest ended without a report".into()));
        }
        Ok(RunEnd {
            exit: Exit::Signal(9),
            stopped: stop,
            wall,
            stdout_total: None,
            stderr_total: None,
            usage: usage.unwrap_or_default(),
            files: Vec::new(),
        })
    }

    async fn deliver(&mut self, job: &Job) -> Result<(), EngineError> {
        let sent = self.send_job(job).await;
        let Err(lost) = sent else { return Ok(()) };
        // A guest that refused a file or could not go on has said so before it closed the stream.
        match self.channel.next().await {
            Ok(Some(Report::Refused { path, errno })) => Err(refused(path, errno)),
            Ok(Some(Report::Broken { step, errno })) => Err(broken(step, errno)),
            _ => Err(lost),
        }
    }

    async fn send_job(&mut self, job: &Job) -> Result<(), EngineError> {
        let mut buffer = Vec::with_capacity(CHUNK + 1024);
        let timer = job.timeout + TIMER_MARGIN;
        let timer_ms = u64::try_from(timer.as_millis()).unwrap_or(u64::MAX);
        Order::Job(wire::Job { timer_ms, ..job.head.clone() }).encode(&mut buffer);
        for file in &job.files {
            let size = file.content.len() as u64;
            let path = file.path.as_bytes();
            Order::File { path, executable: file.executable, size }.encode(&mut buffer);
            self.send_data(&mut buffer, &file.content).await?;
        }
        if let Some(stdin) = &job.stdin {
            Order::Stdin { size: stdin.len() as u64 }.encode(&mut buffer);
            self.send_data(&mut buffer, stdin).await?;
        }
        Order::Go.encode(&mut buffer);
        self.channel.send(&buffer).await
    }

    /// Small contents stay in the buffer, so that a usual job is one write.
    async fn send_data(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EngineError> {
        for chunk in bytes.chunks(CHUNK) {
            Order::Data(chunk).encode(buffer);
            if buffer.len() >= CHUNK {
                self.channel.send(buffer).await?;
                buffer.clear();
            }
        }
        Ok(())
    }

    async fn pump(
        &mut self,
        time: Duration,
        cancel: &CancellationToken,
        sink: &mut dyn Sink,
        started: &mut bool,
    ) -> Result<Pumped, EngineError> {
        let mut stop = None;
        let mut until = Instant::now() + START;
        let mut starved = None;
        loop {
            let due = tokio::select! {
                biased;
                () = sleep_until(until) => match stop {
                    Some(Stop::Deadline) => return self.silence(sink).await,
                    Some(Stop::Cancelled) => return self.last_words(stop, sink),
                    None if !*started => {
                        return Err(EngineError::Slow("the guest did not start the script".into()));
                    }
                    None => Some(Stop::Deadline),
                },
                () = cancel.cancelled(), if stop.is_none() => Some(Stop::Cancelled),
                () = sleep_until(starved.unwrap_or(until)), if starved.is_some() => {
                    starved = None;
                    let _ = timeout_at(until, self.hold.unthrottle()).await;
                    None
                }
                report = self.channel.next() => {
                    match take(report, sink)? {
                        Heard::Started => {
                            *started = true;
                            if stop.is_none() {
                                until = Instant::now() + time;
                            }
                        }
                        // Output without a start would be a lie, and no ground for another try.
                        Heard::Output => *started = true,
                        Heard::Ended(ended) => return Ok(Pumped::Ended(ended, stop)),
                        Heard::Nothing => return Ok(Pumped::Silent(stop)),
                    }
                    None
                }
            };
            if let Some(reason) = due {
                stop = Some(reason);
                until = Instant::now() + STOP_GRACE;
                starved = Some(Instant::now() + STARVED);
                // A guest that cannot even take the order is killed when the grace is over.
                let _ = timeout_at(until, self.channel.order(&Order::Stop)).await;
            }
        }
    }

    /// The guest is silent when the time it had to stop is over. Where its words may have been kept
    /// from us, that is no verdict on its script.
    async fn silence(&mut self, sink: &mut dyn Sink) -> Result<Pumped, EngineError> {
        let stop = Some(Stop::Deadline);
        let heard = self.last_words(stop, sink)?;
        if let (Pumped::Silent(_), Some(carrier)) = (&heard, self.hold.carrier()) {
            timeout(CARRIER, carrier).await.map_err(|_| {
                EngineError::Slow("nothing was heard of the guest at its script's deadline".into())
            })??;
            let until = Instant::now() + KEPT_WORDS;
            while let Ok(report) = timeout_at(until, self.channel.next()).await {
                match take(report, sink)? {
                    Heard::Started | Heard::Output => {}
                    Heard::Ended(ended) => return Ok(Pumped::Ended(ended, stop)),
                    Heard::Nothing => break,
                }
            }
        }
        Ok(heard)
    }

    /// What the guest has said in time counts, even if we were too slow to listen.
    fn last_words(
        &mut self,
        stop: Option<Stop>,
        sink: &mut dyn Sink,
    ) -> Result<Pumped, EngineError> {
        for _ in 0..LAST_WORDS {
            let Some(report) = unconstrained(self.channel.next()).now_or_never() else { break };
            match take(report, sink)? {
                Heard::Started | Heard::Output => {}
                Heard::Ended(ended) => return Ok(Pumped::Ended(ended, stop)),
                Heard::Nothing => break,
            }
        }
        Ok(Pumped::Silent(stop))
    }

    async fn collect(&mut self, job: &Job) -> Result<Vec<ResultFile>, EngineError> {
        let mut files = Vec::new();
        let mut budget = job.head.files_cap;
        loop {
            match self.channel.next().await? {
                Some(Report::Done) => return Ok(files),
                Some(Report::Skipped { path, reason }) => {
                    files.push(ResultFile { path: text(path), content: Err(reason) });
                }
                Some(Report::File { path, executable, size }) => {
                    let path = text(path);
                    budget = budget
                        .checked_sub(size)
                        .ok_or_else(|| EngineError::Protocol("result files over the cap".into()))?;
                    let bytes = self.collect_data(size).await?;
                    let content = Ok(ResultContent { bytes, executable });
                    files.push(ResultFile { path, content });
                }
                Some(_) => return Err(EngineError::Protocol("expected a result file".into())),
                None => return Err(EngineError::Lost("the guest ended among result files".into())),
            }
            if files.len() > job.head.files_count as usize * 2 {
                return Err(EngineError::Protocol("more result files than allowed".into()));
            }
        }
    }

    async fn collect_data(&mut self, size: u64) -> Result<Vec<u8>, EngineError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            match self.channel.next().await? {
                Some(Report::Data(chunk)) if !chunk.is_empty() => bytes.extend_from_slice(chunk),
                _ => return Err(EngineError::Protocol("expected a result file's data".into())),
            }
        }
        if bytes.len() as u64 > size {
            return Err(EngineError::Protocol("a result file longer than announced".into()));
        }
        Ok(bytes)
    }
}

/// What one report means while a script runs.
fn take(
    report: Result<Option<Report<'_>>, EngineError>,
    sink: &mut dyn Sink,
) -> Result<Heard, EngineError> {
    match report {
        Ok(Some(Report::Started)) => {
            sink.started();
            return Ok(Heard::Started);
        }
        Ok(Some(Report::Stdout(bytes))) => sink.stdout(bytes),
        Ok(Some(Report::Stderr(bytes))) => sink.stderr(bytes),
        Ok(Some(Report::Ended(ended))) => return Ok(Heard::Ended(ended)),
        Ok(Some(Report::Refused { path, errno })) => return Err(refused(path, errno)),
        Ok(Some(Report::Broken { step, errno })) => return Err(broken(step, errno)),
        Ok(Some(_)) => return Err(EngineError::Protocol("unexpected report".into())),
        Ok(None) | Err(EngineError::Lost(_)) => return Ok(Heard::Nothing),
        Err(e) => return Err(e),
    }
    Ok(Heard::Output)
}

enum Heard {
    Started,
    Output,
    Ended(Ended),
    /// The stream has ended, and nothing more will be heard.
    Nothing,
}

/// How pumping ended: with the guest's word, or without.
enum Pumped {
    Ended(Ended, Option<Stop>),
    Silent(Option<Stop>),
}

fn broken(step: &[u8], errno: i32) -> EngineError {
    let error = std::io::Error::from_raw_os_error(errno);
    EngineError::Make(format!("{}: {error}", text(step)))
}

fn refused(path: &[u8], errno: i32) -> EngineError {
    EngineError::FileRefused {
        path: text(path),
        reason: std::io::Error::from_raw_os_error(errno).to_string(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
