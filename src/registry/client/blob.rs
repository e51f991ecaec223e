//! The bytes of a blob, held against its size and digest.

use std::fmt;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response};
use sha2::{Digest, Sha256};

use super::body::{Body, PACE};
use super::fault::Fault;
use super::{Client, ask, corrupt};
use crate::registry::manifest::Descriptor;
use crate::registry::{ImageError, ImageErrorKind, LayerId, Reference};

/// How often one blob is continued after its connection broke.
const MOST_RESUMES: u32 = 5;

/// The bytes of one blob; the last of them come only when the whole has its size and its digest.
///
/// A connection that breaks is taken up again where it did, a few times and only if it had brought
/// anything, so nothing is read twice.
pub struct Blob {
    client: Client,
    reference: Reference,
    descriptor: Descriptor,
    /// `None` once it has failed.
    body: Option<Body>,
    hash: Sha256,
    /// Bytes that came.
    done: u64,
    /// What had come when it was continued the last time, and how often it was.
    resumed_at: u64,
    resumes: u32,
    whole: bool,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptor, done, .. } = self;
        f.debug_struct("Blob").field("of", descriptor).field("done", done).finish_non_exhaustive()
    }
}

impl Blob {
    pub(super) async fn open(
        client: &Client,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Self, ImageError> {
        let mut blob = Self {
            client: client.clone(),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            body: None,
            hash: Sha256::new(),
            done: 0,
            resumed_at: 0,
            resumes: 0,
            whole: false,
        };
        let answer = blob.ask(None).await?;
        if answer.content_length().is_some_and(|length| length != descriptor.size) {
            return Err(blob.corrupt("a part of it has another size than its manifest says"));
        }
        blob.body = Some(Body::new(answer, client.0.times.stall));
        Ok(blob)
    }

    /// The next piece; `None` at the end, when size and digest were right.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        if self.whole {
            return Ok(None);
        }
        let piece = self.checked().await;
        if piece.is_err() {
            self.body = None;
        }
        piece
    }

    async fn checked(&mut self) -> Result<Option<Bytes>, ImageError> {
        let piece = self.piece().await?;
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        let size = self.descriptor.size;
        if length > size - self.done {
            return Err(self.corrupt("a part of it is longer than its manifest says"));
        }
        if let Some(piece) = &piece {
            self.hash.update(piece);
            self.done += length;
        }
        if self.done == size {
            self.end().await?;
        } else if piece.is_none() {
            return Err(self.corrupt("a part of it is shorter than its manifest says"));
        }
        Ok(piece)
    }

    /// The next piece, from another connection where this one breaks.
    async fn piece(&mut self) -> Result<Option<Bytes>, ImageError> {
        loop {
            let Some(body) = &mut self.body else {
                let detail = format!("image {} can't be pulled: it failed before", self.reference);
                return Err(ImageError::new(ImageErrorKind::Unavailable, detail, ""));
            };
            let fault = match body.next().await {
                Ok(piece) => return Ok(piece),
                Err(fault) => fault,
            };
            let came = self.done - self.resumed_at;
            // A trickle is not worth another try.
            let worth = if matches!(fault, Fault::Stalled) { PACE as u64 } else { 1 };
            if came < worth || self.resumes == MOST_RESUMES {
                return Err(fault.about(&self.reference));
            }
            self.resumes += 1;
            self.resumed_at = self.done;
            let answer = self.ask(Some(self.done)).await?;
            if !continues(answer.headers(), self.done, self.descriptor.size) {
                return Err(ask::not_continued(&self.reference));
            }
            self.body = Some(Body::new(answer, self.client.0.times.stall));
        }
    }

    /// All bytes are here: there must be no more, and they must be the right ones.
    async fn end(&mut self) -> Result<(), ImageError> {
        if let Some(body) = &mut self.body
            && let Ok(Some(_)) = body.next().await
        {
            return Err(self.corrupt("a part of it is longer than its manifest says"));
        }
        let digest = LayerId(std::mem::take(&mut self.hash).finalize().into());
        if LayerId::from_digest(&self.descriptor.digest) != Some(digest) {
            return Err(self.corrupt("a part of it is not what its digest says"));
        }
        (self.whole, self.body) = (true, None);
        Ok(())
    }

    async fn ask(&self, from: Option<u64>) -> Result<Response, ImageError> {
        let tail = format!("blobs/{}", self.descriptor.digest);
        self.client.ask(&self.reference, Method::GET, &tail, from).await
    }

    fn corrupt(&self, reason: &str) -> ImageError {
        let error = corrupt(&self.reference, reason);
        ImageError { cause: format!("{}, byte {}", self.descriptor.digest, self.done), ..error }
    }
}

/// Whether an answer goes on at a byte and up to the end (RFC 9110, 14.4).
fn continues(headers: &HeaderMap, from: u64, size: u64) -> bool {
    let range = || {
        let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
        let (span, total) = range.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let total = if total == "*" { size } else { total.parse().ok()? };
        Some((first.parse().ok()?, last.parse().ok()?, total))
    };
    range() == Some((from, size.saturating_sub(1), size))
}
