//! Which image is behind a reference, and what it says of itself: remembered, so that a request
//! asks the daemon for nothing. The daemon's own events keep that true. Any change of any image
//! forgets all resolutions, and while no events come each request asks. A pull that found nothing
//! new is an event too, and no change.

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::daemon::{Daemon, DaemonError, ImageEvent};
use super::image::{self, Facts, Inspected};
use super::manage;
use super::pull::{self, Patience};
use super::pull_error::Asked;
use crate::engine::EngineError;
use crate::registry::{
    Credentials, Details, Image, ImageError, ImageErrorKind, Images, Progress, Reference, Removed,
    Summary,
};

/// How much of each kind is remembered; past it all of that kind is asked for again.
const MOST: usize = 1024;

/// Between two attempts to listen.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// To look what a pulled name leads to; events that come meanwhile wait.
const MOMENT: Duration = Duration::from_secs(1);

/// The images of one daemon.
pub(super) struct DaemonImages {
    daemon: Arc<Daemon>,
    /// By Docker's name for it.
    architecture: &'static str,
    credentials: Credentials,
    patience: Patience,
    memory: Mutex<Memory>,
    /// Counts how often what was known before stopped being certain.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Memory {
    /// The next change will reach us.
    listening: bool,
    /// So many have.
    events: u64,
    resolved: HashMap<Reference, Image>,
    /// The digest that was last said to be behind a reference, to whomever.
    told: HashMap<Reference, String>,
    /// By the digest; what an image says of itself never changes.
    facts: HashMap<String, Arc<Facts>>,
    /// The digest that the registry had under a reference when it was last asked.
    latest: HashMap<Reference, String>,
    /// When an image was last asked for, by its digest; in seconds since 1970.
    used: HashMap<String, u64>,
}

impl DaemonImages {
    pub(super) fn new(
        daemon: Arc<Daemon>,
        architecture: &'static str,
        credentials: Credentials,
        patience: Patience,
    ) -> Arc<Self> {
        let (memory, changes) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { daemon, architecture, credentials, patience, memory, changes })
    }

    /// The image behind a reference now.
    ///
    /// # Errors
    /// When there is none, it can't be run here, or the daemon fails.
    pub(super) async fn image(&self, reference: &Reference) -> Result<Image, ImageError> {
        let known = self.memory().resolved.get(reference).cloned();
        match known {
            // Equal references may differ in how they were written.
            Some(image) => Ok(Image { reference: reference.clone(), ..image }),
            None => self.inspect(reference).await,
        }
    }

    /// What an image says of itself; asked for again where that was forgotten.
    ///
    /// # Errors
    /// When the daemon fails, or has another image or none by that name now.
    pub(super) async fn facts(&self, image: &Image) -> Result<Arc<Facts>, EngineError> {
        let none = || EngineError::Make(format!("image {} has no digest", image.reference));
        let digest = image.digest.as_ref().ok_or_else(none)?;
        let known = || self.memory().facts.get(digest).cloned();
        if let Some(facts) = known() {
            return Ok(facts);
        }
        let gone = |why: &dyn Display| {
            EngineError::Make(format!("image {} ({digest}): {why}", image.reference))
        };
        self.inspect(&image.reference).await.map_err(|e| match e {
            ImageError { kind: ImageErrorKind::NotFound | ImageErrorKind::Unsupported, .. } => {
                gone(&e)
            }
            other => other.into(),
        })?;
        known().ok_or_else(|| gone(&"another image has its name now"))
    }

    /// The daemon would not make a container of this image: it may be gone, and come back as
    /// another one.
    pub(super) fn doubt(&self, facts: &Facts) {
        let mut memory = self.memory();
        memory.facts.retain(|_, known| **known != *facts);
        memory.resolved.clear();
    }

    /// Sees a new number whenever a reference may mean another image than before.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Listens to the daemon for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let ended = self.listen().await.err();
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let reason = ended.map_or("the stream ended".into(), |error| error.to_string());
            if pause == FIRST_PAUSE {
                tracing::warn!(reason, "no word of changed images: each request asks the daemon");
            } else {
                tracing::debug!(reason, "still no word of changed images");
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn listen(&self) -> Result<(), DaemonError> {
        let mut events = self.daemon.image_events().await?;
        self.forget(true);
        while let Some(event) = events.next().await {
            match event {
                ImageEvent::Pulled(name) if self.is_looked_after(&name).await => {}
                _ => self.forget(true),
            }
        }
        self.forget(false);
        Ok(())
    }

    /// Whether nothing has to be forgotten although a name was pulled: who pulls again and again
    /// would otherwise wake himself each time.
    async fn is_looked_after(&self, name: &str) -> bool {
        let Ok(reference) = name.parse::<Reference>() else { return false };
        let known = {
            let mut memory = self.memory();
            memory.events += 1;
            memory.resolved.remove(&reference);
            memory.told.contains_key(&reference)
        };
        // Where it leads elsewhere now, whoever asks first tells of it.
        known && timeout(MOMENT, self.inspect(&reference)).await.is_ok_and(|found| found.is_ok())
    }

    /// Something has changed, or may have.
    fn forget(&self, listening: bool) {
        let mut memory = self.memory();
        memory.listening = listening;
        memory.events += 1;
        memory.resolved.clear();
        self.changes.send_modify(|changes| *changes += 1);
    }

    async fn inspect(&self, reference: &Reference) -> Result<Image, ImageError> {
        not_host(reference)?;
        let (asked, latest) = {
            let memory = self.memory();
            (memory.events, memory.latest.get(reference).cloned())
        };
        let found = match self.daemon.inspect_image(&reference.full()).await {
            Ok(found) => found,
            Err(e) if e.status() == Some(404) => {
                return Err(ImageError::not_found(reference));
            }
            Err(e) if e.status() == Some(400) => {
                let reason = "the Docker daemon does not take such a name";
                return Err(ImageError::unsupported(reference, reason));
            }
            Err(e) => return Err(EngineError::from(e).into()),
        };
        let Inspected { digest, env, facts } =
            image::read(found, self.architecture, reference, latest.as_deref())
                .map_err(|reason| ImageError::unsupported(reference, reason))?;
        if reference.digest().is_some_and(|wanted| wanted != digest) {
            let cause = format!("the daemon has {digest} by that name");
            return Err(ImageError { cause, ..ImageError::not_found(reference) });
        }
        let image =
            Image { reference: reference.clone(), digest: Some(digest.clone()), env, layers: None };
        let mut memory = self.memory();
        keep(&mut memory.facts, digest.clone(), Arc::new(facts));
        // What was asked for before an event may be the answer from before it.
        if memory.listening && asked == memory.events {
            keep(&mut memory.resolved, reference.clone(), image.clone());
        }
        // Two answers that differ: whoever has the other one must ask again. The same goes for
        // everybody where it is forgotten what was told.
        let forgets = memory.told.len() >= MOST;
        let before = keep(&mut memory.told, reference.clone(), digest.clone());
        if forgets || before.is_some_and(|before| before != digest) {
            self.changes.send_modify(|changes| *changes += 1);
        }
        Ok(image)
    }

    async fn pull_image(
        &self,
        reference: &Reference,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        not_host(reference)?;
        let credential = self.credentials.find(reference.registry()).await?;
        let asked = Asked { reference, credential: credential.as_ref() };
        let (daemon, architecture) = (&self.daemon, self.architecture);
        let pulled = pull::pull(daemon, &asked, architecture, self.patience, progress).await?;
        if let Some(digest) = pulled {
            keep(&mut self.memory().latest, reference.clone(), digest);
        }
        self.inspect(reference).await.map_err(|error| match error.kind {
            ImageErrorKind::NotFound => asked.lost(&error.cause),
            _ => error,
        })
    }

    fn note_use(&self, image: &Image) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(digest) = &image.digest else { return };
        let mut memory = self.memory();
        match memory.used.get_mut(digest) {
            Some(last) => *last = now,
            None => drop(keep(&mut memory.used, digest.clone(), now)),
        }
    }

    fn used(&self) -> HashMap<String, u64> {
        self.memory().used.clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images for DaemonImages {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        async {
            let image = self.image(reference).await?;
            self.note_use(&image);
            Ok(image)
        }
        .boxed()
    }

    /// When the daemon says that some image changed, or when its word was missed.
    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut changes = self.changes();
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
        self.pull_image(reference, progress).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        manage::list(&self.daemon, self.used()).boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        manage::describe(&self.daemon, reference, self.used()).boxed()
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        manage::remove(&self.daemon, reference).boxed()
    }

    /// As `docker image prune` does, for the whole daemon, whoever else uses it: what has no tag and
    /// no container. That includes an image that was pulled by its digest alone.
    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        manage::prune(&self.daemon).boxed()
    }
}

fn not_host(reference: &Reference) -> Result<(), ImageError> {
    if reference.is_host() {
        let reason = "`host` is this machine's own, for the native engine";
        return Err(ImageError::unsupported(reference, reason));
    }
    Ok(())
}

fn keep<K: Hash + Eq, V>(known: &mut HashMap<K, V>, key: K, value: V) -> Option<V> {
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(key, value)
}
