//! How the store's own failures read.

use std::fmt::Display;
use std::io;

use crate::registry::{ImageError, ImageErrorKind, Reference};

/// A failure of the store or of its disk; `what` was being done, for the log.
pub(super) fn io(what: impl Display, error: &io::Error) -> ImageError {
    let cause = format!("image store: {what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(cause),
        _ => ImageError::new(ImageErrorKind::EngineFailed, "the image store failed", cause),
    }
}

/// As [`io`], for `map_err`.
pub(super) fn at(what: &'static str) -> impl Fn(io::Error) -> ImageError {
    move |error| io(what, &error)
}

pub(super) fn disk_full(cause: impl Into<String>) -> ImageError {
    let detail = "the disk of the image store is full; make room there, or remove images that are \
                  not needed with `oncebox image prune`";
    ImageError::new(ImageErrorKind::NoSpace, detail, cause)
}

/// The store's own limit.
pub(super) fn store_full(limit: u64, wanted: u64) -> ImageError {
    let detail = format!(
        "{wanted} more bytes do not fit into the image store's limit of {limit} beside the images \
         in use; raise IMAGE_STORE_SIZE"
    );
    ImageError::new(ImageErrorKind::NoSpace, detail, String::new())
}

pub(super) fn busy() -> ImageError {
    let detail = "the image store is busy with other work; try again";
    ImageError::new(ImageErrorKind::EngineSlow, detail, "its lock was not to be had")
}

pub(super) fn broken(what: impl Display) -> ImageError {
    let cause = format!("image store: {what}");
    ImageError::new(ImageErrorKind::EngineFailed, "the image store failed", cause)
}

/// `why` is a sentence's second half, after "image … is corrupt: ".
pub(super) fn corrupt(reference: &Reference, why: impl Display) -> ImageError {
    let detail = format!("image {reference} is corrupt: {why}");
    ImageError::new(ImageErrorKind::Corrupt, detail, String::new())
}
