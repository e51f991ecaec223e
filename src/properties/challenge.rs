//! How registries ask who we are and when they want to be asked again: each line is one value of
//! `WWW-Authenticate`, and each is one of `Retry-After`.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::registry::client::challenge::{Challenge, read};
use crate::registry::client::retry_after;

const NOW: Duration = Duration::from_secs(1_700_000_000);
const DAY: u64 = 24 * 60 * 60;

pub fn check(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let values: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let mut headers = HeaderMap::new();
    for value in &values {
        headers.append(WWW_AUTHENTICATE, value.clone());
        wait(value);
    }
    if let Some(Challenge::Bearer { realm, service }) = read(&headers) {
        assert!(realm.len() <= 2048 && service.as_ref().is_none_or(|s| s.len() <= 2048));
        again(realm, service);
    }
}

/// A challenge that says the same in its plainest form is the same.
fn again(realm: String, service: Option<String>) {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#);
    let mut header = format!(r#"Bearer realm="{}""#, quoted(&realm));
    if let Some(service) = &service {
        header += &format!(r#", service="{}""#, quoted(service));
    }
    // What was near the most before may now be past it.
    if header.len() <= 8192 {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, header.parse().unwrap())]);
        assert_eq!(read(&headers), Some(Challenge::Bearer { realm, service }), "{header}");
    }
}

fn wait(value: &HeaderValue) {
    let now = SystemTime::UNIX_EPOCH + NOW;
    let read = |value: HeaderValue| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now);
    let Some(wait) = read(value.clone()) else { return };
    assert!(wait <= Duration::from_secs(DAY), "{value:?}");
    let seconds = wait.as_secs();
    assert_eq!(read(HeaderValue::from(seconds)), Some(Duration::from_secs(seconds)));
    let date = httpdate::fmt_http_date(now + Duration::from_secs(seconds));
    assert_eq!(read(date.parse().unwrap()), Some(Duration::from_secs(seconds)), "{date}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let lines = prop_oneof![
            "(Bearer|bearer|Basic|x)( |,|=|\"|\\\\|realm|service|[a-z:/.]){0,12}",
            "Bearer realm=\"[ !#-~]{0,20}\"(, ?service=\"([ !#-\\[\\]-~]|\\\\[ -~]){0,20}\")?",
            " ?[0-9]{1,25} ?",
            "(Mon|Tue|Sun), [0-3][0-9] (Nov|Feb) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT",
        ];
        let lines =
            prop::collection::vec(lines, 1..4).prop_map(|lines| lines.join("\n").into_bytes());
        twin::run("challenge", 1000, lines, super::check);
    }
}
