//! Which image is behind a reference, and what it says of itself: remembered, so that a request
//! asks the daemon for nothing. The daemon's own events keep that true. Any change of any image
//! forgets all resolutions, and while no events come each request asks.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::daemon::{Daemon, DaemonError};
use super::image::{self, Facts, Inspected};
use crate::engine::EngineError;
use crate::registry::{
    Details, Image, ImageError, ImageErrorKind, Images, Progress, Reference, Removed, Summary,
};

/// How much of each kind is remembered; past it all of that kind is asked for again.
const MOST: usize = 1024;

/// Between two attempts to listen.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The images of one daemon.
pub(super) struct DaemonImages {
    daemon: Arc<Daemon>,
    /// By Docker's name for it.
    architecture: &'static str,
    memory: Mutex<Memory>,
    /// Counts how often what was known before stopped being certain.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Memory {
    /// The next change will reach us.
    listening: bool,
    resolved: HashMap<Reference, Image>,
    /// By the digest; what an image says of itself never changes.
    facts: HashMap<String, Arc<Facts>>,
}

impl DaemonImages {
    pub(super) fn new(daemon: Arc<Daemon>, architecture: &'static str) -> Arc<Self> {
        let (memory, changes) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { daemon, architecture, memory, changes })
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
        while events.next().await {
            self.forget(true);
        }
        self.forget(false);
        Ok(())
    }

    /// Something has changed, or may have.
    fn forget(&self, listening: bool) {
        let mut memory = self.memory();
        memory.listening = listening;
        memory.resolved.clear();
        self.changes.send_modify(|changes| *changes += 1);
    }

    async fn inspect(&self, reference: &Reference) -> Result<Image, ImageError> {
        let unsupported = |reason: String| ImageError::unsupported(reference, reason);
        if reference.is_host() {
            return Err(unsupported("`host` is this machine's own, for the native engine".into()));
        }
        let asked = *self.changes.borrow();
        let found = match self.daemon.inspect_image(&reference.full()).await {
            Ok(found) => found,
            Err(e) if e.status() == Some(404) => {
                return Err(ImageError::not_found(reference));
            }
            Err(e) => return Err(EngineError::from(e).into()),
        };
        let Inspected { digest, env, facts } =
            image::read(found, self.architecture).map_err(unsupported)?;
        let image =
            Image { reference: reference.clone(), digest: Some(digest.clone()), env, layers: None };
        let mut memory = self.memory();
        keep(&mut memory.facts, digest, Arc::new(facts));
        // What was asked for before a change may be the answer from before it.
        if memory.listening && asked == *self.changes.borrow() {
            keep(&mut memory.resolved, reference.clone(), image.clone());
        }
        Ok(image)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images for DaemonImages {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        self.image(reference).boxed()
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
        _progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        self.image(reference).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        async { Err(ImageError::not_found(reference)) }.boxed()
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        async { Err(ImageError::not_found(reference)) }.boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        async { Ok(Removed::default()) }.boxed()
    }
}

fn keep<K: Hash + Eq, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(key, value);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::sync::oneshot;
    use tokio_util::task::AbortOnDropHandle;

    use super::super::fake::{self, Answer, Fake};
    use super::*;

    /// A daemon whose images are `sha256:d<version>`, and what follows its events.
    struct Scene {
        fake: Fake,
        version: Arc<AtomicUsize>,
        /// It tells its events to whoever asks from now on.
        talks: Arc<AtomicBool>,
        images: Arc<DaemonImages>,
        changes: watch::Receiver<u64>,
        /// The next answer about an image waits for this.
        gate: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
        /// The daemon's end of each stream of events that was opened.
        streams: UnboundedReceiver<UnboundedSender<String>>,
        _follower: AbortOnDropHandle<()>,
    }

    impl Scene {
        async fn new() -> Self {
            let version = Arc::new(AtomicUsize::new(1));
            let (opened, streams) = unbounded_channel();
            let talks = Arc::new(AtomicBool::new(true));
            let gate = Arc::new(Mutex::new(None));
            let (now, talking, held) = (version.clone(), talks.clone(), gate.clone());
            let fake = Fake::start(move |_, path| match path {
                "/images/docker.io/library/none:latest/json" => Answer::Status(404, "{}".into()),
                path if path.starts_with("/images/") => {
                    let digest = format!("busybox@sha256:d{}", now.load(Ordering::Relaxed));
                    let image = fake::image().replace("busybox@sha256:d1", &digest);
                    match held.lock().unwrap().take() {
                        Some(gate) => Answer::Held(gate, image),
                        None => Answer::ok(&image),
                    }
                }
                path if path.starts_with("/events?") && talking.load(Ordering::Relaxed) => {
                    let (events, lines) = unbounded_channel();
                    let _ = opened.send(events);
                    Answer::Stream(lines)
                }
                _ => Answer::Status(503, "{}".into()),
            })
            .await;
            let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
            let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
            let images = DaemonImages::new(daemon, architecture);
            let changes = images.changes();
            let follower = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&images).follow()));
            Self { fake, version, talks, gate, images, changes, streams, _follower: follower }
        }

        /// The daemon's end of the next stream, once we listen at ours.
        async fn listening(&mut self) -> UnboundedSender<String> {
            let stream = self.streams.recv().await.unwrap();
            while !self.images.memory().listening {
                self.changes.changed().await.unwrap();
            }
            self.changes.mark_unchanged();
            stream
        }

        async fn digest(&self, reference: &str) -> String {
            let image = self.images.image(&reference.parse().unwrap()).await.unwrap();
            image.digest.unwrap()
        }

        /// How many images the daemon was asked for since the last time.
        fn asked(&mut self) -> usize {
            self.fake.heard().iter().filter(|call| call.contains("/images/")).count()
        }
    }

    #[tokio::test]
    async fn a_reference_is_asked_for_once() {
        let mut scene = Scene::new().await;
        let _events = scene.listening().await;
        for reference in ["busybox", "busybox:latest", "docker.io/library/busybox"] {
            assert_eq!(scene.digest(reference).await, "sha256:d1");
        }
        assert_eq!(scene.asked(), 1);
        scene.digest("busybox:1").await;
        assert_eq!(scene.asked(), 1);
    }

    #[tokio::test]
    async fn an_event_forgets_what_was_known_and_wakes_who_waits_for_it() {
        let mut scene = Scene::new().await;
        let events = scene.listening().await;
        assert_eq!(scene.digest("busybox").await, "sha256:d1");
        scene.version.store(2, Ordering::Relaxed);
        events.send("{\"Type\":\"image\",\"Action\":\"tag\"}\n".into()).unwrap();
        scene.changes.changed().await.unwrap();
        assert_eq!(scene.digest("busybox").await, "sha256:d2");
        assert_eq!(scene.digest("busybox").await, "sha256:d2");
        assert_eq!(scene.asked(), 2);
    }

    #[tokio::test]
    async fn nothing_is_remembered_while_no_events_come() {
        let mut scene = Scene::new().await;
        let events = scene.listening().await;
        scene.digest("busybox").await;
        scene.talks.store(false, Ordering::Relaxed);
        drop(events);
        scene.changes.changed().await.unwrap();
        for version in [2, 3] {
            scene.version.store(version, Ordering::Relaxed);
            assert_eq!(scene.digest("busybox").await, format!("sha256:d{version}"));
        }
        scene.talks.store(true, Ordering::Relaxed);
        let _events = scene.listening().await;
        scene.asked();
        scene.digest("busybox").await;
        scene.digest("busybox").await;
        assert_eq!(scene.asked(), 1);
    }

    #[tokio::test]
    async fn a_daemon_that_is_killed_is_noticed() {
        let mut scene = Scene::new().await;
        let _events = scene.listening().await;
        scene.digest("busybox").await;
        scene.version.store(2, Ordering::Relaxed);
        scene.fake.hang_up().await;
        scene.changes.changed().await.unwrap();
        assert_eq!(scene.digest("busybox").await, "sha256:d2");
    }

    #[tokio::test]
    async fn an_answer_from_before_an_event_is_not_remembered() {
        let mut scene = Scene::new().await;
        let events = scene.listening().await;
        let (release, held) = oneshot::channel();
        *scene.gate.lock().unwrap() = Some(held);
        let images = Arc::clone(&scene.images);
        let asking = tokio::spawn(async move { images.image(&"busybox".parse().unwrap()).await });
        scene.fake.until("/images/").await;
        scene.version.store(2, Ordering::Relaxed);
        events.send("{}\n".into()).unwrap();
        scene.changes.changed().await.unwrap();
        release.send(()).unwrap();
        let before = asking.await.unwrap().unwrap();
        assert_eq!(before.digest.as_deref(), Some("sha256:d1"));
        assert_eq!(scene.digest("busybox").await, "sha256:d2");
    }

    #[tokio::test]
    async fn what_is_not_there_is_asked_for_again() {
        let mut scene = Scene::new().await;
        let _events = scene.listening().await;
        for _ in 0..2 {
            let missing = scene.images.image(&"none".parse().unwrap()).await.unwrap_err();
            assert_eq!(missing.kind, ImageErrorKind::NotFound, "{missing}");
        }
        assert_eq!(scene.asked(), 2);
    }

    #[tokio::test]
    async fn no_stranger_fills_the_memory() {
        let mut scene = Scene::new().await;
        let _events = scene.listening().await;
        for number in 0..=MOST {
            scene.digest(&format!("busybox:{number}")).await;
        }
        assert_eq!(scene.images.memory().resolved.len(), 1);
    }

    #[tokio::test]
    async fn an_image_that_was_refused_is_asked_for_again() {
        let mut scene = Scene::new().await;
        let _events = scene.listening().await;
        let image = scene.images.image(&"busybox".parse().unwrap()).await.unwrap();
        let facts = scene.images.facts(&image).await.unwrap();
        assert_eq!(scene.asked(), 1);
        scene.images.doubt(&facts);
        scene.version.store(2, Ordering::Relaxed);
        let gone = scene.images.facts(&image).await.unwrap_err().to_string();
        assert!(gone.contains("(sha256:d1): another image has its name now"), "{gone}");
        assert_eq!(scene.digest("busybox").await, "sha256:d2");
    }
}
