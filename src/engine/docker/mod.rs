//! The Docker engine, over the Docker API 1.41 and later.
//!
//! One container's way: `request` writes the hardening profile as a create request, `creation`
//! sends it, `read_back` holds the daemon's word against it, `daemon` attaches and starts, and the
//! guest's own look at itself decides. `removal` owns the container from the moment its name is
//! known. The guest travels in a volume (`guest_volume`); `sweep` finds what dead services left.
//! `images` remembers what is behind a reference, and the daemon's events keep that true; `pull` has
//! the daemon pull one, `pull_error` reads why it did not, and `manage` lists and removes. All calls
//! go over the connections that `transport` keeps.

mod creation;
pub(crate) mod daemon;
#[cfg(test)]
mod fake;
mod fitness;
mod guest_volume;
mod image;
mod images;
mod manage;
mod pull;
mod pull_error;
mod read_back;
mod removal;
mod request;
mod sweep;
mod tar;
mod transport;
mod version;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::creation::{Created, Creator, Need, NotCreated};
use self::daemon::Daemon;
use self::fitness::Fitness;
use self::guest_volume::{GuestVolume, Placed};
use self::image::Facts;
use self::images::DaemonImages;
use self::pull::Patience;
use self::removal::Remover;
use self::request::{INSTANCE_LABEL, OWNER_LABEL, Profile};
use self::sweep::This;
pub(crate) use self::transport::socket;
use self::version::{ApiVersion, Host};
use super::hardening::{self, Expected};
use super::owner::Owner;
use super::{Container, ContainerSpec, Engine, EngineError, EngineName};
use crate::guest_binary;
use crate::registry::{Credentials, Images};
use crate::telemetry::metrics::Metrics;

/// The uids containers run as, each used by one container at a time.
const FIRST_UID: u32 = 20_000;
const UIDS: u32 = 40_000;

/// For every container of this engine to be gone.
const CLOSE: Duration = Duration::from_secs(30);
const CLOSE_LOOK: Duration = Duration::from_millis(50);
/// So long after an answer the daemon is not asked again whether it is there.
const FRESH: Duration = Duration::from_secs(1);

/// Which daemon, and how it runs containers.
#[derive(Debug, Clone, Default)]
pub struct DockerOptions {
    /// In the form of `DOCKER_HOST`: `unix:///path` or `tcp://host:port` (without TLS); `None` is
    /// `/var/run/docker.sock`.
    pub host: Option<String>,
    /// The OCI runtime by the daemon's name for it, such as `runsc`; `None` is its default.
    pub runtime: Option<String>,
    /// What the daemon is given for the registries it pulls from; its own are none of ours.
    pub credentials: Credentials,
}

/// The versions in play, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerVersion {
    /// Of the daemon, such as `20.10.24`.
    pub server: String,
    /// Of the API we speak with it, such as `1.41`.
    pub api: String,
}

/// Makes containers at a Docker daemon.
pub struct DockerEngine {
    daemon: Arc<Daemon>,
    api: ApiVersion,
    profile: Profile,
    creator: Creator,
    remover: Arc<Remover>,
    guest: GuestVolume,
    fitness: Fitness,
    images: Arc<DaemonImages>,
    next_uid: AtomicU32,
    instance: String,
    /// When the daemon last said that it is there.
    answered: Mutex<Option<Instant>>,
    _sweeper: AbortOnDropHandle<()>,
    _follower: AbortOnDropHandle<()>,
}

impl DockerEngine {
    /// Finds the daemon, makes sure that it can enforce the profile, and starts to remove what dead
    /// instances left there. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when there is no daemon or it can't do what is needed, with
    /// what is missing; [`EngineError::Slow`] when it does not answer.
    pub async fn start(
        options: DockerOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, EngineError> {
        let daemon = Daemon::new(options.host.as_deref())?;
        daemon.ping().await?;
        let api = ApiVersion::choose(&daemon.version().await?).map_err(EngineError::Unavailable)?;
        let daemon = Arc::new(daemon.pinned(api)?);
        let host = Host::assess(&daemon.info().await?, options.runtime.as_deref())
            .map_err(EngineError::Unavailable)?;
        let owner = Owner::this()
            .map_err(|e| EngineError::Unavailable(format!("/proc does not name us: {e}")))?;

        let id = Uuid::now_v7();
        let instance = id.simple().to_string();
        let profile = Profile {
            labels: HashMap::from([
                (INSTANCE_LABEL.to_owned(), instance.clone()),
                (OWNER_LABEL.to_owned(), owner.to_string()),
            ]),
            guest_volume: GuestVolume::name(guest_binary::digest()),
            runtime: options.runtime,
            swappiness: host.cgroup_v1,
            processors: host.processors,
            seccomp: hardening::seccomp::docker_json(),
        };
        let remover = Remover::new(Arc::clone(&daemon), metrics);
        let this = This { instance: instance.clone(), owner };
        let volume = profile.guest_volume.clone();
        let sweep = sweep::sweep(Arc::clone(&daemon), Arc::clone(&remover), this, volume);
        let sweeper = tokio::spawn(sweep);
        let images = DaemonImages::new(
            Arc::clone(&daemon),
            host.architecture,
            options.credentials,
            Patience::default(),
        );
        let follower = tokio::spawn(Arc::clone(&images).follow());
        Ok(Arc::new(Self {
            creator: Creator::new(Arc::clone(&daemon), Arc::clone(&remover), instance.clone()),
            daemon,
            api,
            profile,
            remover,
            guest: GuestVolume::new(guest_binary::bytes()),
            fitness: Fitness::default(),
            images,
            // Two services on one host should not begin at the same uid; the id's tail is random.
            next_uid: AtomicU32::new(id.as_u64_pair().1 as u32),
            instance,
            answered: Mutex::default(),
            _sweeper: AbortOnDropHandle::new(sweeper),
            _follower: AbortOnDropHandle::new(follower),
        }))
    }

    /// The images at the daemon.
    #[must_use]
    pub fn images(&self) -> Arc<dyn Images> {
        Arc::<DaemonImages>::clone(&self.images)
    }

    /// The daemon's version now, and the API version spoken with it.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn version(&self) -> Result<DockerVersion, EngineError> {
        let found = self.daemon.version().await?;
        let server = found.version.unwrap_or_else(|| "unknown".into());
        Ok(DockerVersion { server, api: self.api.to_string() })
    }

    /// Anybody may ask, as often as he likes: hence the memory.
    async fn ask_daemon(&self) -> Result<(), EngineError> {
        let answered = || self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered().is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        self.daemon.ping().await?;
        *answered() = Some(Instant::now());
        Ok(())
    }

    async fn make_container(
        &self,
        spec: &ContainerSpec,
        need: Need,
    ) -> Result<Container, EngineError> {
        let facts = self.images.facts(&spec.image).await?;
        let placed = self.place_guest(&facts).await?;
        let error = match self.assemble(spec, &facts, &placed, need).await {
            Ok(container) => return Ok(container),
            Err(error) => error,
        };
        match &error {
            NotCreated::Daemon(e) if e.refuses("create") => self.images.doubt(&facts),
            NotCreated::Daemon(e) if e.refuses("start") => {}
            _ => return Err(error.into()),
        }
        // The guest's volume may have vanished, and with it the file that is mounted from there.
        self.guest.doubt();
        let placed = self.place_guest(&facts).await?;
        if placed.written {
            return Ok(self.assemble(spec, &facts, &placed, need).await?);
        }
        Err(error.into())
    }

    async fn place_guest(&self, image: &Facts) -> Result<Placed, EngineError> {
        self.guest.ensure(&self.daemon, &self.creator, &self.profile, image).await
    }

    async fn assemble(
        &self,
        spec: &ContainerSpec,
        image: &Facts,
        placed: &Placed,
        need: Need,
    ) -> Result<Container, NotCreated> {
        let uid = FIRST_UID + self.next_uid.fetch_add(1, Ordering::Relaxed) % UIDS;
        let wanted = self.profile.container(spec, image, uid, &placed.hosts);
        let Created { mut guard, turn } = self.creator.create(wanted.clone(), need).await?;
        let name = guard.name();
        let (found, channel) =
            tokio::try_join!(self.daemon.inspect(name), self.daemon.attach(name))?;
        read_back::check(&wanted, &found).map_err(EngineError::Make)?;
        self.fitness.check(&self.daemon, name, &spec.image.reference, image).await?;
        self.daemon.start(name).await?;
        guard.started();
        drop(turn);
        let expected = Expected { uid, gid: uid, groups: 0, cgroup_inside: true };
        let verify = |posture: &_| hardening::verify(posture, spec, &expected);
        Ok(Container::ready(channel, Box::new(guard), verify).await?)
    }

    async fn remove_all(&self) {
        self.creator.stop().await;
        let label = format!("{INSTANCE_LABEL}={}", self.instance);
        loop {
            match self.daemon.list(&label).await {
                Ok(left) if left.is_empty() => return,
                Ok(left) => {
                    let ids = left.into_iter().filter_map(|container| container.id);
                    let removals = stream::iter(ids).for_each_concurrent(None, async |id| {
                        self.remover.try_remove(&id).await;
                    });
                    removals.await;
                }
                Err(error) => tracing::warn!(%error, "could not list the containers to remove"),
            }
            sleep(CLOSE_LOOK).await;
        }
    }
}

impl Engine for DockerEngine {
    fn name(&self) -> EngineName {
        EngineName::Docker
    }

    fn make<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        self.make_container(spec, Need::Now).boxed()
    }

    fn make_ahead<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        self.make_container(spec, Need::Ahead).boxed()
    }

    fn answers(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.ask_daemon().boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            if timeout(CLOSE, self.remove_all()).await.is_err() {
                tracing::error!("containers are left at the daemon; the next start removes them");
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::fake::{Answer, Fake};
    use super::request::tests::spec;
    use super::*;
    use crate::registry::{ImageErrorKind, Reference};

    async fn start(fake: &Fake) -> Result<Arc<DockerEngine>, EngineError> {
        let host = Some(fake.host());
        DockerEngine::start(DockerOptions { host, ..DockerOptions::default() }, Arc::default())
            .await
    }

    /// A daemon that has the image `busybox` and makes containers that are not what was asked for.
    fn lying(method: &str, path: &str) -> Answer {
        let hosts = path.contains("hosts");
        let path = path.split('?').next().unwrap_or_default();
        match (method, path.trim_start_matches("/v1.41")) {
            (_, "/_ping") => Answer::ok("OK"),
            (_, "/version") => Answer::ok(r#"{"ApiVersion":"1.43","MinAPIVersion":"1.12"}"#),
            (_, "/info") => Answer::ok(&fake::able_host()),
            (_, "/containers/json") => Answer::ok("[]"),
            (_, "/images/docker.io/library/busybox:latest/json") => Answer::ok(&fake::image()),
            ("POST", "/containers/create") => Answer::ok(r#"{"Id":"1d","Warnings":[]}"#),
            ("POST", "/volumes/create") => Answer::ok(&fake::volume()),
            ("GET", path) if path.ends_with("/archive") => Answer::Bytes(match hosts {
                true => tar::pack(
                    request::HOSTS_FILE,
                    tar::Entry { mode: 0o644, content: hardening::HOSTS.as_bytes() },
                ),
                false => tar::pack(
                    request::GUEST_FILE,
                    tar::Entry { mode: 0o755, content: guest_binary::bytes() },
                ),
            }),
            ("POST", path) if path.ends_with("/attach") => Answer::Upgrade,
            ("GET", path) if path.ends_with("/json") && path.starts_with("/containers/") => {
                Answer::ok(r#"{"Id":"1d","Image":"sha256:other"}"#)
            }
            ("DELETE", _) => Answer::Status(204, String::new()),
            _ => Answer::Status(404, r#"{"message":"no such thing"}"#.into()),
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_too_old_is_refused_with_both_versions() {
        let fake = Fake::start(|_, path| match path {
            "/_ping" => Answer::ok("OK"),
            _ => Answer::ok(r#"{"Version":"19.03.15","ApiVersion":"1.40"}"#),
        })
        .await;
        let error = start(&fake).await.err().unwrap();
        assert!(matches!(error, EngineError::Unavailable(_)));
        let text = error.to_string();
        assert!(text.contains("19.03.15 speaks API 1.40, and 1.41 is needed"), "{text}");
    }

    #[tokio::test]
    async fn a_daemon_that_has_gone_is_noticed_within_a_second() {
        let gone = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&gone);
        let fake = Fake::start(move |method, path| {
            let refusal = || Answer::Status(503, r#"{"message":"stopping"}"#.into());
            if stopped.load(Ordering::SeqCst) { refusal() } else { lying(method, path) }
        })
        .await;
        let engine = start(&fake).await.unwrap();
        assert!(engine.answers().await.is_ok());
        gone.store(true, Ordering::SeqCst);
        // It was asked a moment ago.
        assert!(engine.answers().await.is_ok());
        *engine.answered.lock().unwrap() = Instant::now().checked_sub(FRESH);
        assert!(matches!(engine.answers().await, Err(EngineError::Unavailable(_))));
        gone.store(false, Ordering::SeqCst);
        assert!(engine.answers().await.is_ok());
    }

    #[tokio::test]
    async fn no_daemon_is_unavailable_and_named() {
        for host in ["unix:///no/such.sock", "tcp://127.0.0.1:1", "ssh://somewhere"] {
            let options = DockerOptions { host: Some(host.into()), ..DockerOptions::default() };
            let error = DockerEngine::start(options, Arc::default()).await.err().unwrap();
            assert!(matches!(error, EngineError::Unavailable(_)), "{host}: {error}");
        }
    }

    #[tokio::test]
    async fn every_call_after_the_greeting_is_in_the_pinned_version() {
        let mut fake = Fake::start(lying).await;
        let engine = start(&fake).await.unwrap();
        engine.images.image(&"busybox".parse().unwrap()).await.unwrap();
        let calls = fake.until("/images/").await;
        assert_eq!(calls[..2], ["GET /_ping", "GET /version"]);
        assert!(calls[2..].iter().all(|call| call.contains(" /v1.41/")), "{calls:?}");
    }

    #[tokio::test]
    async fn images_are_found_or_not_and_never_pulled() {
        let fake = Fake::start(lying).await;
        let engine = start(&fake).await.unwrap();
        let image = engine.images.image(&"busybox".parse().unwrap()).await.unwrap();
        assert_eq!(image.digest.as_deref(), Some("sha256:d1"));
        let missing = engine.images.image(&"busybox:2".parse().unwrap()).await.unwrap_err();
        assert_eq!(missing.kind, ImageErrorKind::NotFound, "{missing}");
        let host = engine.images.image(&Reference::host()).await.unwrap_err();
        assert_eq!(host.kind, ImageErrorKind::Unsupported, "{host}");
    }

    #[tokio::test]
    async fn a_container_made_otherwise_is_removed_and_never_started() {
        let mut fake = Fake::start(lying).await;
        let engine = start(&fake).await.unwrap();
        let mut wanted = spec();
        wanted.image = engine.images.image(&"busybox".parse().unwrap()).await.unwrap();
        let error = engine.make(&wanted).await.err().unwrap();
        assert!(error.to_string().contains("the daemon made Image \"sha256:other\""), "{error}");
        let name = format!("oncebox-{}-2", engine.instance);
        let calls = fake.until(&format!("DELETE /v1.41/containers/{name}?")).await;
        assert!(!calls.iter().any(|call| call.contains("/start")), "{calls:?}");
        assert!(calls.iter().any(|call| call.contains(&format!("create?name={name}"))));
    }

    #[tokio::test]
    async fn a_closed_engine_makes_nothing() {
        let mut fake = Fake::start(lying).await;
        let engine = start(&fake).await.unwrap();
        let mut wanted = spec();
        wanted.image = engine.images.image(&"busybox".parse().unwrap()).await.unwrap();
        engine.close().await;
        let error = engine.make(&wanted).await.err().unwrap();
        assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
        let calls = fake.until("org.oncebox.instance").await;
        assert!(!calls.iter().any(|call| call.contains("/containers/create")), "{calls:?}");
    }
}
