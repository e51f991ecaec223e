//! Images played by a test.

mod scripted;
pub(crate) mod shelf;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};

use super::{
    Details, Image, ImageError, Images, Policy, Progress, PullOptions, Reference, Registry,
    Removed, Summary,
};
pub(crate) use scripted::{Play, Scripted};

/// Images that are here or not, as a test's function says; a pull finds what is here.
pub(crate) struct Fixed<F>(pub(crate) F);

impl<F> Images for Fixed<F>
where
    F: Fn(&Reference) -> BoxFuture<'static, Result<Image, ImageError>> + Send + Sync + 'static,
{
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        (self.0)(reference)
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

/// A registry of such images, under no policy.
pub(crate) fn registry<F>(find: F) -> Arc<Registry>
where
    F: Fn(&Reference) -> BoxFuture<'static, Result<Image, ImageError>> + Send + Sync + 'static,
{
    let images = Arc::new(Fixed(find));
    Arc::new(Registry::new(images, Policy::default(), PullOptions::default(), Arc::default()))
}

/// A registry in which every image is here.
pub(crate) fn everything() -> Arc<Registry> {
    registry(|reference| ready(Ok(image(reference))).boxed())
}

/// An image by that name that says nothing of itself.
pub(crate) fn image(reference: &Reference) -> Image {
    Image { reference: reference.clone(), digest: None, env: Vec::new(), layers: None }
}
