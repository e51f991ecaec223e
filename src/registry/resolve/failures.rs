//! Pulls that just failed: whoever asks for the same within moments gets the same answer, and the
//! registry is left alone.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::registry::{ImageError, ImageErrorKind, Images, Reference};

/// How many failures are remembered; past it the one that is over the soonest goes.
const MOST: usize = 256;

/// Failures, each for a short while, and until some image changes here.
#[derive(Default)]
pub(super) struct Failures {
    known: HashMap<Reference, Failure>,
    /// Resolves when some image has changed since the first of these.
    changed: Option<BoxFuture<'static, ()>>,
}

struct Failure {
    error: ImageError,
    until: Instant,
}

/// How long a failure says something about the next try.
fn lasts(kind: ImageErrorKind) -> Option<Duration> {
    use ImageErrorKind as Kind;
    let seconds = match kind {
        Kind::NotFound | Kind::Auth | Kind::Unsupported => 10,
        Kind::Unavailable | Kind::Timeout | Kind::Corrupt => 5,
        Kind::NoSpace => 2,
        Kind::EngineAway | Kind::EngineSlow | Kind::EngineFailed => return None,
        Kind::NotAllowed | Kind::InUse => return None,
    };
    Some(Duration::from_secs(seconds))
}

impl Failures {
    /// What happened to the same pull a moment ago.
    pub(super) fn get(&mut self, reference: &Reference) -> Option<ImageError> {
        if self.changed.as_mut().is_some_and(|changed| changed.now_or_never().is_some()) {
            *self = Self::default();
        }
        let failure = self.known.get(reference)?;
        (Instant::now() < failure.until).then(|| failure.error.clone())
    }

    /// A pull has failed for good.
    pub(super) fn put(&mut self, reference: &Reference, error: &ImageError, images: &dyn Images) {
        let Some(lasts) = lasts(error.kind) else { return };
        let now = Instant::now();
        self.known.retain(|_, failure| now < failure.until);
        if self.known.is_empty() {
            self.changed = Some(images.changed());
        }
        if self.known.len() >= MOST
            && let Some(first) = self.known.iter().min_by_key(|(_, failure)| failure.until)
        {
            let first = first.0.clone();
            self.known.remove(&first);
        }
        let failure = Failure { error: error.clone(), until: now + lasts };
        self.known.insert(reference.clone(), failure);
    }

    /// What was said of this one counts no longer.
    pub(super) fn forget(&mut self, reference: &Reference) {
        self.known.remove(reference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Scripted;

    fn error(kind: ImageErrorKind) -> ImageError {
        ImageError::new(kind, "no", "")
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_remembered_as_long_as_it_says_something() {
        use ImageErrorKind as Kind;
        let images = Scripted::empty();
        let alpine: Reference = "alpine".parse().unwrap();
        for (kind, seconds) in [
            (Kind::NotFound, 10),
            (Kind::Auth, 10),
            (Kind::Unsupported, 10),
            (Kind::Unavailable, 5),
            (Kind::Timeout, 5),
            (Kind::Corrupt, 5),
            (Kind::NoSpace, 2),
            (Kind::EngineAway, 0),
        ] {
            let mut failures = Failures::default();
            failures.put(&alpine, &error(kind), &*images);
            let began = Instant::now();
            while failures.get(&alpine).is_some() {
                tokio::time::advance(Duration::from_millis(500)).await;
            }
            assert_eq!(began.elapsed(), Duration::from_secs(seconds), "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_over_first_makes_room() {
        let images = Scripted::empty();
        let mut failures = Failures::default();
        let short: Reference = "short".parse().unwrap();
        failures.put(&short, &error(ImageErrorKind::NoSpace), &*images);
        for n in 0..MOST * 2 {
            let reference = format!("image{n}").parse().unwrap();
            failures.put(&reference, &error(ImageErrorKind::NotFound), &*images);
            assert!(failures.get(&reference).is_some() && failures.known.len() <= MOST);
        }
        assert!(failures.get(&short).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_any_image_ends_it() {
        let images = Scripted::empty();
        let mut failures = Failures::default();
        let alpine: Reference = "alpine".parse().unwrap();
        for _ in 0..2 {
            failures.put(&alpine, &error(ImageErrorKind::NotFound), &*images);
            assert!(failures.get(&alpine).is_some());
            images.change();
            assert!(failures.get(&alpine).is_none());
        }
    }
}
