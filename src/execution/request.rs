//! A valid request: what the door hands in. Past it there are no bare strings to check again.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::language::Language;
use crate::registry::Reference;

/// One run of one script, as asked for. Made by `api::dto` through `TryFrom`.
#[derive(Debug, Clone)]
pub struct Execution {
    /// UUIDv7 (RFC 9562).
    pub id: Uuid,
    /// The script's bytes, never empty.
    pub script: Bytes,
    /// Its standard input; `None` is `/dev/null`.
    pub stdin: Option<Bytes>,
    /// `None` is the operator's `BASE_IMAGE`.
    pub image: Option<Reference>,
    /// How to run a script without a `#!` line; `None` is `/bin/sh`.
    pub language: Option<Language>,
    pub args: Vec<Arg>,
    pub env: Vec<(EnvName, EnvValue)>,
    pub files: Vec<InputFile>,
    pub outputs: Vec<Pattern>,
    pub limits: AskedLimits,
}

/// A file to put beneath the working directory.
#[derive(Debug, Clone)]
pub struct InputFile {
    pub path: RelativePath,
    pub content: Bytes,
    pub executable: bool,
}

/// The limits a request names; `None` is the operator's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AskedLimits {
    pub timeout: Option<Duration>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of one core.
    pub cpu_millis: Option<u32>,
    pub pids: Option<u32>,
    /// Bytes of `/tmp`.
    pub tmp: Option<u64>,
    /// Bytes of stdout and of stderr, each.
    pub output: Option<u64>,
}

/// A value that breaks the rules of its field; the text completes "`field`: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A program argument: no NUL byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg(String);

/// An environment variable's name: not empty, no `=`, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvName(String);

/// An environment variable's value: no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvValue(String);

/// A path that stays beneath the working directory whatever it is resolved against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

/// A pattern of result files, relative to the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);
