//! What is in the store: one file, read whole and replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::folder::{self, Folder};
use crate::registry::{LayerId, Reference};

pub(super) const NAME: &str = "index.json";
const VERSION: u32 = 1;
const MOST: u64 = 64 << 20;

/// What is here. A layer that it does not name is none, whatever folder there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    /// By the digest that was named: `sha256:…` of an index, of a manifest, or of the configuration
    /// where the image came out of Docker.
    pub(super) images: BTreeMap<String, Record>,
    /// Whole layers and the bytes of their files, those included that no image needs now.
    pub(super) layers: BTreeMap<LayerId, u64>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The whole names that lead to it.
    pub(super) references: BTreeSet<String>,
    /// Where it was found, as `registry/repository`; none where it came without a name.
    pub(super) repositories: BTreeSet<String>,
    /// The digest of its configuration.
    pub(super) config: String,
    /// The lowest first; each is there once.
    pub(super) layers: Vec<LayerId>,
    /// Seconds since 1970.
    pub(super) created: Option<u64>,
    pub(super) pulled: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self { version: VERSION, images: BTreeMap::new(), layers: BTreeMap::new() }
    }
}

impl Index {
    /// Reads it, with the file that it was read from: for as long as that is open, no other file
    /// has its number. A store without the file is empty.
    pub(super) fn read(folder: &Folder) -> io::Result<(Self, Option<File>)> {
        let Some(file) = folder::existing(&folder.root, NAME)? else {
            return Ok((Self::default(), None));
        };
        let mut text = Vec::new();
        (&file).take(MOST).read_to_end(&mut text)?;
        let index: Self = serde_json::from_slice(&text)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{NAME}: {e}")))?;
        if index.version != VERSION {
            let why = format!("{NAME} has version {}, known is {VERSION}", index.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok((index, Some(file)))
    }

    pub(super) fn write(&self, folder: &Folder) -> io::Result<()> {
        folder.replace(folder.root.as_fd(), NAME, &serde_json::to_vec(self)?)
    }

    /// The image that a reference leads to. One by digest has to have come from that repository,
    /// or from none at all.
    pub(super) fn find(&self, reference: &Reference) -> Option<(&str, &Record)> {
        let Some(digest) = reference.digest() else {
            return self.named(&reference.full());
        };
        let repository = repository(reference);
        let (digest, record) = self.images.get_key_value(digest)?;
        let known = record.repositories.is_empty() || record.repositories.contains(&repository);
        known.then_some((digest.as_str(), record))
    }

    /// As [`Index::find`], for an operator, to whom a digest says enough.
    pub(super) fn manage(&self, reference: &Reference) -> Option<(&str, &Record)> {
        match reference.digest() {
            None => self.named(&reference.full()),
            Some(digest) => {
                self.images.get_key_value(digest).map(|(digest, r)| (digest.as_str(), r))
            }
        }
    }

    /// A reference that leads to an image; `nowhere` is the name of one that came without any.
    pub(super) fn reference(&self, digest: &str, nowhere: &str) -> Option<Reference> {
        let record = self.images.get(digest)?;
        let name = match (record.references.first(), record.repositories.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(repository)) => format!("{repository}@{digest}"),
            (None, None) => format!("{nowhere}@{digest}"),
        };
        name.parse().ok()
    }

    fn named(&self, name: &str) -> Option<(&str, &Record)> {
        let mut images = self.images.iter();
        let (digest, record) = images.find(|(_, record)| record.references.contains(name))?;
        Some((digest, record))
    }

    /// Lets these names lead to this image, and no longer to another.
    pub(super) fn name(&mut self, digest: &str, names: &[Reference]) {
        for name in names {
            let full = name.full();
            for record in self.images.values_mut() {
                record.references.remove(&full);
            }
            if let Some(record) = self.images.get_mut(digest) {
                record.repositories.insert(repository(name));
                record.references.insert(full);
            }
        }
    }

    /// Bytes of an image, layers that others share included.
    pub(super) fn size(&self, record: &Record) -> u64 {
        record.layers.iter().filter_map(|id| self.layers.get(id)).sum()
    }

    /// What every name and every digest leads to.
    pub(super) fn names(&self) -> BTreeMap<&str, &str> {
        let mut all = BTreeMap::new();
        for (digest, record) in &self.images {
            all.insert(digest.as_str(), digest.as_str());
            all.extend(record.references.iter().map(|name| (name.as_str(), digest.as_str())));
        }
        all
    }
}

fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// The familiar form of a whole name, as people write it.
pub(super) fn familiar(full: &str) -> String {
    full.parse().map_or_else(|_| full.to_owned(), |reference: Reference| reference.to_string())
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let other = Unexpected::Str(&text);
        Self::from_digest(&text).ok_or_else(|| D::Error::invalid_value(other, &"sha256:<64 hex>"))
    }
}
