//! Which pages of other origins may call the service from a browser.

use std::str::FromStr;

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use actix_web::middleware::Condition;

use super::rate;

/// For which a browser remembers what it was allowed, in seconds.
const MAX_AGE: usize = 600;

/// The origins that the operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    These(Vec<String>),
}

/// Answers the questions of browsers and tells them what they may show, where the operator allows
/// any origin; else they are no questions.
pub fn browsers(origins: Option<&Origins>) -> Condition<Cors> {
    Condition::new(origins.is_some(), origins.map_or_else(Cors::default, Origins::answer))
}

impl Origins {
    fn answer(&self) -> Cors {
        let name = HeaderName::from_static;
        let cors = Cors::default()
            .allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allowed_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                name("idempotency-key"),
                name("last-event-id"),
                name("x-request-id"),
                name("traceparent"),
            ])
            .expose_headers([
                name("x-request-id"),
                LOCATION,
                RETRY_AFTER,
                rate::POLICY,
                rate::STANDING,
                name("idempotent-replayed"),
            ])
            .max_age(MAX_AGE);
        match self {
            Self::Any => cors.allow_any_origin().send_wildcard(),
            Self::These(origins) => {
                origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
            }
        }
    }
}

impl FromStr for Origins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let one = |entry: &str| {
            let entry = entry.trim();
            let written = reqwest::Url::parse(entry).ok().filter(|url| url.host().is_some());
            // As browsers write it, since it is compared as text.
            let same = written.is_some_and(|url| url.origin().ascii_serialization() == entry);
            let web = ["https://", "http://"].iter().any(|scheme| entry.starts_with(scheme));
            let rule = "write origins as browsers do, such as https://app.example, behind commas; \
                        or * for all of them";
            if same && web && !entry.contains('*') { Ok(entry.to_owned()) } else { Err(rule) }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self::These)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        assert_eq!("*".parse(), Ok(Origins::Any));
        let these = ["https://a.example", "http://localhost:3000"].map(str::to_owned).to_vec();
        assert_eq!("https://a.example, http://localhost:3000".parse(), Ok(Origins::These(these)));
    }

    #[rstest]
    fn anything_else_is_refused(
        #[values(
            "",
            "a.example",
            "https://a.example/",
            "https://a.example/x",
            "https://A.example",
            "https://a.example:443",
            "https://u:p@a.example",
            "https://*.example",
            "https://a.example,*",
            "null",
            "file:///x",
            "ftp://a.example"
        )]
        text: &str,
    ) {
        assert!(text.parse::<Origins>().is_err());
    }
}
