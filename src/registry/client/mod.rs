//! The registry's HTTP API (OCI distribution spec) as far as pulling needs it.
//!
//! What a registry answers is a stranger's word. So redirects are followed here and by rule
//! (`redirect`), connections lead to public addresses unless the operator names the registry
//! (`internet`), credentials go to hosts that are known to belong to the registry (`realm`), and
//! every body has a most and a pace (`body`).
//!
//! Proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used as
//! the Docker client uses them, except for registries in [`ClientOptions::private`], which are
//! reached directly. Behind a proxy, names are resolved by it, so where it may lead is its
//! operator's to say; private addresses written as such are refused here all the same.

mod ask;
mod blob;
mod body;
pub(crate) mod challenge;
mod fault;
mod grants;
mod realm;
mod redirect;
mod retry_after;
mod site;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod ways;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use sha2::{Digest, Sha256};

use super::manifest::{Descriptor, Document, MAX_MANIFEST, Manifest, Refusal, architecture};
use super::{Credentials, ImageError, ImageErrorKind, LayerId, Reference};
pub use blob::Blob;
use body::Body;
pub(crate) use retry_after::read as retry_after;

/// Under which digest a registry says that it keeps what it sends.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// PEM certificates of further authorities; the system's are trusted in any case.
    pub authorities: Vec<u8>,
    /// Registries (`host[:port]`) to be asked without TLS. Loopback ones are tried so in any case.
    pub plain_http: Vec<String>,
    /// Registries (`host[:port]`) that may be at private, loopback and link-local addresses. A
    /// token service of theirs at another port or host has to be named as well; then it is given
    /// their credentials.
    pub private: Vec<String>,
    pub credentials: Credentials,
    pub times: Times,
}

/// The limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For the head of an answer, from when it is asked for.
    pub response: Duration,
    /// Between two pieces of a body, of some size: a trickle is as good as nothing.
    pub stall: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { connect: second * 10, response: second * 30, stall: second * 30 }
    }
}

/// Asks registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    ways: ways::Ways,
    credentials: Credentials,
    times: Times,
    grants: Mutex<grants::Grants>,
    plain: Mutex<site::Plain>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("times", &self.0.times).finish_non_exhaustive()
    }
}

/// A manifest for this platform, and under which digest it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the reference leads to: an index's digest, or the manifest's own.
    pub digest: String,
    pub manifest: Manifest,
}

impl Client {
    /// # Errors
    /// A sentence, when an authority's certificate can't be read.
    pub fn new(options: ClientOptions) -> Result<Self, String> {
        let ClientOptions { authorities, plain_http, private, credentials, times } = options;
        let ways = ways::Ways::new(&authorities, plain_http, private, times.connect)?;
        let (grants, plain) = Default::default();
        Ok(Self(Arc::new(Inner { ways, credentials, times, grants, plain })))
    }

    /// The digest that the registry has under a reference now, by one HEAD request; by a second
    /// one that reads the manifest where the registry does not say its digest.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn digest(&self, reference: &Reference) -> Result<String, ImageError> {
        let at = under(reference)?;
        let answer = self.ask(reference, Method::HEAD, &manifest_at(at), None).await?;
        match content_digest(answer.headers()) {
            Some(digest) if is_digest(at) && digest != at => Err(not_its_digest(reference)),
            Some(digest) => Ok(digest),
            None => Ok(self.document(reference, at, None).await?.0),
        }
    }

    /// The manifest for this platform.
    ///
    /// # Errors
    /// As [`ImageError`] lists them.
    pub async fn manifest(&self, reference: &Reference) -> Result<Found, ImageError> {
        let (digest, document) = self.document(reference, under(reference)?, None).await?;
        let index = match document {
            Document::Image(manifest) => return Ok(Found { digest, manifest }),
            Document::Index(index) => index,
        };
        let picked = index.pick(architecture()).map_err(|refusal| refused(reference, refusal))?;
        match self.document(reference, &picked.digest, Some(picked)).await? {
            (_, Document::Image(manifest)) => Ok(Found { digest, manifest }),
            (_, Document::Index(_)) => {
                let refusal = Refusal::Corrupt("an index stands where a manifest should".into());
                Err(refused(reference, refusal))
            }
        }
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
        if !is_digest(&descriptor.digest) {
            return Err(ImageError::unsupported(reference, "it has digests other than sha256"));
        }
        Blob::open(self, reference, descriptor).await
    }

    /// What lies under a tag or a digest, where an index may have promised what that is.
    async fn document(
        &self,
        reference: &Reference,
        at: &str,
        promised: Option<&Descriptor>,
    ) -> Result<(String, Document), ImageError> {
        let answer = self.ask(reference, Method::GET, &manifest_at(at), None).await?;
        let said = content_digest(answer.headers());
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let mut body = Body::new(answer, self.0.times.stall);
        let read = body.read(MAX_MANIFEST).await.map_err(|fault| fault.about(reference))?;
        let Some(bytes) = read else {
            let reason = format!("its manifest has more than {MAX_MANIFEST} bytes");
            return Err(ImageError::unsupported(reference, reason));
        };
        let digest = format!("sha256:{}", LayerId(Sha256::digest(&bytes).into()));
        let parse = |content_type: &str| {
            Document::parse(content_type, &bytes).map_err(|refusal| refused(reference, refusal))
        };
        // A page in place of the manifest is told apart from one that was changed underway.
        let document = parse(&content_type)?;
        let other = said.is_some_and(|said| said != digest) || is_digest(at) && at != digest;
        if other || promised.is_some_and(|promised| promised.size != bytes.len() as u64) {
            return Err(not_its_digest(reference));
        }
        match promised {
            Some(promised) => Ok((digest, parse(&promised.media_type)?)),
            None => Ok((digest, document)),
        }
    }
}

/// What stands behind the repository's name: the digest where there is one, as it is exact.
fn under(reference: &Reference) -> Result<&str, ImageError> {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) if !is_digest(digest) => {
            Err(ImageError::unsupported(reference, "only sha256 digests are known here"))
        }
        (Some(digest), _) => Ok(digest),
        (None, Some(tag)) => Ok(tag),
        (None, None) => Err(ImageError::not_found(reference)),
    }
}

fn manifest_at(at: &str) -> String {
    format!("manifests/{at}")
}

fn is_digest(text: &str) -> bool {
    LayerId::from_digest(text).is_some()
}

fn content_digest(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_DIGEST)?.to_str().ok()?;
    is_digest(value).then(|| value.to_owned())
}

fn not_its_digest(reference: &Reference) -> ImageError {
    corrupt(reference, "its manifest is not what its digest says")
}

fn refused(reference: &Reference, refusal: Refusal) -> ImageError {
    match refusal {
        Refusal::Corrupt(reason) => corrupt(reference, format_args!("its manifest: {reason}")),
        Refusal::Unsupported(reason) => ImageError::unsupported(reference, reason),
    }
}

/// `reason` completes "image … came broken from its registry: …".
fn corrupt(reference: &Reference, reason: impl fmt::Display) -> ImageError {
    let detail = format!("image {reference} came broken from its registry: {reason}");
    ImageError::new(ImageErrorKind::Corrupt, detail, "")
}
