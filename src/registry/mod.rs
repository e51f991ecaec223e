//! Images: references, the operator's policy, pulling from registries, and the native engine's own
//! store.

pub mod client;
mod credentials;
mod env;
mod error;
mod grammar;
mod host_only;
mod image;
mod images;
pub mod manifest;
mod policy;
mod progress;
mod reference;
mod resolve;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod unpack;

pub use credentials::{Credential, CredentialFiles, Credentials};
pub(crate) use env::is_hook;
pub use error::{ImageError, ImageErrorKind};
pub(crate) use grammar::quoted;
pub use host_only::HostOnly;
pub use image::{
    Details, HistoryEntry, Image, LayerDetails, LayerId, Layers, MAX_LAYERS, Removed, Summary,
};
pub use images::Images;
pub use policy::{ImagePattern, InvalidRule, Policy, PullPolicy, RegistryPattern, RequirePinned};
pub use progress::{LayerPhase, LayerState, Progress, PullState};
pub use reference::{InvalidReference, Reference, RegistryPrefix};
pub use resolve::{ChosenBy, Pull, PullOptions, Registry};
