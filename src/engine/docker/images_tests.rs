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
        let images =
            DaemonImages::new(daemon, architecture, Credentials::default(), Patience::default());
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
async fn a_pull_is_a_change_only_where_it_brought_another_image() {
    const PULLED: &str =
        "{\"Action\":\"pull\",\"Actor\":{\"ID\":\"busybox:latest\",\"Attributes\":{}}}\n";
    let mut scene = Scene::new().await;
    let events = scene.listening().await;
    let number = *scene.changes.borrow();
    scene.digest("busybox").await;
    scene.asked();
    events.send(PULLED.into()).unwrap();
    scene.fake.until("/images/").await;
    let reference = "busybox".parse().unwrap();
    while !scene.images.memory().resolved.contains_key(&reference) {
        tokio::task::yield_now().await;
    }
    scene.version.store(2, Ordering::Relaxed);
    events.send(PULLED.into()).unwrap();
    scene.changes.changed().await.unwrap();
    assert_eq!(*scene.changes.borrow_and_update(), number + 1);
    assert_eq!(scene.digest("busybox").await, "sha256:d2");
    scene.asked();
    // Of a name that led nowhere it is not known where it led.
    events.send(PULLED.replace("busybox", "other")).unwrap();
    scene.changes.changed().await.unwrap();
    assert_eq!(*scene.changes.borrow(), number + 2);
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn two_answers_that_differ_are_a_change_before_any_event() {
    let mut scene = Scene::new().await;
    let _events = scene.listening().await;
    scene.digest("busybox").await;
    scene.version.store(2, Ordering::Relaxed);
    // As after a pull of ours, whose event is still on its way.
    scene.images.inspect(&"busybox".parse().unwrap()).await.unwrap();
    assert!(scene.changes.has_changed().unwrap());
    scene.changes.mark_unchanged();
    scene.images.inspect(&"busybox".parse().unwrap()).await.unwrap();
    assert!(!scene.changes.has_changed().unwrap());
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

/// A daemon that has one image by these digests, and pulls it as it says.
async fn having(digests: &[&str], said: &'static str) -> (Fake, Arc<DaemonImages>) {
    let digests = digests.iter().map(|digest| format!("\"busybox@{digest}\""));
    let digests = digests.collect::<Vec<_>>().join(",");
    let image = fake::image().replace("\"busybox@sha256:d1\"", &digests);
    let fake = Fake::start(move |method, _| match method {
        "POST" => Answer::ok(said),
        _ => Answer::ok(&image),
    })
    .await;
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let daemon = Arc::new(Daemon::new(Some(&fake.host())).unwrap());
    let patience = Patience::default();
    (fake, DaemonImages::new(daemon, architecture, Credentials::default(), patience))
}

#[tokio::test]
async fn of_several_digests_the_one_pulled_last_counts() {
    let said = "{\"status\":\"Digest: sha256:d2\"}\r\n";
    let (_fake, images) = having(&["sha256:d1", "sha256:d2"], said).await;
    let reference = "busybox".parse().unwrap();
    let find = async || images.find(&reference).await.unwrap().digest.unwrap();
    assert_eq!(find().await, "sha256:d1");
    let pulled = images.pull(&reference, &Progress::default()).await.unwrap();
    assert_eq!(pulled.digest.as_deref(), Some("sha256:d2"));
    assert_eq!(find().await, "sha256:d2");
    let used = images.used();
    assert!(used.contains_key("sha256:d1") && used.contains_key("sha256:d2"), "{used:?}");
}

#[tokio::test]
async fn another_digest_than_the_one_asked_for_is_never_taken() {
    let (_fake, images) = having(&["sha256:d1"], "{\"status\":\"Status: Downloaded\"}\n").await;
    let reference = format!("busybox@sha256:{}", "0".repeat(64)).parse().unwrap();
    let missing = images.find(&reference).await.unwrap_err();
    assert_eq!(missing.kind, ImageErrorKind::NotFound);
    let corrupt = images.pull(&reference, &Progress::default()).await.unwrap_err();
    assert_eq!(corrupt.kind, ImageErrorKind::Corrupt, "{}", corrupt.cause);
}

#[tokio::test]
async fn the_machines_own_image_is_no_daemons() {
    let (mut fake, images) = having(&["sha256:d1"], "").await;
    let host = images.pull(&Reference::host(), &Progress::default()).await.unwrap_err();
    assert_eq!(host.kind, ImageErrorKind::Unsupported);
    assert!(fake.heard().is_empty());
}
