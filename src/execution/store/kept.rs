//! What is kept of an execution, in the form it is kept in. Every value names its own fields
//! (MessagePack maps), and what a later version adds has a default here: a file outlives the program
//! that wrote it.

mod failure;
mod outcome;
mod request;
mod runtime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use crate::execution::outcome::Outcome;
use crate::execution::request::Execution;
use crate::execution::runtime::{Name, Names, Runtime};
use crate::execution::transcript::Transcript;
pub use failure::KeptFailure;
use outcome::KeptOutcome;
use request::KeptRequest;
use runtime::KeptRuntime;

/// All there is to know of an execution but what it was asked and what it printed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The key it is kept under, so it is not in the value.
    #[serde(skip)]
    pub id: Uuid,
    /// Whose it is: [`Who`](crate::execution::admission::Who) as text.
    pub owner: String,
    /// Executions the owner may have at once.
    #[serde(default)]
    pub concurrency: Option<usize>,
    /// Of the request that asked for it.
    #[serde(default)]
    pub request_id: String,
    /// Its place in a trace, as `Trace::written` has it.
    #[serde(default)]
    pub trace: Option<String>,
    #[serde(default)]
    pub asked_by: AskedBy,
    /// Milliseconds since 1970, as all times here.
    pub created: u64,
    #[serde(default)]
    pub started: Option<u64>,
    #[serde(default)]
    pub ended: Option<u64>,
    /// Why there is no outcome. One that has ended without it has one.
    #[serde(default)]
    pub failure: Option<KeptFailure>,
    /// Run it again after an interruption.
    #[serde(default)]
    pub retry: bool,
    /// How often its script was begun.
    #[serde(default)]
    pub tries: u32,
    #[serde(default)]
    pub key: Option<Key>,
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// Bytes of all that is kept of it.
    #[serde(default)]
    pub bytes: u64,
}

/// How it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskedBy {
    /// By somebody who comes back for the answer.
    #[default]
    Executions,
    /// By somebody who waits for it.
    Execute,
}

/// What tells two requests with the same idempotency key apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub key: String,
    #[serde(with = "serde_bytes")]
    pub fingerprint: Vec<u8>,
}

/// Whom to tell of the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub url: String,
    /// Tries so far.
    #[serde(default)]
    pub tries: u32,
    /// When to try (again); `None` before the end and once it is over.
    #[serde(default)]
    pub due: Option<u64>,
}

/// What a script that ran has left.
#[derive(Serialize, Deserialize)]
struct Body {
    outcome: KeptOutcome,
    /// See [`Transcript::turns`].
    #[serde(with = "serde_bytes", default)]
    turns: Vec<u8>,
}

impl Head {
    pub(super) fn pack(&self) -> Result<Vec<u8>, StoreError> {
        pack(self)
    }

    pub(super) fn unpack(id: Uuid, bytes: &[u8]) -> Result<Self, StoreError> {
        Ok(Self { id, ..unpack(bytes)? })
    }
}

/// An outcome and the order of its output, packed.
///
/// # Errors
/// None that is known: it is made of texts, bytes and numbers.
pub fn pack_outcome(outcome: &Outcome, turns: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    pack(&Body { outcome: KeptOutcome::from(outcome), turns })
}

/// The same, read again.
///
/// # Errors
/// When it was not written by [`pack_outcome`].
pub fn unpack_outcome(id: Uuid, bytes: &[u8]) -> Result<(Outcome, Transcript), StoreError> {
    let Body { outcome, turns } = unpack(bytes)?;
    let outcome = outcome.restore(id)?;
    let transcript = Transcript::restore(&outcome.stdout, &outcome.stderr, turns);
    Ok((outcome, transcript))
}

/// A request, packed: for another try, and for telling it apart from others. The same request gives
/// the same bytes; its id is no part of it.
///
/// # Errors
/// As [`pack_outcome`].
pub fn pack_request(execution: &Execution) -> Result<Vec<u8>, StoreError> {
    pack(&KeptRequest::from(execution))
}

/// The same, read again, as the request with this id.
///
/// # Errors
/// When it was not written by [`pack_request`], or a language is gone since.
pub fn unpack_request(id: Uuid, bytes: &[u8]) -> Result<Execution, StoreError> {
    unpack::<KeptRequest>(bytes)?.restore(id)
}

/// What a request calls by its names, packed, to be told apart from others.
///
/// # Errors
/// As [`pack_outcome`].
pub fn pack_names(names: &Names) -> Result<Vec<u8>, StoreError> {
    pack(names)
}

/// A runtime, packed without its name.
///
/// # Errors
/// As [`pack_outcome`].
pub fn pack_runtime(runtime: &Runtime) -> Result<Vec<u8>, StoreError> {
    pack(&KeptRuntime::from(runtime))
}

/// The same, read again, as the runtime of this name.
///
/// # Errors
/// When it was not written by [`pack_runtime`], or a language is gone since.
pub fn unpack_runtime(name: Name, bytes: &[u8]) -> Result<Runtime, StoreError> {
    unpack::<KeptRuntime>(bytes)?.restore(name)
}

fn pack(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    rmp_serde::to_vec_named(value).map_err(|e| StoreError::Failed(format!("not packed: {e}")))
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("what is kept can't be read: {error}"))
}

#[cfg(test)]
mod tests;
