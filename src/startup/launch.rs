//! What has to happen for the native engine while the process has one thread and all its privileges.

use std::path::Path;

use crate::config::Settings;
use crate::engine::EngineError;
use crate::engine::native::Spawner;
use crate::registry::store::{Store, StoreOptions};

/// A started spawner, and the folder of its images.
pub struct Launched {
    pub spawner: Result<Spawner, EngineError>,
    /// A store that is ready to be opened, or why there is none: the image `host` needs none.
    pub store: Result<StoreOptions, NoStore>,
}

/// Why there is no store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoStore {
    #[error("only the image host was asked for")]
    NotAskedFor,
    #[error("{0}")]
    Unusable(String),
}

impl Launched {
    /// `owner` is whom this process will be, by uid and gid; `None` is who it is now.
    pub(crate) fn now(settings: &Settings, owner: Option<(u32, u32)>) -> Self {
        Self::with(settings, prepare_store(settings, owner).map_err(NoStore::Unusable))
    }

    /// For scripts in the image `host` alone.
    pub(super) fn for_host(settings: &Settings) -> Self {
        Self::with(settings, Err(NoStore::NotAskedFor))
    }

    fn with(settings: &Settings, store: Result<StoreOptions, NoStore>) -> Self {
        let layers = store.as_ref().ok().map(|store| Store::layers_of(&store.path));
        let spawner = Spawner::launch(&settings.accept_unenforced, layers.as_deref());
        Self { spawner, store }
    }
}

/// Makes the store's folder where it is not there yet.
pub(crate) fn prepare_store(
    settings: &Settings,
    owner: Option<(u32, u32)>,
) -> Result<StoreOptions, String> {
    let store = settings.images.store.clone();
    let store = store.ok_or("there is no HOME for images, and IMAGE_STORE names no folder")?;
    let failed = |path: &Path, e| format!("the image store {} can't be made: {e}", path.display());
    match Store::prepare(&store.path, owner) {
        Ok(()) => Ok(store),
        Err(e) => Err(failed(&store.path, e)),
    }
}
