//! OCI image layouts (OCI image spec, image-layout.md).

use std::collections::HashMap;

use serde::Deserialize;

use super::archive::{Archive, Member};
use super::{Found, broken, name, unusable};
use crate::registry::manifest::{
    Config, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Refusal, architecture,
};
use crate::registry::{ImageError, ImageErrorKind, LayerId, Reference};

/// The list of images in it.
pub(super) const INDEX: &str = "index.json";
/// The most images of one layout.
const MAX_IMAGES: usize = 1000;
/// The whole name, as Docker and containerd write it.
const NAME: &str = "io.containerd.image.name";
/// A name or a bare tag, as the specification leaves open.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Deserialize)]
struct Layout {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    annotations: Option<HashMap<String, String>>,
}

/// All images in it that run on this machine.
pub(super) fn images(archive: &Archive, index: &Member) -> Result<Vec<Found>, ImageError> {
    let layout: Layout = index.json(MAX_MANIFEST as u64)?;
    if layout.manifests.is_empty() || layout.manifests.len() > MAX_IMAGES {
        return Err(broken(format_args!("it lists {} images", layout.manifests.len())));
    }
    let (mut images, mut refused) = (Vec::new(), None);
    for entry in layout.manifests {
        match image(archive, entry) {
            Ok(image) => images.push(image),
            // Such as one of the same image's other platforms.
            Err(error) if error.kind == ImageErrorKind::Unsupported => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if images.is_empty() => Err(error),
        _ => Ok(images),
    }
}

fn image(archive: &Archive, entry: Entry) -> Result<Found, ImageError> {
    let Entry { descriptor, annotations } = entry;
    let manifest = match document(archive, &descriptor)? {
        Document::Image(manifest) => manifest,
        Document::Index(index) => {
            let picked = index.pick(architecture()).map_err(refused)?;
            match document(archive, picked)? {
                Document::Image(manifest) => manifest,
                Document::Index(_) => return Err(broken("an index poses as a manifest in it")),
            }
        }
    };
    let config = blob(archive, &manifest.config)?.read(MAX_CONFIG)?;
    let parsed = Config::parse(&config).map_err(unusable)?;
    parsed.fits(&manifest).map_err(unusable)?;
    let layers = manifest.layers.iter().map(|layer| blob(archive, layer));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let names = names(&annotations.unwrap_or_default())?;
    Ok(Found { digest: descriptor.digest, names, manifest, config, parsed, layers })
}

fn document(archive: &Archive, descriptor: &Descriptor) -> Result<Document, ImageError> {
    let text = blob(archive, descriptor)?.read(MAX_MANIFEST as u64)?;
    Document::parse(&descriptor.media_type, &text).map_err(refused)
}

/// A blob of the layout, to be checked against its digest.
fn blob(archive: &Archive, descriptor: &Descriptor) -> Result<Member, ImageError> {
    let Descriptor { digest, size, .. } = descriptor;
    let Some(id) = LayerId::from_digest(digest) else {
        return Err(broken("a digest in it is none by sha256"));
    };
    let member = archive.need(&format!("blobs/sha256/{id}"))?;
    if member.size != *size {
        return Err(broken(format_args!("{digest} in it has not the size that it says")));
    }
    Ok(member.checked(digest))
}

fn names(annotations: &HashMap<String, String>) -> Result<Vec<Reference>, ImageError> {
    let whole = annotations.get(NAME);
    // A bare tag is no name.
    let named = annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(whole.or(named).map(|text| name(text)).transpose()?.flatten().into_iter().collect())
}

fn refused(refusal: Refusal) -> ImageError {
    match refusal {
        Refusal::Corrupt(why) => broken(why),
        Refusal::Unsupported(why) => unusable(why),
    }
}
