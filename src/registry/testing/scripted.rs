//! Images whose pulls go as a test says.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::image;
use crate::registry::{
    Details, Image, ImageError, ImageErrorKind, Images, LayerPhase, LayerState, Progress,
    Reference, Removed, Summary,
};

/// What one attempt to pull comes to.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// The image is here afterwards.
    Image,
    Fail(ImageError),
    /// Nothing more is heard.
    Silence,
    /// One layer begins to come, and nothing more is heard.
    Stall,
    Panic,
}

impl Play {
    pub(crate) fn fail(kind: ImageErrorKind) -> Self {
        Self::Fail(ImageError::new(kind, format!("{kind:?} it is"), "as the script says"))
    }

    /// The registry wants to be asked again after so long.
    pub(crate) fn busy(retry_after: Duration) -> Self {
        let error = ImageError::new(ImageErrorKind::Unavailable, "it is busy", "429");
        Self::Fail(ImageError { retry_after: Some(retry_after), ..error })
    }
}

/// Images whose pulls go as a script says; when it has ended, nothing is found.
pub(crate) struct Scripted {
    here: Mutex<HashSet<Reference>>,
    plays: Mutex<VecDeque<Play>>,
    /// How long each attempt takes.
    takes: Duration,
    /// How long it takes to say what was found.
    find_takes: Duration,
    /// Until then the engine is away.
    away_until: Instant,
    attempts: Mutex<Vec<(Reference, Instant)>>,
    /// Attempts that were dropped before their end.
    dropped: Arc<Mutex<usize>>,
    changes: watch::Sender<u64>,
}

impl Scripted {
    pub(crate) fn new(plays: impl IntoIterator<Item = Play>) -> Self {
        Self {
            here: Mutex::default(),
            plays: Mutex::new(plays.into_iter().collect()),
            takes: Duration::from_secs(1),
            find_takes: Duration::ZERO,
            away_until: Instant::now(),
            attempts: Mutex::default(),
            dropped: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn empty() -> Arc<Self> {
        Arc::new(Self::new([]))
    }

    pub(crate) fn away_for(self, time: Duration) -> Self {
        Self { away_until: Instant::now() + time, ..self }
    }

    pub(crate) fn finds_in(self, find_takes: Duration) -> Self {
        Self { find_takes, ..self }
    }

    pub(crate) fn pulls_in(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    pub(crate) fn put(&self, reference: &str) {
        self.here.lock().unwrap().insert(reference.parse().unwrap());
    }

    /// The script goes on.
    pub(crate) fn then(&self, plays: impl IntoIterator<Item = Play>) {
        self.plays.lock().unwrap().extend(plays);
    }

    /// Some image has changed.
    pub(crate) fn change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// How often a registry was asked.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    pub(crate) fn dropped(&self) -> usize {
        *self.dropped.lock().unwrap()
    }

    /// How long after one attempt's beginning the next one began.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let attempts = self.attempts.lock().unwrap();
        attempts.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
    }
}

/// Counts, unless it is forgotten.
struct Dropped(Arc<Mutex<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Images for Scripted {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        let found = if Instant::now() < self.away_until {
            Err(ImageError::new(ImageErrorKind::EngineAway, "away", "away"))
        } else if self.here.lock().unwrap().contains(reference) {
            Ok(image(reference))
        } else {
            Err(ImageError::not_found(reference))
        };
        if self.find_takes.is_zero() {
            return ready(found).boxed();
        }
        sleep(self.find_takes).map(|()| found).boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut changes = self.changes.subscribe();
        async move {
            if changes.changed().await.is_err() {
                pending().await
            }
        }
        .boxed()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        async move {
            self.attempts.lock().unwrap().push((reference.clone(), Instant::now()));
            let dropped = Dropped(Arc::clone(&self.dropped));
            let next = self.plays.lock().unwrap().pop_front();
            let layer = LayerState {
                digest: "sha256:1".into(),
                done: 1,
                total: Some(2),
                phase: LayerPhase::Downloading,
            };
            let result = match next {
                Some(Play::Silence) => pending().await,
                Some(Play::Stall) => {
                    progress.update(|state| state.layers.push(layer));
                    pending().await
                }
                Some(Play::Panic) => panic!("as the script says"),
                Some(Play::Fail(error)) => Err(error),
                Some(Play::Image) => {
                    progress.update(|state| state.layers.push(layer));
                    Ok(image(reference))
                }
                None => Err(ImageError::not_found(reference)),
            };
            sleep(self.takes).await;
            if result.is_ok() {
                self.here.lock().unwrap().insert(reference.clone());
            }
            std::mem::forget(dropped);
            result
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        ready(Err(ImageError::not_found(reference))).boxed()
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        ready(Err(ImageError::not_found(reference))).boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        ready(Ok(Removed::default())).boxed()
    }
}
