//! What an engine has to say about its images: the daemon's, or our own store's.

use futures_util::future::BoxFuture;

use super::{Details, Image, ImageError, Progress, Reference, Removed, Summary};

/// The images of one engine. Every future ends within a deadline of the engine's own, except
/// [`Images::pull`], whose caller has the last word on time.
pub trait Images: Send + Sync + 'static {
    /// The image behind a reference that is here already; nothing is asked of a registry. No image
    /// is ever substituted.
    ///
    /// # Errors
    /// `NotFound` where it is not here, `Unsupported` where it can't be run.
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>>;

    /// Resolves when a reference may lead to another image than before this call.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// One attempt to make the image here what the registry has under this reference now. Where
    /// that is here already, only its digest is asked for. Connecting, answering and every pause in
    /// between have limits of their own. Dropping the future gives the attempt up, and nothing of
    /// it stays.
    ///
    /// # Errors
    /// As [`ImageError`] lists them; `passing` says whether another attempt makes sense.
    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>>;

    /// All images that are here, the latest used first.
    ///
    /// # Errors
    /// When the engine fails.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>>;

    /// # Errors
    /// `NotFound` where it is not here.
    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>>;

    /// Removes a name, and the image with its last one. A reference by digest removes the image
    /// with all its names.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while a container has it.
    fn remove<'a>(&'a self, reference: &'a Reference)
    -> BoxFuture<'a, Result<Removed, ImageError>>;

    /// Removes every image that no name leads to and no container uses, and what broken pulls left.
    ///
    /// # Errors
    /// When the engine fails.
    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>>;
}
