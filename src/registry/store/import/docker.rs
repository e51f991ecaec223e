//! What `docker save` writes.

use serde::Deserialize;

use super::archive::Archive;
use super::{Found, broken, name, unusable};
use crate::registry::ImageError;
use crate::registry::manifest::{Config, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::registry::store::find::sha256;

/// The list of images in it.
pub(super) const LIST: &str = "manifest.json";
/// The most images of one archive.
const MAX_IMAGES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// All images in it. An archive for another machine is refused as a whole.
pub(super) fn images(archive: &Archive, list: &super::Member) -> Result<Vec<Found>, ImageError> {
    let list: Vec<Listed> = list.json(MAX_MANIFEST as u64)?;
    if list.is_empty() || list.len() > MAX_IMAGES {
        return Err(broken(format_args!("it lists {} images", list.len())));
    }
    list.into_iter().map(|listed| image(archive, listed)).collect()
}

fn image(archive: &Archive, listed: Listed) -> Result<Found, ImageError> {
    let config = archive.need(&listed.config)?.read(MAX_CONFIG)?;
    let parsed = Config::parse(&config).map_err(unusable)?;
    let paths = listed.layers.unwrap_or_default();
    let members = paths.iter().map(|path| archive.need(path));
    let layers = members.collect::<Result<Vec<_>, _>>()?;
    let described = layers.iter().zip(&parsed.diff_ids).map(|(member, id)| Descriptor {
        media_type: String::new(),
        digest: format!("{id:?}"),
        size: member.size,
    });
    // What Docker calls the image's id.
    let digest = sha256(&config);
    let manifest = Manifest {
        config: Descriptor {
            media_type: String::new(),
            digest: digest.clone(),
            size: config.len() as u64,
        },
        layers: described.collect(),
    };
    if layers.len() != manifest.layers.len() {
        return Err(broken("an image in it has more layers than its configuration"));
    }
    parsed.fits(&manifest).map_err(unusable)?;
    let tags = listed.repo_tags.unwrap_or_default();
    let names = tags.iter().map(|tag| name(tag)).filter_map(Result::transpose);
    let names = names.collect::<Result<_, _>>()?;
    Ok(Found { digest, names, manifest, config, parsed, layers })
}
