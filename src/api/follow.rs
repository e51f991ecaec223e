//! An execution as a stream of events: `started`, `stdout` and `stderr` as they are written, and at
//! the end one `result` or one `error`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Base64};
use super::events::{BEAT, COMMENT, LAST, Resume, event_with_id};
use super::{Door, RequestId, large};
use crate::execution::live::{End, Live, Stage, State};
use crate::execution::transcript::{Cursor, Position, Stream as Origin};

/// Output in one event, at most.
const PIECE: usize = 16 * 1024;
/// For a script to begin before the response does, so that a failure until then has a status of its
/// own.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the rest of the events to be taken once the execution is over: so long, and longer by what
/// the slowest client that is put up with needs for it.
const GRACE: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 16 * 1024;

/// The client takes what it asked for too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the client reads too slowly")]
pub(super) struct TooSlow;

/// One client that follows an execution.
pub(super) struct Follower<H> {
    id: Uuid,
    live: Arc<Live>,
    changes: watch::Receiver<u64>,
    cursor: Cursor,
    position: Position,
    told_started: bool,
    /// Of an event that is on its way in pieces.
    rest: Bytes,
    /// When the last event must be taken; `None` as long as the execution goes on.
    until: Option<Instant>,
    next_beat: Instant,
    beat: Duration,
    over: bool,
    door: web::Data<Door>,
    request_id: RequestId,
    /// What is dropped when the client leaves.
    _held: H,
}

/// The data of `started`.
#[derive(Serialize, ToSchema)]
#[schema(as = EventStarted)]
pub(super) struct Started {
    #[schema(format = Uuid)]
    id: String,
}

/// The data of `stdout` and `stderr`.
#[derive(Serialize, ToSchema)]
#[schema(as = EventOutput)]
pub(super) struct Output<'a> {
    /// Bytes of this stream before it.
    offset: u64,
    #[serde(flatten)]
    content: Content<'a>,
}

/// Text, or base64 where the bytes are not UTF-8.
#[derive(Serialize, ToSchema)]
#[schema(as = EventContent)]
enum Content<'a> {
    #[serde(rename = "content")]
    Text(&'a str),
    #[serde(rename = "content_base64")]
    Bytes(#[schema(inline)] Base64<'a>),
}

/// What is to be sent next.
enum Next {
    Event(Bytes),
    End(End),
    Nothing,
}

/// Waits until the script has begun or never will, for a while: how it ended without.
pub(super) async fn begun(live: &Live) -> Option<End> {
    let mut changes = live.changes();
    let decided = async {
        loop {
            changes.mark_unchanged();
            let (started, end) = live.look(|state| (state.started, state.stage.end().cloned()));
            if started || end.is_some() {
                return end.filter(|_| !started);
            }
            let _ = changes.changed().await;
        }
    };
    timeout(PATIENCE, decided).await.ok().flatten()
}

impl<H: 'static> Follower<H> {
    /// From there on. `held` is dropped with the stream.
    pub(super) fn new(
        id: Uuid,
        live: Arc<Live>,
        resume: Resume,
        door: web::Data<Door>,
        request_id: RequestId,
        held: H,
    ) -> Self {
        let (told_started, from) = match resume {
            Resume::Start => (false, 0),
            Resume::Behind(position) => (true, position),
            Resume::Over => (true, Position::MAX),
        };
        let cursor = live.look(|state| state.transcript.cursor(from));
        Self {
            id,
            changes: live.changes(),
            live,
            position: cursor.position(),
            cursor,
            told_started,
            rest: Bytes::new(),
            until: None,
            next_beat: Instant::now() + BEAT,
            beat: BEAT,
            over: resume == Resume::Over,
            door,
            request_id,
            _held: held,
        }
    }

    /// The same with another time between signs of life.
    #[cfg(test)]
    pub(super) fn beating(self, beat: Duration) -> Self {
        Self { beat, next_beat: Instant::now() + beat, ..self }
    }

    /// Dropped when the client leaves.
    pub(super) fn events(self) -> impl Stream<Item = Result<Bytes, TooSlow>> + 'static {
        unfold(self, async |mut follower| {
            let event = follower.next().await.transpose()?;
            Some((event, follower))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, TooSlow> {
        loop {
            if self.until.is_some_and(|until| Instant::now() > until) {
                return Err(TooSlow);
            }
            if !self.rest.is_empty() {
                let piece = self.rest.len().min(2 * PIECE);
                return Ok(Some(self.rest.split_to(piece)));
            }
            if self.over {
                return Ok(None);
            }
            self.changes.mark_unchanged();
            match self.look() {
                Next::Event(event) => self.rest = event,
                Next::End(end) => {
                    self.over = true;
                    self.rest = self.last(&end).await;
                }
                Next::Nothing => {
                    tokio::select! {
                        // The sender lives as long as `live`.
                        _ = self.changes.changed() => continue,
                        () = sleep_until(self.next_beat) => self.rest = COMMENT,
                    }
                }
            }
            self.next_beat = Instant::now() + self.beat;
        }
    }

    fn look(&mut self) -> Next {
        let live = Arc::clone(&self.live);
        live.look(|state| {
            let State { stage, transcript, started } = state;
            if let (Stage::Ended(_), None) = (stage, self.until) {
                let rest = transcript.position().saturating_sub(self.position);
                // Everything comes once more with the result.
                let bytes = rest + transcript.position();
                self.until = Some(Instant::now() + GRACE + Duration::from_secs(bytes / SLOWEST));
            }
            if *started && !self.told_started {
                self.told_started = true;
                return Next::Event(event_with_id(
                    "started",
                    "0",
                    &Started { id: self.id.to_string() },
                ));
            }
            if let Some(piece) = transcript.next(&mut self.cursor, PIECE) {
                self.position = self.cursor.position();
                let name = match piece.stream {
                    Origin::Stdout => "stdout",
                    Origin::Stderr => "stderr",
                };
                let text = str::from_utf8(piece.bytes).map(Content::Text);
                let content = text.unwrap_or(Content::Bytes(Base64(piece.bytes.into())));
                let output = Output { offset: piece.offset, content };
                return Next::Event(event_with_id(name, &self.position.to_string(), &output));
            }
            stage.end().map_or(Next::Nothing, |end| Next::End(Arc::clone(end)))
        })
    }

    async fn last(&self, end: &End) -> Bytes {
        let problem = match &**end {
            Ok(outcome) => {
                let outcome = outcome.clone();
                let work = move || event_with_id("result", LAST, &Answer::from(outcome));
                match large::work(self.position.try_into().unwrap_or(usize::MAX), work).await {
                    Ok(event) => return event,
                    Err(problem) => problem,
                }
            }
            Err(failure) => failure.clone().into(),
        };
        // As the middleware would have, had the response not begun yet.
        self.door.executor.metrics().refused(problem.code.name());
        event_with_id("error", LAST, &problem.document(&self.request_id))
    }
}

#[cfg(test)]
mod tests;
