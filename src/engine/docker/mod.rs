//! The Docker engine, over the Docker API 1.41 and later.
//!
//! One container's way: `request` writes the hardening profile as a create request, `creation`
//! sends it, `read_back` holds the daemon's word against it, `daemon` attaches and starts, and the
//! guest's own look at itself decides. `removal` owns the container from the moment its name is
//! known. The guest travels in a volume (`guest_volume`); `sweep` finds what dead services left.

mod creation;
mod daemon;
mod guest_volume;
mod image;
mod owner;
mod read_back;
mod removal;
mod request;
mod sweep;
mod tar;
mod version;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::creation::{Created, Creator, NotCreated};
use self::daemon::Daemon;
use self::guest_volume::{GuestVolume, Placed};
use self::image::Facts;
use self::owner::Owner;
use self::removal::Remover;
use self::request::{INSTANCE_LABEL, OWNER_LABEL, Profile};
use self::sweep::This;
use self::version::{ApiVersion, Host};
use super::hardening::{self, Expected};
use super::{Container, ContainerSpec, Engine, EngineError, EngineName};
use crate::guest_binary;
use crate::registry::{Image, ImageError, Reference};

/// The uids containers run as, each used by one container at a time.
const FIRST_UID: u32 = 20_000;
const UIDS: u32 = 40_000;

/// How many images' facts are remembered; past it they are asked for again.
const IMAGES: usize = 1024;

/// For every container of this engine to be gone.
const CLOSE: Duration = Duration::from_secs(30);
const CLOSE_LOOK: Duration = Duration::from_millis(50);

/// Which daemon, and how it runs containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerOptions {
    /// In the form of `DOCKER_HOST`: `unix:///path` or `tcp://host:port` (without TLS); `None` is
    /// `/var/run/docker.sock`.
    pub host: Option<String>,
    /// The OCI runtime by the daemon's name for it, such as `runsc`; `None` is its default.
    pub runtime: Option<String>,
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
    host: Host,
    profile: Profile,
    creator: Creator,
    remover: Arc<Remover>,
    guest: GuestVolume,
    /// By the image's digest.
    images: Mutex<HashMap<String, Arc<Facts>>>,
    next_uid: AtomicU32,
    instance: String,
    closing: AtomicBool,
    _sweeper: AbortOnDropHandle<()>,
}

impl DockerEngine {
    /// Finds the daemon, makes sure that it can enforce the profile, and starts to remove what dead
    /// instances left there. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when there is no daemon or it can't do what is needed, with
    /// what is missing; [`EngineError::Slow`] when it does not answer.
    pub async fn start(options: DockerOptions) -> Result<Arc<Self>, EngineError> {
        let daemon = Daemon::new(options.host.as_deref())?;
        daemon.ping().await?;
        let api = ApiVersion::choose(&daemon.version().await?).map_err(EngineError::Unavailable)?;
        let daemon = Arc::new(daemon.pinned(api));
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
            guest_volume: GuestVolume::name(&guest_binary::digest()),
            runtime: options.runtime,
            swappiness: host.cgroup_v1,
            seccomp: hardening::seccomp::docker_json(),
        };
        let remover = Remover::new(Arc::clone(&daemon));
        let this = This { instance: instance.clone(), owner };
        let sweeper = tokio::spawn(sweep::sweep(Arc::clone(&daemon), Arc::clone(&remover), this));
        Ok(Arc::new(Self {
            creator: Creator::new(Arc::clone(&daemon), Arc::clone(&remover), instance.clone()),
            daemon,
            api,
            host,
            profile,
            remover,
            guest: GuestVolume::new(guest_binary::bytes()),
            images: Mutex::default(),
            // Two services on one host should not begin at the same uid; the id's tail is random.
            next_uid: AtomicU32::new(id.as_u64_pair().1 as u32),
            instance,
            closing: AtomicBool::new(false),
            _sweeper: AbortOnDropHandle::new(sweeper),
        }))
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

    async fn inspect(&self, reference: &Reference) -> Result<Image, ImageError> {
        let unsupported =
            |reason: String| ImageError::Unsupported { reference: reference.clone(), reason };
        let name = reference.to_string();
        if name == "host" {
            return Err(unsupported("`host` is this machine's own, for the native engine".into()));
        }
        let found = match self.daemon.inspect_image(&name).await {
            Ok(found) => found,
            Err(e) if e.status() == Some(404) => {
                return Err(ImageError::NotFound(reference.clone()));
            }
            Err(e) => return Err(EngineError::from(e).into()),
        };
        let image = image::read(found, self.host.architecture).map_err(unsupported)?;
        let mut images = self.images();
        if images.len() >= IMAGES {
            images.clear();
        }
        images.insert(image.digest.clone(), Arc::new(image.facts));
        Ok(Image { reference: reference.clone(), digest: Some(image.digest), env: image.env })
    }

    /// What is known about the image with this digest; asked for again where it was forgotten.
    async fn facts(&self, image: &Image) -> Result<Arc<Facts>, EngineError> {
        let none = || EngineError::Make(format!("image {} has no digest", image.reference));
        let digest = image.digest.as_ref().ok_or_else(none)?;
        let known = || self.images().get(digest).cloned();
        if let Some(facts) = known() {
            return Ok(facts);
        }
        let gone = |why: &dyn std::fmt::Display| {
            EngineError::Make(format!("image {} ({digest}): {why}", image.reference))
        };
        self.inspect(&image.reference).await.map_err(|e| match e {
            ImageError::Engine(e) => e,
            other => gone(&other),
        })?;
        known().ok_or_else(|| gone(&"another image has its name now"))
    }

    async fn make_container(&self, spec: &ContainerSpec) -> Result<Container, EngineError> {
        let facts = self.facts(&spec.image).await?;
        self.place_guest(&facts).await?;
        let error = match self.assemble(spec, &facts).await {
            Ok(container) => return Ok(container),
            Err(error) => error,
        };
        if matches!(&error, NotCreated::Daemon(e) if e.status().is_some()) {
            // The image may have been removed and the guest's volume too; a daemon makes an empty
            // one in its place without a word.
            self.images().retain(|_, known| **known != *facts);
            self.guest.doubt();
            if self.place_guest(&facts).await? == Placed::Written {
                return Ok(self.assemble(spec, &facts).await?);
            }
        }
        Err(error.into())
    }

    async fn place_guest(&self, image: &Facts) -> Result<Placed, EngineError> {
        self.guest.ensure(&self.daemon, &self.creator, &self.profile, image).await
    }

    async fn assemble(&self, spec: &ContainerSpec, image: &Facts) -> Result<Container, NotCreated> {
        if self.closing.load(Ordering::Acquire) {
            return Err(EngineError::Unavailable("the engine is closing".into()).into());
        }
        let uid = FIRST_UID + self.next_uid.fetch_add(1, Ordering::Relaxed) % UIDS;
        let wanted = self.profile.container(spec, image, uid);
        let Created { guard, turn } = self.creator.create(wanted.clone()).await?;
        let name = guard.name();
        let (found, channel) =
            tokio::try_join!(self.daemon.inspect(name), self.daemon.attach(name))?;
        read_back::check(&wanted, &found).map_err(EngineError::Make)?;
        self.daemon.start(name).await?;
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

    fn images(&self) -> MutexGuard<'_, HashMap<String, Arc<Facts>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for DockerEngine {
    fn name(&self) -> EngineName {
        EngineName::Docker
    }

    fn image<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        self.inspect(reference).boxed()
    }

    fn make<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        self.make_container(spec).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closing.store(true, Ordering::Release);
        async {
            if timeout(CLOSE, self.remove_all()).await.is_err() {
                tracing::error!("containers are left at the daemon; the next start removes them");
            }
        }
        .boxed()
    }
}
