//! An engine's images without a service, for whoever looks after them by hand.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::{Launched, choose, images, launch, privileges};
use crate::config::{EngineChoice, Naming, Settings, User};
use crate::engine::docker::DockerEngine;
use crate::engine::native::NativeEngine;
use crate::engine::{Engine, EngineError, EngineName};
use crate::registry::store::{Store, StoreOptions};
use crate::registry::{Images, Reference, Registry};
use crate::telemetry::metrics::Metrics;

/// The images of one engine.
pub(crate) struct Offline {
    pub(crate) engine: EngineName,
    /// Why it is this one; `None` where it was named.
    pub(crate) reason: Option<String>,
    pub(crate) registry: Registry,
    /// What names mean here.
    pub(crate) naming: Naming,
    /// The native engine's own place for them.
    pub(crate) store: Option<Arc<Store>>,
    daemon: Option<Arc<DockerEngine>>,
}

/// What is done before there are threads.
pub(crate) struct Begun {
    settings: Settings,
    native: Native,
}

/// How the native engine comes in.
enum Native {
    Not,
    /// It was named, and its images need no container.
    Named(Result<StoreOptions, String>),
    /// It has to show first that it works.
    ToProve(Launched),
}

impl Begun {
    /// Becomes whom the store belongs to, where this is root and that is somebody else: what root
    /// would leave there, the service could not touch. To be called while there is one thread.
    /// `named` are images that the operator wants to have, whose registries may be private then.
    ///
    /// # Errors
    /// A sentence, when that can't be done.
    pub(crate) fn now(settings: &Settings, named: &[Reference]) -> Result<Self, String> {
        let mut settings = settings.clone();
        settings.images.private.extend(named.iter().map(|image| image.registry().to_owned()));
        let owner = owner(&settings)?;
        let native = match settings.engine {
            EngineChoice::Docker => Native::Not,
            EngineChoice::Native => Native::Named(launch::prepare_store(&settings, owner)),
            EngineChoice::Auto => Native::ToProve(Launched::now(&settings, owner)),
        };
        become_owner(&mut settings, owner, !named.is_empty())?;
        Ok(Self { settings, native })
    }

    /// Finds the engine. To be called within a tokio runtime.
    ///
    /// # Errors
    /// A sentence, when no engine has images here.
    pub(crate) async fn open(self) -> Result<Offline, String> {
        let Self { settings, native } = self;
        match native {
            Native::Not => docker(&settings, None).await,
            Native::Named(store) => of_the_store(&settings, store, None),
            Native::ToProve(Launched { spawner, store }) => match works(spawner).await {
                Ok(()) => {
                    let store = store.map_err(|why| why.to_string());
                    of_the_store(&settings, store, Some("its self-check passed".into()))
                }
                Err(native) => {
                    let reason = format!("the native engine can't be used: {native}");
                    docker(&settings, Some(reason))
                        .await
                        .map_err(|docker| format!("no engine: native: {native}; docker: {docker}"))
                }
            },
        }
    }
}

impl Offline {
    /// Lets go of the engine.
    pub(crate) async fn close(self) {
        if let Some(daemon) = self.daemon {
            daemon.close().await;
        }
    }
}

/// Becomes that user. `pulls`: he is likely to ask registries.
pub(super) fn become_owner(
    settings: &mut Settings,
    owner: Option<(u32, u32)>,
    pulls: bool,
) -> Result<(), String> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let was = login(settings).is_some();
    privileges::become_user(&User::Ids { uid, gid }, None)?;
    // What is closed to its new user is as good as absent.
    if login(settings).is_none() {
        settings.images.credentials.docker_config = None;
        if was && pulls {
            eprintln!(
                "oncebox: user {uid} can't read what `docker login` left; REGISTRY_AUTH_FILE names credentials"
            );
        }
    }
    Ok(())
}

/// Whom to become, by uid and gid; `None` stays who this is.
pub(super) fn owner(settings: &Settings) -> Result<Option<(u32, u32)>, String> {
    if settings.engine == EngineChoice::Docker || !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    if let Some(user) = &settings.user {
        return privileges::ids(user).map(Some);
    }
    let store = settings.images.store.as_ref();
    Ok(store.and_then(|store| owner_of(&store.path)))
}

/// To whom a folder belongs, where that is not root.
fn owner_of(folder: &Path) -> Option<(u32, u32)> {
    let metadata = std::fs::metadata(folder).ok()?;
    (metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid()))
}

/// What `docker login` left, where this process can read it.
fn login(settings: &Settings) -> Option<File> {
    let folder = settings.images.credentials.docker_config.as_ref()?;
    File::open(folder.join("config.json")).ok()
}

async fn works(spawner: Result<crate::engine::native::Spawner, EngineError>) -> Result<(), String> {
    let starting = async { NativeEngine::start(spawner?, Arc::new(Metrics::new())).await };
    let engine = choose::within(starting).await.map_err(choose::why)?;
    engine.close().await;
    Ok(())
}

fn of_the_store(
    settings: &Settings,
    prepared: Result<StoreOptions, String>,
    reason: Option<String>,
) -> Result<Offline, String> {
    let store = Store::open(prepared?, Some(images::client(settings)?))?;
    let registry = registry(settings, store.clone(), Arc::default());
    let (naming, engine) = (settings.images.naming(), EngineName::Native);
    Ok(Offline { engine, reason, registry, naming, store: Some(store), daemon: None })
}

async fn docker(settings: &Settings, reason: Option<String>) -> Result<Offline, String> {
    let metrics = Arc::new(Metrics::new());
    let starting = DockerEngine::start(choose::docker_options(settings), Arc::clone(&metrics));
    let daemon = choose::within(starting).await.map_err(choose::why)?;
    let registry = registry(settings, daemon.images(), metrics);
    let (naming, engine) = (settings.images.naming(), EngineName::Docker);
    Ok(Offline { engine, reason, registry, naming, store: None, daemon: Some(daemon) })
}

fn registry(settings: &Settings, images: Arc<dyn Images>, metrics: Arc<Metrics>) -> Registry {
    Registry::new(images, settings.images.policy.clone(), settings.images.pull, metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_s_folders_are_nobody_else_s() {
        assert_eq!(owner_of(Path::new("/nonexistent")), None);
        let folder = tempfile::tempdir().expect("a folder");
        let mine = rustix::process::geteuid().as_raw();
        assert_eq!(owner_of(folder.path()).map(|(uid, _)| uid), (mine != 0).then_some(mine));
        if mine == 0 {
            std::os::unix::fs::chown(folder.path(), Some(7), Some(8)).expect("given away");
            assert_eq!(owner_of(folder.path()), Some((7, 8)));
        }
    }
}
