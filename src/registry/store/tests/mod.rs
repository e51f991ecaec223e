//! The store on a real disk. Layers are made by hand here, as the unpacking process would leave
//! them.

mod crash;
mod life;
mod space;

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use tempfile::TempDir;

use super::install::Wanted;
use super::{Store, StoreOptions};
use crate::registry::manifest::{Config, Descriptor, Manifest, architecture};
use crate::registry::{Image, ImageError, Images, LayerId, Progress, Reference};

/// A store in a folder of its own, and how many bytes it may hold.
pub(super) struct Scene {
    pub(super) dir: TempDir,
    pub(super) store: Arc<Store>,
    limit: Option<u64>,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::limited(None)
    }

    pub(super) fn limited(limit: Option<u64>) -> Self {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path(), limit).unwrap();
        Self { dir, store, limit }
    }

    /// The same folder as another process has it.
    pub(super) fn another(&self) -> Arc<Store> {
        open(self.dir.path(), self.limit).unwrap()
    }

    pub(super) async fn add(
        &self,
        name: &str,
        layers: &[(u8, usize)],
    ) -> Result<Image, ImageError> {
        add(&self.store, name, layers).await
    }

    /// Names beneath a folder of the store, in order.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("store").join(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(super) fn layers(&self) -> Vec<u8> {
        let id = |name: &String| u8::from_str_radix(&name[..2], 16).unwrap();
        self.names("layers").iter().map(id).collect()
    }
}

pub(super) fn open(dir: &Path, size_limit: Option<u64>) -> Result<Arc<Store>, String> {
    let path = dir.join("store");
    Store::open(StoreOptions { path, size_limit, max_image: 1 << 30 }, None)
}

pub(super) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(super) fn id(n: u8) -> LayerId {
    LayerId([n; 32])
}

/// An image of these layers, whose digest follows from what is in it.
pub(super) fn wanted(name: &str, layers: &[(u8, usize)]) -> Wanted {
    let ids: Vec<String> = layers.iter().map(|(n, _)| format!("{:?}", id(*n))).collect();
    let config = serde_json::json!({
        "os": "linux",
        "architecture": architecture(),
        "created": "2024-09-06T22:20:07Z",
        "config": {"Env": ["PATH=/bin", "LD_PRELOAD=/x.so"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [{"created_by": "RUN x"}],
    });
    let config = config.to_string().into_bytes();
    let digest = super::find::sha256(&config);
    let described = |digest: &String, size: usize| Descriptor {
        media_type: String::new(),
        digest: digest.clone(),
        size: size as u64,
    };
    let manifest = Manifest {
        config: described(&digest, config.len()),
        layers: ids.iter().zip(layers).map(|(id, (_, size))| described(id, *size)).collect(),
    };
    let parsed = Config::parse(&config).unwrap();
    let reference = reference(name);
    let names = vec![reference.clone()];
    let digest = super::find::sha256(digest.as_bytes());
    Wanted { reference, digest, names, manifest, config, parsed }
}

/// Takes an image in, each layer a file of its size.
pub(super) async fn add(
    store: &Store,
    name: &str,
    layers: &[(u8, usize)],
) -> Result<Image, ImageError> {
    let (wanted, limit) = (Arc::new(wanted(name, layers)), store.options.size_limit);
    let planned = Arc::clone(&wanted);
    let (plan, _) = store.catalog.update(move |update| update.plan(&planned, limit)).await?;
    let Some((work, here, _)) = plan else { return store.find(&wanted.reference).await };
    let work = Arc::new(work);
    for (n, size) in layers.iter().filter(|(n, _)| !here.contains(&id(*n))) {
        let (name, size) = (format!("layer-{n}"), *size);
        let folder = work.layer(&name).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = openat(&folder, "file", flags, Mode::RUSR).unwrap();
        rustix::io::write(&file, &vec![7; size]).unwrap();
        let (id, work) = (id(*n), Arc::clone(&work));
        let place = move |update: &mut super::catalog::Update| {
            update.place(&work, &name, id, size as u64, limit)
        };
        store.catalog.update(place).await?;
    }
    let entered = Arc::clone(&wanted);
    store.catalog.update(move |update| update.enter(&entered)).await?;
    Arc::into_inner(work).unwrap().close().await;
    store.find(&wanted.reference).await
}

#[tokio::test]
async fn without_a_client_nothing_is_pulled_and_the_host_is_always_there() {
    let scene = Scene::new();
    assert_eq!(scene.store.find(&Reference::host()).await.unwrap(), Image::host());
    let progress = Progress::default();
    assert_eq!(scene.store.pull(&Reference::host(), &progress).await.unwrap(), Image::host());
    let error = scene.store.pull(&reference("busybox"), &progress).await.unwrap_err();
    assert!(!error.passing, "{error}");
}
