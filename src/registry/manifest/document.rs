//! Reading what a registry sends as a manifest.

use serde::Deserialize;

use super::platform::Platform;
use super::{Descriptor, MAX_CONFIG, MAX_LAYERS, Manifest};
use crate::registry::grammar;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";

/// What is asked for, as an `Accept` header.
pub(in crate::registry) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

const CONFIGS: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// Layers that are kept elsewhere, under the URLs that the manifest names: those are never asked.
const FOREIGN: &[&str] = &[".foreign.", ".nondistributable."];

/// Types that say nothing: registries that serve files give them.
const VAGUE: &[&str] = &["", "application/json", "application/octet-stream", "text/plain"];

/// What a registry has under a reference.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Image(Manifest),
}

/// Manifests for several platforms.
#[derive(Debug)]
pub(crate) struct Index(Vec<Entry>);

/// Why a document is of no use. The sentences hold none of its own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Completes "the manifest is broken: …".
    Corrupt(String),
    /// Completes "it can't be run here: …".
    Unsupported(String),
}

use Refusal::{Corrupt, Unsupported};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    platform: Option<Platform>,
}

impl Document {
    /// Reads a document of the type that its sender gives it.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let sent = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if sent.starts_with(SCHEMA_1) {
            return Err(schema_1());
        }
        if sent.starts_with("text/html") {
            return Err(Corrupt("it is a web page".into()));
        }
        // Where serde_json says what it met, it quotes; where it met it is enough.
        let raw: Raw = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Corrupt(format!("line {line}, column {column} is not as it has to be"))
        })?;
        if raw.schema_version == Some(1) {
            return Err(schema_1());
        }
        let inner = raw.media_type.as_deref().unwrap_or_default();
        // The same bytes must not be one thing to us and another to others (CVE-2021-41190).
        if !inner.is_empty() && !VAGUE.contains(&sent.as_str()) && inner != sent {
            return Err(Corrupt("it is sent as another type than it says itself".into()));
        }
        let named = if VAGUE.contains(&sent.as_str()) { inner } else { &sent };
        let looks = match (&raw.manifests, raw.config.is_some() || raw.layers.is_some()) {
            (Some(_), true) => {
                return Err(Corrupt("it is an index and an image at the same time".into()));
            }
            (Some(_), false) => Kind::Index,
            (None, true) => Kind::Image,
            (None, false) => return Err(Corrupt("it lists neither manifests nor layers".into())),
        };
        let kind = match named {
            OCI_INDEX | DOCKER_LIST => Kind::Index,
            OCI_MANIFEST | DOCKER_MANIFEST => Kind::Image,
            "" => looks,
            _ => return Err(Unsupported("its manifest is of an unknown type".into())),
        };
        if kind != looks {
            return Err(Corrupt("it holds something else than its type says".into()));
        }
        match raw {
            Raw { manifests: Some(entries), .. } => Ok(Self::Index(Index(entries))),
            Raw { config: Some(config), layers: Some(layers), .. } => {
                image(config, layers).map(Self::Image)
            }
            _ => Err(Corrupt("it lacks a configuration or its layers".into())),
        }
    }
}

fn schema_1() -> Refusal {
    Unsupported("its manifest is of the old schema 1; push it again with a current client".into())
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, Refusal> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(Unsupported("it is something else than a container image".into()));
    }
    if config.size > MAX_CONFIG {
        return Err(Unsupported(format!(
            "its configuration has {} bytes, the most is {MAX_CONFIG}",
            config.size
        )));
    }
    if layers.is_empty() {
        return Err(Unsupported("it has no layers".into()));
    }
    if layers.len() > MAX_LAYERS {
        let count = layers.len();
        return Err(Unsupported(format!("it has {count} layers, the most is {MAX_LAYERS}")));
    }
    for layer in &layers {
        if FOREIGN.iter().any(|part| layer.media_type.contains(part)) {
            return Err(Unsupported(
                "a layer of it is kept outside of its registry, where nothing is fetched".into(),
            ));
        }
        if !LAYERS.contains(&layer.media_type.as_str()) {
            return Err(Unsupported("a layer of it is of an unknown type".into()));
        }
    }
    std::iter::once(&config).chain(&layers).try_for_each(check)?;
    let total = layers.iter().try_fold(0_u64, |total, layer| total.checked_add(layer.size));
    if total.is_none_or(|total| total > i64::MAX.unsigned_abs()) {
        return Err(Corrupt("its layers have more bytes than there can be".into()));
    }
    Ok(Manifest { config, layers })
}

fn check(descriptor: &Descriptor) -> Result<(), Refusal> {
    match grammar::digest(&descriptor.digest) {
        Ok(digest) if digest.starts_with("sha256:") => Ok(()),
        Ok(_) => Err(Unsupported("it has digests other than sha256".into())),
        Err(_) => Err(Corrupt("a digest in it is none".into())),
    }
}

impl Index {
    /// The manifest that runs on linux on this architecture.
    pub(crate) fn pick(&self, architecture: &str) -> Result<&Descriptor, Refusal> {
        let ranked = self.0.iter().filter_map(|entry| {
            let rank = entry.platform.as_ref()?.rank(architecture)?;
            Some((rank, &entry.descriptor))
        });
        let picked = ranked.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor);
        let nested = |descriptor: &Descriptor| {
            matches!(descriptor.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
        };
        match picked {
            Some(descriptor) if !nested(descriptor) => {
                check(descriptor)?;
                Ok(descriptor)
            }
            None if !self.0.iter().any(|entry| nested(&entry.descriptor)) => {
                Err(Unsupported(format!("it is not made for linux/{architecture}")))
            }
            _ => Err(Unsupported("its index holds another index".into())),
        }
    }
}
