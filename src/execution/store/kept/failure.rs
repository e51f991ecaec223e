//! Why there was no outcome, as it is kept: what the caller is told, and not what the log was told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::EngineError;
use crate::execution::admission::BusyCode;
use crate::execution::{Failure, Rejection, RejectionCode};
use crate::registry::{ImageError, ImageErrorKind};

/// A [`Failure`] without its causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptFailure {
    Rejected { code: String, field: String, detail: String },
    Busy { code: String, retry_after: Duration },
    Cancelled,
    Interrupted,
    NoRoom,
    Internal,
    Image { kind: String, detail: String, attempts: u32, retry_after: Option<Duration> },
    Engine { kind: String },
    FileRefused { path: String, reason: String },
}

/// What stands for a cause that was not kept.
const TOLD: &str = "the log has the cause, at its own time";

const REJECTIONS: [(RejectionCode, &str); 7] = [
    (RejectionCode::InvalidRequest, "invalid_request"),
    (RejectionCode::InvalidPath, "invalid_path"),
    (RejectionCode::LimitExceeded, "limit_exceeded"),
    (RejectionCode::PayloadTooLarge, "payload_too_large"),
    (RejectionCode::FilesRefused, "files_refused"),
    (RejectionCode::UnknownRuntime, "unknown_runtime"),
    (RejectionCode::UnknownResources, "unknown_resources"),
];

const BUSY: [(BusyCode, &str); 3] = [
    (BusyCode::QueueFull, "queue_full"),
    (BusyCode::QueueTimeout, "queue_timeout"),
    (BusyCode::Draining, "draining"),
];

const IMAGES: [(ImageErrorKind, &str); 12] = [
    (ImageErrorKind::NotAllowed, "not_allowed"),
    (ImageErrorKind::NotFound, "not_found"),
    (ImageErrorKind::Auth, "auth"),
    (ImageErrorKind::Timeout, "timeout"),
    (ImageErrorKind::Unavailable, "unavailable"),
    (ImageErrorKind::Corrupt, "corrupt"),
    (ImageErrorKind::Unsupported, "unsupported"),
    (ImageErrorKind::NoSpace, "no_space"),
    (ImageErrorKind::InUse, "in_use"),
    (ImageErrorKind::EngineAway, "engine_away"),
    (ImageErrorKind::EngineSlow, "engine_slow"),
    (ImageErrorKind::EngineFailed, "engine_failed"),
];

/// The names of fields, which a rejection has for ever.
const FIELDS: [&str; 19] = [
    "script",
    "stdin",
    "image",
    "language",
    "args",
    "env",
    "files",
    "outputs",
    "timeout",
    "memory_limit",
    "cpu_limit",
    "pids_limit",
    "tmp_size",
    "output_limit",
    "pull_policy",
    "retry_on_interrupt",
    "webhook",
    "runtime",
    "resources",
];

fn word<T: PartialEq + Copy>(list: &[(T, &'static str)], value: T) -> String {
    let found = list.iter().find(|(listed, _)| *listed == value);
    found.map_or("", |(_, name)| name).to_owned()
}

fn value<T: Copy>(list: &[(T, &str)], word: &str) -> Option<T> {
    list.iter().find(|(_, name)| *name == word).map(|(value, _)| *value)
}

impl From<&Failure> for KeptFailure {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Rejected(Rejection { code, field, detail }) => Self::Rejected {
                code: word(&REJECTIONS, *code),
                field: (*field).to_owned(),
                detail: detail.clone(),
            },
            Failure::Busy { code, retry_after } => {
                Self::Busy { code: word(&BUSY, *code), retry_after: *retry_after }
            }
            Failure::Cancelled => Self::Cancelled,
            Failure::Interrupted => Self::Interrupted,
            Failure::NoRoom => Self::NoRoom,
            Failure::Internal(_) => Self::Internal,
            Failure::Image(error) => Self::Image {
                kind: word(&IMAGES, error.kind),
                detail: error.detail.clone(),
                attempts: error.attempts,
                retry_after: error.retry_after,
            },
            Failure::Engine(EngineError::FileRefused { path, reason }) => {
                Self::FileRefused { path: path.clone(), reason: reason.clone() }
            }
            Failure::Engine(error) => Self::Engine {
                kind: match error {
                    EngineError::Unavailable(_) => "unavailable",
                    EngineError::Slow(_) => "slow",
                    EngineError::Make(_) | EngineError::Unfit(_) => "make",
                    EngineError::Lost(_) => "lost",
                    EngineError::Protocol(_) | EngineError::FileRefused { .. } => "protocol",
                }
                .to_owned(),
            },
        }
    }
}

impl From<KeptFailure> for Failure {
    /// A word that this version does not know stands for something that broke.
    fn from(kept: KeptFailure) -> Self {
        let unknown = |what: &str| Self::Internal(format!("{what} of another version is kept"));
        match kept {
            KeptFailure::Rejected { code, field, detail } => {
                let field = FIELDS.into_iter().find(|known| *known == field);
                match (value(&REJECTIONS, &code), field) {
                    (Some(code), Some(field)) => Rejection { code, field, detail }.into(),
                    _ => unknown("a rejection"),
                }
            }
            KeptFailure::Busy { code, retry_after } => match value(&BUSY, &code) {
                Some(code) => Self::Busy { code, retry_after },
                None => unknown("a refusal"),
            },
            KeptFailure::Cancelled => Self::Cancelled,
            KeptFailure::Interrupted => Self::Interrupted,
            KeptFailure::NoRoom => Self::NoRoom,
            KeptFailure::Internal => Self::Internal(TOLD.into()),
            KeptFailure::Image { kind, detail, attempts, retry_after } => {
                match value(&IMAGES, &kind) {
                    Some(kind) => Self::Image(ImageError {
                        attempts,
                        retry_after,
                        ..ImageError::new(kind, detail, TOLD)
                    }),
                    None => unknown("a failure of an image"),
                }
            }
            KeptFailure::FileRefused { path, reason } => {
                EngineError::FileRefused { path, reason }.into()
            }
            KeptFailure::Engine { kind } => Self::Engine(match &*kind {
                "unavailable" => EngineError::Unavailable(TOLD.into()),
                "slow" => EngineError::Slow(TOLD.into()),
                "make" => EngineError::Make(TOLD.into()),
                "lost" => EngineError::Lost(TOLD.into()),
                _ => EngineError::Protocol(TOLD.into()),
            }),
        }
    }
}
