//! What is left of the native engine's images where no store can be kept: this machine's own `/usr`.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};

use super::{
    Details, Image, ImageError, ImageErrorKind, Images, Progress, Reference, Removed, Summary,
};

/// No image but `host`, and why: for the log.
#[derive(Debug, Clone)]
pub struct HostOnly(pub String);

impl HostOnly {
    fn refuse<T: Send + 'static>(
        &self,
        reference: &Reference,
    ) -> BoxFuture<'static, Result<T, ImageError>> {
        let why =
            "this service has no place for images; its log says why, and IMAGE_STORE names one";
        let error = match reference.is_host() {
            true => ImageError::unsupported(reference, "it is no image but this machine itself"),
            false => ImageError::unsupported(reference, why),
        };
        ready(Err(ImageError { cause: self.0.clone(), ..error })).boxed()
    }
}

impl Images for HostOnly {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        match reference.is_host() {
            true => ready(Ok(Image::host())).boxed(),
            false => self.refuse(reference),
        }
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        self.refuse(reference)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        self.refuse(reference)
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        self.refuse(reference)
    }

    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        let detail = "this service has no place for images".to_owned();
        let error = ImageError::new(ImageErrorKind::Unsupported, detail, self.0.clone());
        ready(Err(error)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_there_and_nothing_else_with_the_reason_in_the_log_only() {
        let images = HostOnly("mkdir /secret: no".into());
        assert_eq!(images.find(&Reference::host()).await.unwrap(), Image::host());
        let error = images.find(&"alpine".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::Unsupported);
        assert!(error.detail.contains("IMAGE_STORE"), "{error}");
        assert!(!error.detail.contains("secret") && error.cause.contains("secret"), "{error}");
        assert!(images.list().await.unwrap().is_empty());
    }
}
