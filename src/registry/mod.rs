//! Images: references now; policy, credentials, pulling and the native store come with the
//! registry's own issue.

mod grammar;
mod reference;

pub(crate) use grammar::quoted;
pub use reference::{InvalidReference, Reference};

/// An image as an engine will run it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    /// The reference as asked for, normalised.
    pub reference: Reference,
    /// `sha256:…`; `None` for the reserved reference `host`, which is this machine's own `/usr`.
    pub digest: Option<String>,
    /// The image's own environment, without loader and interpreter hooks.
    pub env: Vec<(String, String)>,
}
