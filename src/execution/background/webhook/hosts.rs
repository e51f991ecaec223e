//! Which hosts webhooks may lead to.

use std::str::FromStr;

use reqwest::Url;

use crate::execution::request::Invalid;

/// An entry of `WEBHOOK_HOSTS`: `example.org`, `example.org:8443`, `*.example.org`, or one without
/// TLS, `http://10.0.0.7:8080`. An address leads where it says, private or not; a name only to
/// public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookHost {
    /// Scheme, host and port.
    origin: Url,
    /// Any name below it, and not itself.
    below: bool,
}

impl WebhookHost {
    /// Whether it stands for a URL's.
    pub(super) fn has(&self, url: &Url) -> bool {
        if !self.below {
            return self.origin.origin() == url.origin();
        }
        let (Some(host), Some(parent)) = (url.domain(), self.origin.domain()) else { return false };
        let same = |of: &Url| (of.scheme().to_owned(), of.port_or_known_default());
        let child = host.strip_suffix(parent).and_then(|child| child.strip_suffix('.'));
        same(&self.origin) == same(url) && child.is_some_and(|child| !child.is_empty())
    }
}

impl FromStr for WebhookHost {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = || {
            Invalid("write hosts as host[:port], *.host or, without TLS, http://host:port".into())
        };
        let (scheme, rest) = text.strip_prefix("http://").map_or(("https", text), |r| ("http", r));
        let (below, host) = rest.strip_prefix("*.").map_or((false, rest), |host| (true, host));
        if host.is_empty() || host.contains(|c: char| "/\\?#@*".contains(c) || c.is_whitespace()) {
            return Err(rule());
        }
        let origin = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| rule())?;
        if below && origin.domain().is_none() { Err(rule()) } else { Ok(Self { origin, below }) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("example.org", "https://example.org/hook?x=1", true)]
    #[case("example.org", "https://EXAMPLE.org:443/", true)]
    #[case("example.org", "https://example.org:8443/", false)]
    #[case("example.org", "http://example.org/", false)]
    #[case("example.org", "https://a.example.org/", false)]
    #[case("example.org:8443", "https://example.org:8443/", true)]
    #[case("*.example.org", "https://a.example.org/", true)]
    #[case("*.example.org", "https://a.b.example.org/", true)]
    #[case("*.example.org", "https://example.org/", false)]
    #[case("*.example.org", "https://badexample.org/", false)]
    #[case("*.example.org", "https://a.example.org.evil.example/", false)]
    #[case("*.example.org", "https://a.example.org:8443/", false)]
    #[case("http://127.0.0.1:9000", "http://127.0.0.1:9000/x", true)]
    #[case("http://127.0.0.1:9000", "http://127.1:9000/x", true)]
    #[case("http://127.0.0.1:9000", "https://127.0.0.1:9000/x", false)]
    #[case("[::1]:9000", "https://[::1]:9000/", true)]
    #[case("10.0.0.7", "https://10.0.0.8/", false)]
    fn an_entry_stands_for_one_scheme_host_and_port(
        #[case] entry: &str,
        #[case] url: &str,
        #[case] has: bool,
    ) {
        assert_eq!(entry.parse::<WebhookHost>().unwrap().has(&url.parse().unwrap()), has);
    }

    #[rstest]
    #[case("")]
    #[case("*")]
    #[case("*.")]
    #[case("*.10.0.0.1")]
    #[case("a.*.example")]
    #[case("https://example.org")]
    #[case("example.org/path")]
    #[case("user@example.org")]
    #[case("two words")]
    #[case("example.org:99999")]
    fn anything_else_is_refused(#[case] entry: &str) {
        assert!(entry.parse::<WebhookHost>().is_err());
    }
}
