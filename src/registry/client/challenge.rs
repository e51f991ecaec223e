//! How a registry wants to be told who we are: `WWW-Authenticate`.

use http_auth::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The longest header and the longest value in it that are read, in bytes.
const MAX_HEADER: usize = 8 << 10;
const MAX_VALUE: usize = 2 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from `realm`, an address, for `service`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
    Basic,
}

/// The challenge to be answered: a token where one will do, since it opens less.
pub(crate) fn read(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<_> = values.filter_map(first_of).collect();
    let bearer = challenges.iter().position(|one| *one != Challenge::Basic);
    challenges.into_iter().nth(bearer.unwrap_or_default())
}

/// The best of one header; what follows a mistake in it is not read.
fn first_of(header: &str) -> Option<Challenge> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let mut basic = None;
    for challenge in ChallengeParser::new(header).map_while(Result::ok) {
        let value = |name: &str| {
            let same = |given: &str| given.eq_ignore_ascii_case(name);
            let (_, value) = challenge.params.iter().find(|(given, _)| same(given))?;
            Some(value.to_unescaped()).filter(|value| value.len() <= MAX_VALUE)
        };
        if challenge.scheme.eq_ignore_ascii_case("Bearer") {
            if let Some(realm) = value("realm") {
                return Some(Challenge::Bearer { realm, service: value("service") });
            }
        } else if challenge.scheme.eq_ignore_ascii_case("Basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        read(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
    }

    #[rstest]
    #[case(&[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull""#], bearer("https://a/t", Some("s")))]
    #[case(&[r#"bearer Realm="https://a/t""#], bearer("https://a/t", None))]
    #[case(&[r#"BEARER realm="a\"b", error="invalid_token""#], bearer("a\"b", None))]
    #[case(&[r#"Basic realm="x", Bearer realm="https://a/t""#], bearer("https://a/t", None))]
    #[case(&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#], bearer("https://a/t", None))]
    #[case(&[r#"Basic realm="Registry""#], Some(Challenge::Basic))]
    #[case(&["Basic"], Some(Challenge::Basic))]
    #[case(&[r#"Digest realm="x", nonce="n""#], None)]
    #[case(&[r#"Bearer service="s""#], None)]
    #[case(&["Bearer"], None)]
    #[case(&["Negotiate", r#"Basic realm="x""#], Some(Challenge::Basic))]
    #[case(&[""], None)]
    #[case(&["=,=\"\\"], None)]
    #[case(&[], None)]
    fn the_best_challenge_is_taken(#[case] values: &[&str], #[case] wanted: Option<Challenge>) {
        assert_eq!(of(values), wanted);
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let long = |length| format!(r#"Bearer realm="{}""#, "a".repeat(length));
        assert!(of(&[&long(MAX_VALUE)]).is_some());
        assert_eq!(of(&[&long(MAX_VALUE + 1)]), None);
        assert_eq!(of(&[&long(MAX_HEADER)]), None);
    }
}
