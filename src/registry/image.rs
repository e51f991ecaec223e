//! What an engine runs, and what an operator sees of it.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Reference;

/// An image as an engine will run it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    /// The reference as asked for, normalised.
    pub reference: Reference,
    /// `sha256:…`; `None` for the reserved reference `host`, which is this machine's own `/usr`.
    pub digest: Option<String>,
    /// The image's own environment, without loader and interpreter hooks.
    pub env: Vec<(String, String)>,
    /// Its root file system, where this service keeps it; `None` for `host` and for a daemon's.
    pub layers: Option<Arc<Layers>>,
}

impl Image {
    /// This machine's own `/usr`.
    #[must_use]
    pub fn host() -> Self {
        Self { reference: Reference::host(), digest: None, env: Vec::new(), layers: None }
    }
}

/// The layers of an image in our own store, held there for as long as this lives: what holds it
/// must outlive every container that has them mounted.
pub struct Layers {
    /// The lowest first; each is there once.
    pub ids: Vec<LayerId>,
    _held: Box<dyn Any + Send + Sync>,
}

impl Layers {
    /// `held` keeps the layers where they are until it is dropped.
    #[must_use]
    pub fn new(ids: Vec<LayerId>, held: impl Any + Send + Sync) -> Self {
        Self { ids, _held: Box::new(held) }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.ids).finish()
    }
}

impl PartialEq for Layers {
    fn eq(&self, other: &Self) -> bool {
        self.ids == other.ids
    }
}

impl Eq for Layers {}

impl Hash for Layers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ids.hash(state);
    }
}

/// The most layers that an image can have: overlayfs takes 500, and builders stop at 127 as well.
pub const MAX_LAYERS: usize = 127;

/// The SHA-256 of a layer's uncompressed archive: its `diff_id` (OCI image spec, config.md).
/// Displays as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(pub [u8; 32]);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl LayerId {
    /// Reads `sha256:` and 64 digits of 0-9 a-f.
    #[must_use]
    pub fn from_digest(digest: &str) -> Option<Self> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64)?;
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(hex.as_bytes().chunks(2)) {
            if !pair.iter().all(|digit| super::grammar::is_lower_hex(*digit)) {
                return None;
            }
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(id))
    }
}

/// One image that is here, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `sha256:…`: what `image_digest` of an answer says.
    pub digest: String,
    /// The familiar names that lead to it, such as `alpine:3.20`; none where a tag has moved on.
    pub references: Vec<String>,
    /// Bytes on disk, layers that other images share included.
    pub size: u64,
    /// Seconds since 1970; `None` where the engine does not know.
    pub created: Option<u64>,
    /// Seconds since 1970; `None` where it never was used or the engine does not count.
    pub last_used: Option<u64>,
}

/// Everything there is to say about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    pub summary: Summary,
    /// Such as `linux` and `amd64`.
    pub os: String,
    pub architecture: String,
    /// The image's own words, of which the service believes little: `Env`, `Cmd`, `User` and so on
    /// (OCI image spec, config.md).
    pub config: serde_json::Value,
    /// The lowest first.
    pub layers: Vec<LayerDetails>,
    /// The oldest first; empty where the engine does not tell.
    pub history: Vec<HistoryEntry>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    /// The uncompressed archive's digest.
    pub diff_id: String,
    /// Bytes on disk; `None` where the engine does not tell.
    pub size: Option<u64>,
}

/// How a layer came about, in the image's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryEntry {
    /// RFC 3339.
    pub created: Option<String>,
    pub created_by: Option<String>,
    pub comment: Option<String>,
    pub empty_layer: bool,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that lead nowhere now.
    pub references: Vec<String>,
    /// Digests of images that are gone.
    pub digests: Vec<String>,
    /// Bytes that are free again; 0 where the engine does not tell.
    pub freed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layers_name_is_its_digest() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let id = LayerId::from_digest(&digest).unwrap();
        assert_eq!(format!("{id:?}"), digest);
        for bad in ["", "sha256:", "sha512:00", &digest.to_uppercase(), &digest[..70]] {
            assert_eq!(LayerId::from_digest(bad), None, "{bad}");
        }
    }
}
