//! Executions that outlive their requests, and the service: what is kept of them, and where. Beside
//! them, the runtimes that are registered.
//!
//! | | |
//! |---|---|
//! | [`kept`] | the values: self-describing, readable by later versions |
//! | [`place`] | the file: made while there are privileges, held by one service alone |
//! | [`file`](mod@file) | the tables in it (redb), and what goes when |
//! | [`keeper`] | the thread that writes, for all who wait for it at once |

mod file;
pub mod keeper;
pub mod kept;
mod place;

use std::time::{Duration, SystemTime};

use uuid::Uuid;

pub use file::FileStore;
use kept::{Head, Webhook};
pub use place::Place;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// After the end of an execution.
    pub ttl: Duration,
    /// Bytes of all executions together.
    pub size_limit: u64,
}

/// Why something was not kept or can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The limit is reached, or the disk is full.
    #[error("there is no room for it")]
    NoRoom,
    /// The text is for the log.
    #[error("the execution store failed: {0}")]
    Failed(String),
}

/// One step in the life of an execution.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is accepted; the packed request is there where it may be needed again.
    Accept { head: Head, request: Option<Vec<u8>> },
    /// Its script begins.
    Begin(Uuid),
    /// It has ended: this is its head from now on, without its key where that is given back.
    End { head: Head, body: Option<Vec<u8>> },
    /// Its webhook was tried.
    Tried(Uuid, Webhook),
    /// Nothing of it is kept.
    Forget(Uuid),
    /// A runtime is registered under this name, and replaces one of the same.
    Register(String, Vec<u8>),
    /// It is registered no more.
    Unregister(String),
}

/// Keeps executions. What is committed is there after a crash; what has ended goes when it is too
/// old, or when others need its room, the oldest first.
pub trait Store: Send + Sync + 'static {
    /// All of these changes at once, durably, or none of them; one that there is no room for is left
    /// out. Called by one thread.
    ///
    /// # Errors
    /// When none was made.
    fn commit(&self, changes: &[Change]) -> Result<Vec<Result<(), StoreError>>, StoreError>;

    /// Lets go what is too old.
    ///
    /// # Errors
    /// When that could not be written.
    fn sweep(&self) -> Result<(), StoreError>;

    /// One execution; `None` where there is none, or none any more.
    ///
    /// # Errors
    /// When it can't be read, as all that follow.
    fn head(&self, id: Uuid) -> Result<Option<Head>, StoreError>;

    /// What it left.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn body(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError>;

    /// What it was asked, where that is kept.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn request(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError>;

    /// An owner's executions before `before`, the newest first, at most so many.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn list(&self, owner: &str, before: Uuid, most: usize) -> Result<Vec<Head>, StoreError>;

    /// The execution that an owner has asked for under this idempotency key.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn keyed(&self, owner: &str, key: &str) -> Result<Option<Head>, StoreError>;

    /// All that have not ended.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn pending(&self) -> Result<Vec<Uuid>, StoreError>;

    /// Webhooks that are to be tried, with the time for that, the first first.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn due(&self, most: usize) -> Result<Vec<(u64, Uuid)>, StoreError>;

    /// All runtimes that are registered, packed, by their names.
    ///
    /// # Errors
    /// As [`Store::head`].
    fn runtimes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Bytes of all executions that are kept.
    fn bytes(&self) -> u64;

    /// Lets go of the file; nothing works from then on.
    fn close(&self);
}

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
