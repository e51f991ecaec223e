//! Images out of files: what `docker save` writes, and OCI layouts. Nothing in them is trusted; no
//! name in them becomes a path on this machine.

mod archive;
mod docker;
mod oci;
mod spool;
mod tape;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use super::install::{Wanted, install};
use super::source::Source;
use super::work::{self, Work};
use super::{Store, blocking, failed};
use crate::registry::manifest::{Config, Manifest};
use crate::registry::{Image, ImageError, ImageErrorKind, Progress, Reference};

pub(super) use archive::{Member, Reading};

use archive::Archive;

/// How an image that has no name is called in messages.
const NAMELESS: &str = "imported";

/// What is to be imported: a docker-archive or an OCI layout, as a tar archive (which gzip or zstd
/// may have compressed) or as the folder of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    File(PathBuf),
    Directory(PathBuf),
    Stdin,
}

/// An image in an archive.
struct Found {
    digest: String,
    /// Its own names.
    names: Vec<Reference>,
    manifest: Manifest,
    config: Vec<u8>,
    parsed: Config,
    /// The lowest first.
    layers: Vec<Member>,
}

pub(super) async fn import(
    store: &Store,
    source: ImportSource,
    tag: Option<Reference>,
    progress: &Progress,
) -> Result<Vec<Image>, ImageError> {
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_host() || tag.digest().is_some()) {
        return Err(unusable(format_args!("{tag} is no name for it; write name:tag")));
    }
    let (work, rubbish) = store
        .catalog
        .update(|update| Work::begin(&update.folder, &[]).map_err(failed::at("beginning")))
        .await?;
    work::close(rubbish).await;
    let work = Arc::new(work);
    let result = from(store, source, tag, progress, &work).await;
    if let Some(work) = Arc::into_inner(work) {
        work.close().await;
    }
    result
}

async fn from(
    store: &Store,
    source: ImportSource,
    tag: Option<Reference>,
    progress: &Progress,
    work: &Arc<Work>,
) -> Result<Vec<Image>, ImageError> {
    let (spool, most) = (Arc::clone(work), store.options.max_image.saturating_mul(2));
    let found = blocking(move || images(&spool::open(source, &spool, most)?)).await?;
    if tag.is_some() && found.len() > 1 {
        let count = found.len();
        let why = format!("it holds {count} images, which one name can't lead to; import without");
        return Err(unusable(why));
    }
    let mut images = Vec::new();
    for Found { digest, names, manifest, config, parsed, layers } in found {
        let names = tag.as_ref().map_or(names, |tag| vec![tag.clone()]);
        let nameless = || format!("{NAMELESS}@{digest}").parse().ok();
        let reference = names.first().cloned().or_else(nameless);
        let reference = reference.ok_or_else(|| unusable("an image in it has no digest"))?;
        let known = digest.clone();
        let wanted = Wanted { reference, digest, names, manifest, config, parsed };
        install(store, wanted, &Source::Archive(&layers), progress).await?;
        let current = store.catalog.current().map_err(failed::at("the index"))?;
        let name = current.index.reference(&known, NAMELESS);
        let name = name.ok_or_else(|| failed::broken("an image went while it came"))?;
        images.push(store.memory.find(&store.catalog, &name, false).await?);
    }
    Ok(images)
}

/// The images in an archive that are for this machine.
fn images(archive: &Archive) -> Result<Vec<Found>, ImageError> {
    // Docker writes archives that are both, and its own list is the one with the whole names.
    if let Some(list) = archive.find(docker::LIST)? {
        return docker::images(archive, &list);
    }
    match archive.find(oci::INDEX)? {
        Some(index) => oci::images(archive, &index),
        None => Err(unusable(format_args!(
            "it holds neither the {} of a docker-archive nor the {} of an OCI layout",
            docker::LIST,
            oci::INDEX
        ))),
    }
}

/// A name that an archive gives an image; `None` where it names one by its digest.
fn name(text: &str) -> Result<Option<Reference>, ImageError> {
    let name: Reference = text.parse().map_err(|e| broken(format_args!("{e}")))?;
    if name.is_host() {
        return Err(broken("it names an image host, which is reserved"));
    }
    Ok(Some(name).filter(|name| name.digest().is_none()))
}

/// `why` completes "the archive can't be imported: …".
fn unusable(why: impl std::fmt::Display) -> ImageError {
    let detail = format!("the archive can't be imported: {why}");
    ImageError::new(ImageErrorKind::Unsupported, detail, String::new())
}

/// `why` completes "the archive is broken: …".
fn broken(why: impl std::fmt::Display) -> ImageError {
    let detail = format!("the archive is broken: {why}");
    let error = ImageError::new(ImageErrorKind::Corrupt, detail, String::new());
    ImageError { passing: false, ..error }
}
