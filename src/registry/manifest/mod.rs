//! Manifests and image configurations (OCI image spec; Docker image manifest V2, schema 2).

mod config;
mod document;
mod platform;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use config::Config;
pub(super) use document::ACCEPTED;
pub(crate) use document::{Document, Refusal};
pub use platform::architecture;

/// The largest manifest or index that is read, in bytes.
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest image configuration that is read, in bytes: a small text takes many times its
/// length once it is parsed.
pub const MAX_CONFIG: u64 = 1 << 20;
/// The most layers an image may have; no daemon stacks more.
pub const MAX_LAYERS: usize = 127;

/// A blob by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
}
