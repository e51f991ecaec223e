//! From a registry into the store.

use super::install::{Wanted, install};
use super::source::Source;
use super::{Store, failed};
use crate::registry::client::Client;
use crate::registry::manifest::{Config, Descriptor, MAX_CONFIG};
use crate::registry::{Image, ImageError, ImageErrorKind, Progress, Reference};

/// One attempt to have here what the registry has under this reference.
pub(super) async fn pull(
    store: &Store,
    reference: &Reference,
    progress: &Progress,
) -> Result<Image, ImageError> {
    let here = match store.memory.find(&store.catalog, reference, false).await {
        Ok(image) => Some(image),
        Err(error) if error.kind == ImageErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // What a digest names never changes.
    if let Some(image) = here.as_ref().filter(|_| reference.digest().is_some()) {
        return Ok(image.clone());
    }
    let client = store.client.as_ref().ok_or_else(|| unreachable(reference))?;
    if let Some(image) = here
        && image.digest == Some(client.digest(reference).await?)
    {
        return Ok(image);
    }
    let found = client.manifest(reference).await?;
    let config = config(client, reference, &found.manifest.config).await?;
    let parsed = Config::parse(&config).map_err(|why| ImageError::unsupported(reference, why))?;
    parsed.fits(&found.manifest).map_err(|why| ImageError::unsupported(reference, why))?;
    let wanted = Wanted {
        reference: reference.clone(),
        digest: found.digest,
        names: vec![reference.clone()],
        manifest: found.manifest,
        config,
        parsed,
    };
    install(store, wanted, &Source::Registry { client, reference }, progress).await?;
    // Whoever has it pulled runs it now.
    store.memory.find(&store.catalog, reference, true).await
}

/// The image's configuration, whole and checked against its digest.
async fn config(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, ImageError> {
    let mut blob = client.blob(reference, descriptor).await?;
    let mut text = Vec::new();
    while let Some(piece) = blob.next().await? {
        if (text.len() + piece.len()) as u64 > MAX_CONFIG {
            let why = format!("its configuration has more than {MAX_CONFIG} bytes");
            return Err(ImageError::unsupported(reference, why));
        }
        text.extend_from_slice(&piece);
    }
    // The digest becomes the name of a file of ours.
    if super::find::sha256(&text) != descriptor.digest {
        return Err(failed::corrupt(reference, "its configuration is not what its digest says"));
    }
    Ok(text)
}

fn unreachable(reference: &Reference) -> ImageError {
    let detail = format!("image {reference} can't be pulled: this process asks no registries");
    ImageError { passing: false, ..ImageError::new(ImageErrorKind::Unavailable, detail, "") }
}
