//! When a registry wants to be asked again.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest wait that is reported: whoever wants more wants to be left alone.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds or a date; anything else is none.
pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(MOST, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MOST))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn wait(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().ok()?);
        read(&headers, SystemTime::UNIX_EPOCH + NOW)
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case("1", Some(1))]
    #[case(" 3600 ", Some(3600))]
    #[case("99999999999999999999999", Some(86400))]
    #[case("18446744073709551615", Some(86400))]
    #[case("Tue, 14 Nov 2023 22:13:25 GMT", Some(5))]
    #[case("Tuesday, 14-Nov-23 22:13:25 GMT", Some(5))]
    #[case("Sun, 06 Nov 1994 08:49:37 GMT", Some(0))]
    #[case("Fri, 31 Dec 9999 23:59:59 GMT", Some(86400))]
    #[case("", None)]
    #[case("-1", None)]
    #[case("+1", None)]
    #[case("1.5", None)]
    #[case("1s", None)]
    #[case("soon", None)]
    #[case("Tue, 99 Nov 2023 22:13:25 GMT", None)]
    fn is_seconds_or_a_date(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(wait(text), seconds.map(Duration::from_secs));
    }

    #[test]
    fn need_not_be_there() {
        assert_eq!(read(&HeaderMap::new(), SystemTime::now()), None);
    }
}
