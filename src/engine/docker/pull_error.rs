//! What the daemon says when a pull fails, as the closed list of failures.
//!
//! The daemon has one HTTP status for nearly all of them, and none once it has begun to answer, so
//! its words are what there is to go by. They are a registry's words in part; the worst that a
//! registry can do with them is to choose its own failure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::daemon::DaemonError;
use crate::engine::EngineError;
use crate::registry::{Credential, ImageError, ImageErrorKind, Reference};
use crate::telemetry::clean;

/// What a pull asks for, and as whom.
pub(super) struct Asked<'a> {
    pub(super) reference: &'a Reference,
    pub(super) credential: Option<&'a Credential>,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NotFound,
    /// The registry does not say which of the two.
    NotFoundOrPrivate,
    Credentials,
    /// The registry wants fewer requests.
    TooMany,
    /// The registry says no for good.
    Refused,
    Away,
    Failing,
    Slow,
    Untrusted,
    Corrupt,
    Platform,
    NoImage,
    Name,
    NoSpace,
    /// The daemon itself fails.
    Daemon,
}

/// What the daemon says: Docker 20.10 to 29, with either of its image stores, and Podman. The first
/// that is found counts. No reference holds a space, so none can be taken for one of these.
const WORDS: &[(&str, Trouble)] = &[
    ("no space left on device", Trouble::NoSpace),
    ("disk quota exceeded", Trouble::NoSpace),
    ("x509: ", Trouble::Untrusted),
    ("tls: failed to verify", Trouble::Untrusted),
    ("remote error: tls", Trouble::Untrusted),
    ("server gave HTTP response to HTTPS client", Trouble::Untrusted),
    ("first record does not look like a TLS handshake", Trouble::Untrusted),
    ("invalid reference format", Trouble::Name),
    ("invalid tag format", Trouble::Name),
    ("invalid checksum digest", Trouble::Name),
    ("unsupported digest algorithm", Trouble::Name),
    ("no matching manifest for", Trouble::Platform),
    ("no match for platform", Trouble::Platform),
    ("no image found in manifest list for", Trouble::Platform),
    ("not match the specified platform", Trouble::Platform),
    ("not provide the specified platform", Trouble::Platform),
    ("image operating system ", Trouble::Platform),
    ("cannot download image with operating system", Trouble::Platform),
    ("verification failed for digest", Trouble::Corrupt),
    ("unexpected commit digest", Trouble::Corrupt),
    ("failed size validation", Trouble::Corrupt),
    ("digest did not match", Trouble::Corrupt),
    ("does not match digest", Trouble::Corrupt),
    ("don't match image configuration", Trouble::Corrupt),
    ("mismatched image rootfs", Trouble::Corrupt),
    ("invalid rootfs in image configuration", Trouble::Corrupt),
    ("short read: ", Trouble::Corrupt),
    ("unexpected EOF", Trouble::Corrupt),
    ("invalid tar header", Trouble::Corrupt),
    ("gzip: invalid ", Trouble::Corrupt),
    ("flate: corrupt ", Trouble::Corrupt),
    ("magic number mismatch", Trouble::Corrupt),
    ("failed to register layer", Trouble::Daemon),
    ("failed to extract layer", Trouble::Daemon),
    ("error unmarshalling content", Trouble::Corrupt),
    ("looking for beginning of ", Trouble::Corrupt),
    ("unsupported media type", Trouble::NoImage),
    ("unsupported manifest media type", Trouble::NoImage),
    ("unsupported manifest format", Trouble::NoImage),
    ("mediaType in manifest should be", Trouble::NoImage),
    ("missing signature key", Trouble::NoImage),
    ("schema 1 ", Trouble::NoImage),
    ("encountered unknown type ", Trouble::NoImage),
    ("encountered remote ", Trouble::NoImage),
    ("toomanyrequests: ", Trouble::TooMany),
    ("pull rate limit", Trouble::TooMany),
    ("no basic auth credentials", Trouble::Credentials),
    ("pull access denied", Trouble::NotFoundOrPrivate),
    ("requested access to the resource is denied", Trouble::NotFoundOrPrivate),
    ("unauthorized: ", Trouble::Credentials),
    ("authentication required", Trouble::Credentials),
    ("incorrect username or password", Trouble::Credentials),
    ("denied: ", Trouble::Credentials),
    ("insufficient_scope: ", Trouble::Credentials),
    ("manifest unknown", Trouble::NotFound),
    ("name unknown", Trouble::NotFound),
    ("unknown blob", Trouble::NotFound),
    ("blob unknown", Trouble::NotFound),
    ("repository does not exist", Trouble::NotFound),
    (": not found", Trouble::NotFound),
    ("i/o timeout", Trouble::Slow),
    ("TLS handshake timeout", Trouble::Slow),
    ("context deadline exceeded", Trouble::Slow),
    ("Client.Timeout exceeded", Trouble::Slow),
    ("timeout awaiting response", Trouble::Slow),
    ("connection timed out", Trouble::Slow),
    ("stopped after 10 redirects", Trouble::Refused),
    ("unsupported protocol scheme", Trouble::Refused),
    ("connection refused", Trouble::Away),
    ("connection reset", Trouble::Away),
    ("broken pipe", Trouble::Away),
    ("no such host", Trouble::Away),
    ("server misbehaving", Trouble::Away),
    ("name resolution", Trouble::Away),
    ("no route to host", Trouble::Away),
    ("network is unreachable", Trouble::Away),
    (": EOF", Trouble::Away),
    ("unavailable: ", Trouble::Failing),
    // A registry's own code, which the daemon reads only where the status is 4xx.
    ("unknown: ", Trouble::Refused),
    ("unsupported: ", Trouble::Refused),
    ("name invalid", Trouble::Refused),
    ("tag invalid", Trouble::Refused),
];

impl Asked<'_> {
    /// The call failed, or what came of it broke off.
    pub(super) fn failed(&self, error: DaemonError) -> ImageError {
        match error {
            DaemonError::Refused { status, text, .. } => self.refused(Some(status), &text),
            DaemonError::Slow { .. } => self.error(Trouble::Slow, &error.to_string()),
            other => EngineError::from(other).into(),
        }
    }

    /// Nothing came for too long.
    pub(super) fn stalled(&self) -> ImageError {
        self.error(Trouble::Slow, "pull: it stands still")
    }

    /// The daemon said no, with a status of its own where that came before any progress.
    pub(super) fn refused(&self, status: Option<u16>, text: &str) -> ImageError {
        let cause = match status {
            Some(status) => format!("pull: HTTP {status}: {text}"),
            None => format!("pull: {text}"),
        };
        self.error(trouble(status, text), &cause)
    }

    /// The daemon said that all is well, and has no such image.
    pub(super) fn lost(&self, cause: &str) -> ImageError {
        self.error(Trouble::Corrupt, &format!("pull: nothing came of it: {cause}"))
    }

    fn error(&self, trouble: Trouble, cause: &str) -> ImageError {
        use ImageErrorKind::{
            Auth, Corrupt, EngineFailed, NoSpace, NotFound, Timeout, Unavailable,
        };
        let (image, registry) = (self.reference, self.reference.registry());
        let cause = clean(&self.without_secrets(cause));
        let others = if self.credential.is_some() { "other credentials" } else { "credentials" };
        let new = |kind, detail: String| ImageError::new(kind, detail, String::new());
        let lasting = |kind, detail| ImageError { passing: false, ..new(kind, detail) };
        let error = match trouble {
            Trouble::NotFound => ImageError::not_found(image),
            Trouble::NotFoundOrPrivate => new(
                NotFound,
                format!(
                    "image {image} was not found: registry {registry} has none by that name, or it \
                     is private and needs {others}"
                ),
            ),
            Trouble::Credentials => {
                new(Auth, format!("registry {registry} wants {others} for image {image}"))
            }
            Trouble::TooMany => new(
                Unavailable,
                format!("registry {registry} has had too many requests; try again later"),
            ),
            Trouble::Refused => lasting(
                Unavailable,
                format!("registry {registry} refuses what is asked of it for image {image}"),
            ),
            Trouble::Away => new(
                Unavailable,
                format!("registry {registry} can't be reached to pull image {image}"),
            ),
            Trouble::Failing => {
                new(Unavailable, format!("registry {registry} fails to give image {image}"))
            }
            Trouble::Slow => {
                new(Timeout, format!("registry {registry} takes too long to give image {image}"))
            }
            Trouble::Untrusted => lasting(
                Unavailable,
                format!(
                    "the Docker daemon does not trust registry {registry}: give it the registry's \
                     authority in certs.d, or name the registry among its insecure-registries"
                ),
            ),
            Trouble::Corrupt => {
                new(Corrupt, format!("what registry {registry} gave as image {image} is corrupt"))
            }
            Trouble::Platform => {
                ImageError::unsupported(image, "its registry has none for this platform")
            }
            Trouble::NoImage => ImageError::unsupported(
                image,
                "what its registry has by that name is no image that the Docker daemon can read",
            ),
            Trouble::Name => {
                ImageError::unsupported(image, "the Docker daemon does not take such a name")
            }
            Trouble::NoSpace => new(
                NoSpace,
                format!("the Docker daemon has no space left on its disk for image {image}"),
            ),
            Trouble::Daemon => {
                new(EngineFailed, format!("the Docker daemon could not unpack image {image}"))
            }
        };
        ImageError { cause, ..error }
    }

    /// The text without our credentials, should a registry have sent them back, and without what
    /// URLs say after their paths, which may be the key to a blob.
    fn without_secrets(&self, text: &str) -> String {
        let secrets = match self.credential {
            Some(Credential::Password { username, password }) => {
                vec![STANDARD.encode(format!("{username}:{password}")), password.clone()]
            }
            Some(Credential::IdentityToken(token)) => vec![token.clone()],
            None => Vec::new(),
        };
        let mut text = text.to_owned();
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "…");
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '<' | '>');
        let words = text.split_inclusive(ends).map(|word| match word.split_once('?') {
            Some((path, rest)) if path.contains("/") => {
                let end = rest.rfind(ends).map_or("", |end| &rest[end..]);
                format!("{path}?…{end}")
            }
            _ => word.to_owned(),
        });
        words.collect()
    }
}

fn trouble(status: Option<u16>, text: &str) -> Trouble {
    let told = WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, trouble)| *trouble);
    // A status is exact; the words around it may be a page of HTML.
    match (registry_status(text), told) {
        (Some(status), _) => by_status(status),
        (None, Some(trouble)) => trouble,
        (None, None) => status.map_or(Trouble::Failing, by_status),
    }
}

/// The HTTP status that the registry gave, where the daemon repeats it.
fn registry_status(text: &str) -> Option<u16> {
    let number = |text: &str| text.get(..3).and_then(|digits| digits.parse().ok());
    let after = |words: &str| text.split_once(words).map(|(_, rest)| rest);
    if let Some(rest) = after("unexpected HTTP status: ").or(after("error parsing HTTP ")) {
        return number(rest);
    }
    // There it stands behind the URL.
    after("unexpected status")?.split(": ").skip(1).find_map(number)
}

fn by_status(status: u16) -> Trouble {
    match status {
        401 | 403 => Trouble::Credentials,
        404 => Trouble::NotFound,
        408 | 504 => Trouble::Slow,
        429 => Trouble::TooMany,
        400..500 => Trouble::Refused,
        _ => Trouble::Failing,
    }
}

#[cfg(test)]
#[path = "pull_error_tests.rs"]
mod tests;
