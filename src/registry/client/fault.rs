//! What can go wrong on the way to a registry, and how it is said.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::body::Body;
use super::{redirect, retry_after};
use crate::internet::{NotPublic, causes};
use crate::registry::{ImageError, ImageErrorKind, Reference};

/// The longest cause that is logged, in characters.
const MAX_CAUSE: usize = 300;
/// The largest answer to something refused that is looked at, in bytes.
const MAX_REFUSAL: usize = 16 << 10;

/// Who we were to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Nothing is known to tell it.
    Nobody,
    /// It wants our credentials sent to a host that is not known to be its own.
    Withheld,
    Known,
}

/// Why there is no answer. The causes are for the log.
#[derive(Debug)]
pub(super) enum Fault {
    NotPublic,
    /// The registry's certificate is signed by nobody we know, or not its own.
    Certificate(String),
    NoTls(String),
    /// No connection came about, or one broke.
    Unreachable {
        connecting: bool,
        cause: String,
    },
    /// The same of a host to which the registry leads.
    Astray(String),
    Timeout(String),
    /// A body comes too slowly, or no more.
    Stalled,
    Redirect(redirect::Refusal),
    /// Completes "… can't be pulled: its registry …".
    SignIn(&'static str),
    Refused(Who),
    /// The token service gives none, with this status; OK is an answer that holds none.
    NoToken {
        status: StatusCode,
        wait: Option<Duration>,
    },
    Told(ImageError),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Self::Told(error)
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        // Addresses may be signed, and then they are as good as a password.
        let error = error.without_url();
        let cause = chain(&error);
        if within::<NotPublic>(&error).is_some() {
            return Self::NotPublic;
        }
        match within::<rustls::Error>(&error) {
            Some(rustls::Error::InvalidCertificate(_)) => return Self::Certificate(cause),
            Some(rustls::Error::InvalidMessage(_)) => return Self::NoTls(cause),
            _ => {}
        }
        if error.is_timeout() {
            return Self::Timeout(cause);
        }
        Self::Unreachable { connecting: error.is_connect(), cause }
    }
}

impl Fault {
    /// The same, when it happened at another host than the registry's.
    pub(super) fn elsewhere(self) -> Self {
        match self {
            Self::NoTls(cause) | Self::Unreachable { cause, .. } => Self::Astray(cause),
            other => other,
        }
    }

    /// The error of the image that was asked for.
    pub(super) fn about(self, reference: &Reference) -> ImageError {
        use ImageErrorKind::{Auth, Timeout, Unavailable};
        let registry = reference.registry();
        let new = |kind, reason: String, cause: String| {
            ImageError::new(kind, format!("image {reference} can't be pulled: {reason}"), cause)
        };
        // No other attempt will help.
        let lasting = |reason: String, cause| ImageError {
            passing: false,
            ..new(Unavailable, reason, cause)
        };
        match self {
            Self::NotPublic => ImageError::not_allowed(
                reference,
                "its registry leads to an address of this machine or of a private network, where \
                 only registries that the operator names may be",
            ),
            Self::Certificate(cause) => lasting(
                format!(
                    "the certificate of {registry}, or of a host to which it leads, can't be \
                     verified; name its authority in REGISTRY_CA"
                ),
                cause,
            ),
            Self::NoTls(cause) => lasting(
                format!("{registry} speaks no TLS; name it in INSECURE_REGISTRIES to do without"),
                cause,
            ),
            Self::Unreachable { connecting: true, cause } => {
                new(Unavailable, format!("{registry} can't be reached"), cause)
            }
            Self::Unreachable { connecting: false, cause } => {
                new(Unavailable, format!("the connection to {registry} broke"), cause)
            }
            Self::Astray(cause) => {
                new(Unavailable, format!("{registry} leads to a host that can't be reached"), cause)
            }
            Self::Timeout(cause) => {
                new(Timeout, format!("{registry} did not answer in time"), cause)
            }
            Self::Stalled => {
                let cause = "the body stalled".into();
                new(Timeout, format!("{registry} stopped sending"), cause)
            }
            Self::Redirect(reason) => lasting(format!("{registry} {reason}"), String::new()),
            Self::SignIn(reason) => new(Auth, format!("{registry} {reason}"), String::new()),
            Self::Refused(Who::Nobody) => new(
                Auth,
                format!(
                    "{registry} has no such image or keeps it private, and there are no \
                     credentials for {registry}"
                ),
                String::new(),
            ),
            Self::Refused(Who::Withheld) => new(
                Auth,
                format!(
                    "{registry} wants its credentials sent to a host that is not known to be its \
                     own; they were not sent"
                ),
                String::new(),
            ),
            Self::Refused(Who::Known) => new(
                Auth,
                format!("{registry} refuses the credentials for it, or they don't open this image"),
                String::new(),
            ),
            Self::NoToken { status, wait } => {
                let reason = match status {
                    StatusCode::OK => format!("the token service of {registry} gives no token"),
                    _ => format!(
                        "the token service of {registry} answers with status {}",
                        status.as_u16()
                    ),
                };
                ImageError {
                    passing: status == StatusCode::OK || may_pass(status),
                    retry_after: wait,
                    ..new(Unavailable, reason, String::new())
                }
            }
            Self::Told(error) => error,
        }
    }
}

/// What an answer means that is not the one hoped for.
pub(super) async fn refusal(
    reference: &Reference,
    answer: Response,
    who: Who,
    body: impl FnOnce(Response) -> Body,
) -> ImageError {
    let status = answer.status();
    let wait = retry_after::read(answer.headers(), SystemTime::now());
    let codes = match body(answer).read(MAX_REFUSAL).await {
        Ok(Some(text)) => codes(&text),
        _ => Vec::new(),
    };
    let cause = std::iter::once(format!("status {}", status.as_u16())).chain(codes.iter().cloned());
    let cause = cause.collect::<Vec<_>>().join(", ");
    let unknown = |code: &String| code.ends_with("_UNKNOWN");
    if status == StatusCode::NOT_FOUND || status.is_client_error() && codes.iter().any(unknown) {
        return ImageError { cause, ..ImageError::not_found(reference) };
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return ImageError { cause, ..Fault::Refused(who).about(reference) };
    }
    let registry = reference.registry();
    let reason = match status {
        StatusCode::TOO_MANY_REQUESTS => "has enough of us for now".into(),
        status => format!("answers with status {}", status.as_u16()),
    };
    let detail = format!("image {reference} can't be pulled: {registry} {reason}");
    ImageError {
        passing: may_pass(status),
        retry_after: wait,
        ..ImageError::new(ImageErrorKind::Unavailable, detail, cause)
    }
}

/// Whether the same question may have another answer later.
fn may_pass(status: StatusCode) -> bool {
    let busy = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    busy || status.is_server_error()
}

/// The codes in an error document (OCI distribution spec, error codes), when they are words.
fn codes(text: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: String,
    }
    let word = |code: &String| {
        (1..=40).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let entries = serde_json::from_slice(text).map(|Document { errors }| errors);
    let entries = entries.unwrap_or_default().into_iter().map(|entry| entry.code);
    entries.filter(word).take(3).collect()
}

/// The first error of a type among what an error is made of.
fn within<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps is not among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// All that an error says, on one line and short.
fn chain(error: &dyn Error) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    causes(error).chars().map(plain).take(MAX_CAUSE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_and_few() {
        let of = |text: &str| codes(text.as_bytes());
        let good = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "s3cret"}]}"#;
        assert_eq!(of(good), ["MANIFEST_UNKNOWN"]);
        let odd = r#"{"errors": [{"code": "a b"}, {"code": ""}, {"code": "LINE\nBREAK"}]}"#;
        assert!(of(odd).is_empty());
        let many = format!(r#"{{"errors": [{}]}}"#, [r#"{"code": "A"}"#; 9].join(","));
        assert_eq!(of(&many).len(), 3);
        for text in ["", "<html>", "[]", r#"{"errors": {}}"#, r#"{"errors": [{"code": 1}]}"#] {
            assert!(of(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_an_io_error_wraps_is_found() {
        let error = io::Error::other(io::Error::other(NotPublic));
        assert!(within::<NotPublic>(&error).is_some());
        assert!(within::<rustls::Error>(&error).is_none());
    }
}
