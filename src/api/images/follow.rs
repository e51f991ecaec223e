//! A pull as a stream of events (server-sent events, HTML standard): `progress`, and at the end one
//! `done` or one `error`.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::document::{ProgressDocument, PulledDocument};
use crate::api::events::{BEAT, COMMENT, event};
use crate::api::{Door, Problem, RequestId, record};
use crate::registry::{Image, ImageError, Pull, PullState};

/// Between two events of progress, at least.
const PACE: Duration = Duration::from_millis(200);

/// One client that follows a pull.
pub(super) struct Follower {
    progress: watch::Receiver<PullState>,
    /// Goes on while this client does not read, so that its place is free when the pull is over.
    outcome: AbortOnDropHandle<Result<Image, ImageError>>,
    door: web::Data<Door>,
    request_id: RequestId,
    /// Progress that was not sent yet.
    news: bool,
    /// What was sent of it last.
    told: Option<PullState>,
    /// More may come.
    watching: bool,
    next_progress: Instant,
    next_beat: Instant,
    beat: Duration,
}

impl Follower {
    /// `place` is what this client takes of the service.
    pub(super) fn new(
        Pull { progress, outcome }: Pull,
        door: web::Data<Door>,
        request_id: RequestId,
        place: (TaskTrackerToken, OwnedSemaphorePermit),
    ) -> Self {
        let now = Instant::now();
        let outcome = tokio::spawn(async move {
            let _place = place;
            outcome.await
        });
        Self {
            progress,
            outcome: AbortOnDropHandle::new(outcome),
            door,
            request_id,
            news: true,
            told: None,
            watching: true,
            next_progress: now,
            next_beat: now + BEAT,
            beat: BEAT,
        }
    }

    /// The same with another time between signs of life.
    #[cfg(test)]
    pub(super) fn beating(self, beat: Duration) -> Self {
        Self { beat, next_beat: Instant::now() + beat, ..self }
    }

    /// Dropped when the client leaves, and its interest in the pull with it.
    pub(super) fn events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(Some(self), async |follower| {
            let (event, follower) = follower?.next().await;
            Some((Ok(event), follower))
        })
    }

    /// The next event, and who goes on.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        loop {
            let event = tokio::select! {
                biased;
                outcome = &mut self.outcome => {
                    // The pace must not keep back how far it came.
                    let progress = self.progress().unwrap_or_default();
                    return ([progress, self.last(outcome)].concat().into(), None);
                }
                () = self.door.cancel.cancelled() => return (self.problem(Problem::draining()), None),
                changed = self.progress.changed(), if self.watching && !self.news => {
                    self.watching = changed.is_ok();
                    self.news = self.watching;
                    continue;
                }
                () = sleep_until(self.next_progress), if self.news => {
                    self.news = false;
                    self.next_progress = Instant::now() + PACE;
                    let Some(event) = self.progress() else { continue };
                    event
                }
                () = sleep_until(self.next_beat) => COMMENT,
            };
            self.next_beat = Instant::now() + self.beat;
            return (event, Some(self));
        }
    }

    /// How far it has come, unless that was told already.
    fn progress(&mut self) -> Option<Bytes> {
        let state = self.progress.borrow_and_update().clone();
        let is_new = self.told.as_ref() != Some(&state);
        let told = self.told.insert(state);
        is_new.then(|| event("progress", &ProgressDocument::from(&*told)))
    }

    fn last(&self, outcome: Result<Result<Image, ImageError>, JoinError>) -> Bytes {
        match outcome {
            Ok(Ok(image)) => event("done", &PulledDocument::from(&image)),
            Ok(Err(error)) => self.problem(error.into()),
            Err(panic) => self.problem(Problem::internal(format!("a pull: {panic}"))),
        }
    }

    /// What the middleware would have done with it, had the response not begun yet.
    fn problem(&self, problem: Problem) -> Bytes {
        record::problem(self.request_id.as_str(), &problem);
        self.door.executor.metrics().refused(problem.code.name());
        event("error", &problem.document(&self.request_id))
    }
}
