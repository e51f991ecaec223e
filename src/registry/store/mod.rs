//! The native engine's images: pulled by this service, unpacked once, kept by their digests.
//!
//! A store is one folder ([`folder`] says what is where), shared by any number of processes. Its
//! index says what is here; it is replaced as a whole, under a lock. Nothing enters the index that
//! is not whole on the disk, and nothing leaves the disk that is in the index, so that a process
//! can end at any moment.
//!
//! | | |
//! |---|---|
//! | [`folder`], [`lock`], [`tree`] | the disk |
//! | [`index`], [`catalog`] | what is here, and how that changes |
//! | [`find`] | from a reference to an image, held for as long as it is used |
//! | [`space`] | what goes when |
//! | [`work`] | what is not finished yet |
//! | [`install`], [`budget`], [`source`], [`enter`] | layers on their way in, from a registry or an archive |
//! | [`pull`], [`import`] | where images come from |

mod budget;
mod catalog;
mod enter;
mod failed;
mod find;
mod folder;
mod import;
mod index;
mod install;
mod list;
mod lock;
mod pull;
mod source;
mod space;
#[cfg(test)]
mod tests;
mod time;
mod tree;
mod work;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::task::spawn_blocking;

use super::client::Client;
use super::{Details, Image, ImageError, Images, Progress, Reference, Removed, Summary};
use catalog::Catalog;
use find::Memory;
use folder::Folder;

pub use import::ImportSource;

/// Whom layers belong to where root keeps the store: no user and no container has this uid, so that
/// neither may do to a layer's files more than anybody.
pub const LAYER_UID: u32 = 0x7fff_f000;
pub const LAYER_GID: u32 = LAYER_UID;

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

/// Images in a folder of this machine.
pub struct Store {
    options: StoreOptions,
    catalog: Arc<Catalog>,
    memory: Memory,
    client: Option<Client>,
}

impl Store {
    /// Makes what is missing of the folder, and gives that to `owner` (uid and gid). To be called
    /// while the process still has its privileges.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
        Folder::prepare(path, owner)
    }

    /// Opens a store, made where there is none, and removes what dead processes left in it.
    /// Without a client no registry is ever asked.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(options: StoreOptions, client: Option<Client>) -> Result<Arc<Self>, String> {
        let shown = options.path.display();
        let unusable = |why: String| format!("the image store {shown} can't be used: {why}");
        Self::prepare(&options.path, None).map_err(|e| unusable(e.to_string()))?;
        let folder = Folder::open(&options.path).map_err(unusable)?;
        let catalog = Arc::new(Catalog::new(Arc::new(folder)));
        catalog.recover().map_err(|e| unusable(format!("{e} ({})", e.cause)))?;
        Ok(Arc::new(Self { options, catalog, memory: Memory::default(), client }))
    }

    /// The folder of the unpacked layers, each named by its [`LayerId`](super::LayerId).
    #[must_use]
    pub fn layers_path(&self) -> PathBuf {
        self.catalog.folder.layers_path()
    }

    /// The same of a store in this folder, before it is open.
    #[must_use]
    pub fn layers_of(path: &Path) -> PathBuf {
        folder::layers_of(path)
    }

    /// Takes images in from elsewhere than a registry, under their own names or under `tag`.
    ///
    /// # Errors
    /// As [`ImageError`] lists them; the sentence is for the operator.
    pub fn import<'a>(
        &'a self,
        source: ImportSource,
        tag: Option<Reference>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Vec<Image>, ImageError>> {
        import::import(self, source, tag, progress).boxed()
    }
}

/// Disk work, where it holds nobody else up. It goes on when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    spawn_blocking(work).await.map_err(failed::broken)?
}

impl Images for Store {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        if reference.is_host() {
            return ready(Ok(Image::host())).boxed();
        }
        self.memory.find(&self.catalog, reference, true).boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        find::changed(&self.catalog)
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        if reference.is_host() {
            return ready(Ok(Image::host())).boxed();
        }
        pull::pull(self, reference, progress).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        list::list(&self.catalog).boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        list::describe(&self.catalog, reference).boxed()
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        async {
            let wanted = reference.clone();
            let change = move |update: &mut catalog::Update| update.remove(&wanted);
            let (mut removed, rubbish) = self.catalog.update(change).await?;
            removed.freed = work::close(rubbish).await;
            self.catalog.folder.load_ballast();
            Ok(removed)
        }
        .boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        async {
            let ((mut removed, dead), rubbish) =
                self.catalog.update(catalog::Update::prune).await?;
            removed.freed = work::close(rubbish.into_iter().chain(dead)).await;
            self.catalog.folder.load_ballast();
            Ok(removed)
        }
        .boxed()
    }
}
