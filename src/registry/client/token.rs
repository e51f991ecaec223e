//! Signing in: what is sent to say who we are, to whom, and for how long it is good.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::body::Body;
use super::challenge::Challenge;
use super::fault::{Fault, Who};
use super::grants::{Grant, Grants};
use super::site::Site;
use super::{Client, realm, retry_after};
use crate::registry::Credential;

/// The largest answer of a token service, and the longest token, in bytes.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// How long a token is good that does not say it (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// The longest a token is kept, whatever it says: the credentials may have changed.
const MAX_LIFE: Duration = Duration::from_secs(3600);

impl Client {
    pub(super) fn grants(&self) -> MutexGuard<'_, Grants> {
        self.0.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a challenge.
    pub(super) async fn sign_in(
        &self,
        site: &Site,
        challenge: Option<Challenge>,
    ) -> Result<Grant, Fault> {
        let challenge = challenge
            .ok_or(Fault::SignIn("asks for a way of signing in that is not known here"))?;
        let credential = self.0.credentials.find(&site.name).await?;
        match (challenge, credential) {
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                let header = basic(&username, &password)?;
                Ok(Grant { header, who: Who::Known, until: Instant::now() + DEFAULT_LIFE })
            }
            (Challenge::Basic, Some(Credential::IdentityToken(_))) => {
                Err(Fault::SignIn("wants a password, and the credentials for it are a token"))
            }
            (Challenge::Basic, None) => Err(Fault::Refused(Who::Nobody)),
            (Challenge::Bearer { realm, service }, credential) => {
                let realm = realm::read(site, &realm)?;
                let (who, credential) = match credential {
                    None => (Who::Nobody, None),
                    Some(_) if !realm::belongs(site, &realm, &self.0.ways) => (Who::Withheld, None),
                    known => (Who::Known, known),
                };
                self.token(site, realm, service.as_deref(), credential, who).await
            }
        }
    }

    async fn token(
        &self,
        site: &Site,
        realm: Url,
        service: Option<&str>,
        credential: Option<Credential>,
        who: Who,
    ) -> Result<Grant, Fault> {
        let asked = Instant::now();
        let way = self.0.ways.to(&realm, site.trusted)?;
        let request = request(way, realm, service, &scope(site), credential)?;
        let answer = self.send(request).await.map_err(Fault::elsewhere)?;
        let status = answer.status();
        let wait = retry_after::read(answer.headers(), SystemTime::now());
        if !status.is_success() {
            return Err(no_token(status, wait, who));
        }
        let read = Body::new(answer, self.0.times.stall).read(MAX_ANSWER).await?;
        let token = read.and_then(|text| Token::parse(&text));
        let Token { token, life } = token.ok_or(NO_TOKEN)?;
        let header = secret(&format!("Bearer {token}")).ok_or(NO_TOKEN)?;
        Ok(Grant { header, who, until: asked + life })
    }
}

/// Only what is needed is asked for, whatever the registry would have us ask for.
fn scope(site: &Site) -> String {
    format!("repository:{}:pull", site.repository)
}

fn request(
    way: &reqwest::Client,
    mut realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<Credential>,
) -> Result<RequestBuilder, Fault> {
    let service = service.map(|service| ("service", service));
    let asked = service.into_iter().chain([("scope", scope)]);
    let Some(Credential::IdentityToken(refresh)) = credential else {
        realm.query_pairs_mut().extend_pairs(asked);
        let request = way.get(realm);
        return match credential {
            Some(Credential::Password { username, password }) => {
                Ok(request.header(AUTHORIZATION, basic(&username, &password)?))
            }
            _ => Ok(request),
        };
    };
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", env!("CARGO_PKG_NAME")),
        ("refresh_token", &refresh),
    ];
    // A form is written as a query is.
    let mut form = realm.clone();
    form.set_query(None);
    form.query_pairs_mut().extend_pairs(fields.into_iter().chain(asked));
    let form = form.query().unwrap_or_default().to_owned();
    Ok(way.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form))
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, Fault> {
    secret(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
        .ok_or(Fault::SignIn("can't be told the credentials for it, as they are too odd"))
}

/// A header that is not shown by `Debug`.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A token service's answer (distribution's token specification; RFC 6749).
struct Token {
    token: String,
    life: Duration,
}

impl Token {
    fn parse(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<serde_json::Value>,
        }
        let answer: Answer = serde_json::from_slice(text).ok()?;
        let given = |token: &String| !token.is_empty();
        let token = answer.token.filter(given).or(answer.access_token.filter(given))?;
        if token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let life = answer.expires_in.and_then(|seconds| seconds.as_u64());
        let life = life.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE);
        Some(Self { token, life })
    }
}

/// A token service's answer holds none.
const NO_TOKEN: Fault = Fault::NoToken { status: StatusCode::OK, wait: None };

fn no_token(status: StatusCode, wait: Option<Duration>, who: Who) -> Fault {
    // A refresh token that is not good any more is a bad request (RFC 6749, 5.2).
    match status.as_u16() {
        400 | 401 | 403 => Fault::Refused(who),
        _ => Fault::NoToken { status, wait },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::client::ways::Ways;

    #[test]
    fn who_is_nobody_says_nothing() {
        let realm: Url = "https://auth.example/token".parse().unwrap();
        let ways = Ways::new(b"", vec![], vec![], DEFAULT_LIFE).unwrap();
        let way = ways.to(&realm, false).unwrap();
        let asked = request(way, realm, Some("s"), "x", None).unwrap().build().unwrap();
        assert!(asked.headers().is_empty() && asked.body().is_none());
        assert_eq!(asked.url().as_str(), "https://auth.example/token?service=s&scope=x");
    }

    proptest! {
        #[test]
        fn any_answer_is_a_token_or_none(
            text in prop_oneof![
                ".{0,60}",
                r#"\{"(token|access_token)": ?"[ -!#-\[\]-~]{0,20}", ?"expires_in": ?(-?[0-9]{1,25}|"1"|null)\}"#,
            ],
        ) {
            if let Some(Token { token, life }) = Token::parse(text.as_bytes()) {
                prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(life <= MAX_LIFE);
            }
        }
    }
}
