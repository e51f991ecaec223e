//! Manifests and image configurations (OCI image spec; Docker image manifest V2, schema 2).

use serde::{Deserialize, Serialize};

/// The largest manifest or index that is read.
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest image configuration that is read.
pub const MAX_CONFIG: u64 = 4 << 20;

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
