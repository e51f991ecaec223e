//! The native engine's images: pulled by this service, unpacked once, kept by their digests.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};

use super::{Details, Image, ImageError, Images, Progress, Reference, Removed, Summary};

/// Images in a folder of this machine.
pub struct Store;

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
