//! Where a registry may send us on to.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

/// The most hops of one request; blobs commonly take one.
pub(super) const MAX_HOPS: usize = 5;
/// The longest address that is followed, in bytes; signed ones are long.
const MAX_LOCATION: usize = 16 << 10;

/// Why a redirect is not followed; completes "… can't be pulled: its registry …".
pub(super) type Refusal = &'static str;

/// Where an answer sends us; `None` where it does not.
///
/// `may_be_plain` says of an address without TLS that the operator has named it.
pub(super) fn next(
    at: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    may_be_plain: impl Fn(&Url) -> bool,
) -> Result<Option<Url>, Refusal> {
    const NOWHERE: Refusal = "redirects to what is no address";
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.filter(|location| location.len() <= MAX_LOCATION).ok_or(NOWHERE)?;
    let next = at.join(location).map_err(|_| NOWHERE)?;
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(NOWHERE);
    }
    // Names and passwords in addresses would be sent along as ours.
    if !next.username().is_empty() || next.password().is_some() {
        return Err("redirects to an address with a password in it");
    }
    if next.scheme() == "http" {
        let downgrade = at.scheme() != "http";
        let same = next.origin() == at.origin();
        if downgrade || !(same || may_be_plain(&next)) {
            return Err("redirects to an address without TLS");
        }
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn from(at: &str, location: &str) -> Result<Option<Url>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        let listed = |url: &Url| url.host_str() == Some("plain.example");
        next(&at.parse().unwrap(), StatusCode::TEMPORARY_REDIRECT, &headers, listed)
    }

    #[rstest]
    #[case("https://a.example/v2/x", "https://b.example/y?s=1", "https://b.example/y?s=1")]
    #[case("https://a.example/v2/x", "/y", "https://a.example/y")]
    #[case("https://a.example/v2/x", "//b.example/y", "https://b.example/y")]
    #[case("http://a.example/v2/x", "/y", "http://a.example/y")]
    #[case("http://a.example/v2/x", "https://a.example/y", "https://a.example/y")]
    #[case("http://a.example/v2/x", "http://plain.example/y", "http://plain.example/y")]
    fn is_followed(#[case] at: &str, #[case] location: &str, #[case] to: &str) {
        assert_eq!(from(at, location), Ok(Some(to.parse().unwrap())));
    }

    #[rstest]
    #[case("https://a.example/", "http://a.example/", "without TLS")]
    #[case("https://a.example/", "http://plain.example/", "without TLS")]
    #[case("http://a.example/", "http://b.example/", "without TLS")]
    #[case("http://a.example/", "http://a.example:81/", "without TLS")]
    #[case("https://a.example/", "https://me:pass@b.example/", "password")]
    #[case("https://a.example/", "ftp://a.example/", "no address")]
    #[case("https://a.example/", "file:///etc/passwd", "no address")]
    #[case("https://a.example/", "https://", "no address")]
    fn is_not_followed(#[case] at: &str, #[case] location: &str, #[case] reason: &str) {
        assert!(from(at, location).unwrap_err().contains(reason));
    }

    #[test]
    fn only_a_redirect_is_one() {
        let at: Url = "https://a.example/".parse().unwrap();
        let none = HeaderMap::new();
        assert_eq!(next(&at, StatusCode::OK, &none, |_| true), Ok(None));
        assert_eq!(next(&at, StatusCode::NOT_MODIFIED, &none, |_| true), Ok(None));
        assert!(next(&at, StatusCode::FOUND, &none, |_| true).is_err());
    }

    proptest! {
        #[test]
        fn tls_is_never_left(location in "\\PC{0,60}") {
            if let Ok(location) = location.parse::<reqwest::header::HeaderValue>() {
                let at: Url = "https://a.example/v2/".parse().unwrap();
                let mut headers = HeaderMap::new();
                headers.insert(LOCATION, location);
                if let Ok(Some(to)) = next(&at, StatusCode::FOUND, &headers, |_| true) {
                    prop_assert_eq!(to.scheme(), "https");
                }
            }
        }
    }
}
