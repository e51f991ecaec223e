//! Why there is no image to run: a closed list.

use std::time::Duration;

use super::Reference;

/// Why there is no image.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}{}", tries(*attempts))]
pub struct ImageError {
    pub kind: ImageErrorKind,
    /// A sentence for the caller: the image, what is wrong, the way out. No path of this host, no
    /// text of a daemon or a registry, no credentials.
    pub detail: String,
    /// What really happened, for the log; never credentials.
    pub cause: String,
    /// How often the registry was asked; 0 where it was not.
    pub attempts: u32,
    /// Another attempt may succeed: the fault was in the way there or passes by itself.
    pub passing: bool,
    /// When the registry wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// What kind of failure it is; each has its own code in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageErrorKind {
    /// A rule of the operator's; nothing was asked of anybody.
    NotAllowed,
    NotFound,
    /// The registry wants other credentials than ours, or some.
    Auth,
    Timeout,
    /// The registry can't be reached, fails, or has enough of us.
    Unavailable,
    /// What came is not what its digest says.
    Corrupt,
    /// It can't be run here, or is larger than the operator allows.
    Unsupported,
    /// This machine's disk, or the store's own limit, is full of what is in use.
    NoSpace,
    /// It can't be removed while containers use it.
    InUse,
    /// The engine that keeps the images does not answer or refuses; a later try may help.
    EngineAway,
    EngineSlow,
    EngineFailed,
}

fn tries(attempts: u32) -> String {
    match attempts {
        0 => String::new(),
        1 => " (1 attempt)".into(),
        more => format!(" ({more} attempts)"),
    }
}

impl ImageError {
    /// An error with no more to say; `passing` follows from the kind.
    pub fn new(kind: ImageErrorKind, detail: impl Into<String>, cause: impl Into<String>) -> Self {
        use ImageErrorKind::{Corrupt, EngineAway, Timeout, Unavailable};
        let passing = matches!(kind, Timeout | Unavailable | Corrupt | EngineAway);
        let (detail, cause) = (detail.into(), cause.into());
        Self { kind, detail, cause, attempts: 0, passing, retry_after: None }
    }

    #[must_use]
    pub fn not_found(reference: &Reference) -> Self {
        let detail = format!("image {reference} was not found");
        Self::new(ImageErrorKind::NotFound, detail, String::new())
    }

    /// `reason` completes "image … can't be run here: …".
    pub fn unsupported(reference: &Reference, reason: impl std::fmt::Display) -> Self {
        let detail = format!("image {reference} can't be run here: {reason}");
        Self::new(ImageErrorKind::Unsupported, detail, String::new())
    }

    /// `rule` completes "image … is not allowed: …".
    pub fn not_allowed(reference: &Reference, rule: impl std::fmt::Display) -> Self {
        let detail = format!("image {reference} is not allowed: {rule}");
        Self::new(ImageErrorKind::NotAllowed, detail, String::new())
    }
}
