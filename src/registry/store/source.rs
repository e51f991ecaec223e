//! Where the bytes of layers come from.

use bytes::Bytes;

use super::failed;
use super::import::{Member, Reading};
use crate::registry::client::{Blob, Client};
use crate::registry::manifest::Descriptor;
use crate::registry::{ImageError, Reference};

pub(super) enum Source<'a> {
    Registry {
        client: &'a Client,
        reference: &'a Reference,
    },
    /// The lowest first.
    Archive(&'a [Member]),
}

/// One layer on its way.
pub(super) enum Pieces {
    Blob(Box<Blob>),
    Member(Reading),
}

impl Source<'_> {
    /// Begins to read a layer; `n` is its place in the manifest.
    pub(super) async fn open(&self, n: usize, layer: &Descriptor) -> Result<Pieces, ImageError> {
        match self {
            Self::Registry { client, reference } => {
                Ok(Pieces::Blob(Box::new(client.blob(reference, layer).await?)))
            }
            Self::Archive(layers) => {
                let layer = layers.get(n).cloned();
                let layer = layer.ok_or_else(|| failed::broken("a layer that is not there"))?;
                Ok(Pieces::Member(Reading::new(layer)))
            }
        }
    }
}

impl Pieces {
    /// The next piece; `None` at the end, when all was as it had to be.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        match self {
            Self::Blob(blob) => blob.next().await,
            Self::Member(reading) => reading.next().await,
        }
    }
}
