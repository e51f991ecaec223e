//! Signing in: what is sent to say who we are, to whom, and for how long it is good.

use std::collections::HashMap;
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
use super::site::Site;
use super::ways::Ways;
use super::{Client, retry_after};
use crate::registry::{Credential, ImageError, ImageErrorKind};

/// The largest answer of a token service, and the longest token, in bytes.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// How long a token is good that does not say it (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// The longest a token is kept, whatever it says: the credentials may have changed.
const MAX_LIFE: Duration = Duration::from_secs(3600);
/// The most that are kept; requests may name any number of repositories.
const MOST_KEPT: usize = 1024;

/// Registries whose token service is another host of the same people.
const TOKEN_SERVICES: &[(&str, &str)] = &[
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

/// What is sent with requests to one repository.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    pub(super) who: Who,
    until: Instant,
}

/// The grants that are still good, by registry (with its scheme) and repository.
#[derive(Default)]
pub(super) struct Grants(HashMap<(String, String), Grant>);

impl Grants {
    fn key(site: &Site) -> (String, String) {
        (site.base.to_string(), site.repository.clone())
    }

    pub(super) fn get(&self, site: &Site) -> Option<Grant> {
        let kept = self.0.get(&Self::key(site))?;
        (Instant::now() < kept.until).then(|| kept.clone())
    }

    pub(super) fn put(&mut self, site: &Site, grant: Grant) {
        if self.0.len() >= MOST_KEPT {
            let now = Instant::now();
            self.0.retain(|_, kept| now < kept.until);
        }
        if self.0.len() >= MOST_KEPT {
            self.0.clear();
        }
        self.0.insert(Self::key(site), grant);
    }

    pub(super) fn forget(&mut self, site: &Site) {
        self.0.remove(&Self::key(site));
    }
}

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
            .ok_or(Fault::SignIn("wants to be signed in to in a way that is not known here"))?;
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
                let realm = realm_at(site, &realm)?;
                let (who, credential) = match credential {
                    None => (Who::Nobody, None),
                    Some(_) if !belongs(site, &realm, &self.0.ways) => (Who::Withheld, None),
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
        let answer = self.send(request).await?;
        let status = answer.status();
        let wait = retry_after::read(answer.headers(), SystemTime::now());
        if !status.is_success() {
            return Err(no_token(site, status, wait, who));
        }
        let read = Body::new(answer, self.0.times.stall).read(MAX_ANSWER).await?;
        let token = read.and_then(|text| Token::parse(&text));
        let Token { token, life } = token.ok_or_else(|| broken(site))?;
        let header = secret(&format!("Bearer {token}")).ok_or_else(|| broken(site))?;
        Ok(Grant { header, who, until: asked + life })
    }
}

/// Only what is needed is asked for, whatever the registry would have us ask for.
fn scope(site: &Site) -> String {
    format!("repository:{}:pull", site.repository)
}

/// The address of a token service.
fn realm_at(site: &Site, realm: &str) -> Result<Url, Fault> {
    let nowhere = || Fault::SignIn("names no address at which to sign in");
    let mut url = Url::parse(realm).map_err(|_| nowhere())?;
    let secret = !url.username().is_empty() || url.password().is_some();
    if secret || url.host_str().is_none() || !matches!(url.scheme(), "https" | "http") {
        return Err(nowhere());
    }
    let beside = site.base.scheme() == "http" && url.host_str() == site.base.host_str();
    if url.scheme() == "http" && !beside {
        return Err(Fault::SignIn("wants to be signed in to without TLS at another host"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Whether a token service may be told the registry's credentials: it is the same host, one that
/// is known to be of the same people, or the operator has named both as their own.
fn belongs(site: &Site, realm: &Url, ways: &Ways) -> bool {
    let (registry, realm_host) = (site.base.host_str(), realm.host_str());
    registry == realm_host
        || TOKEN_SERVICES.iter().any(|(a, b)| Some(*a) == registry && Some(*b) == realm_host)
        || site.trusted && ways.is_private(realm)
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

fn no_token(site: &Site, status: StatusCode, wait: Option<Duration>, who: Who) -> Fault {
    // A refresh token that is not good any more is a bad request (RFC 6749, 5.2).
    if matches!(status.as_u16(), 400 | 401 | 403) {
        return Fault::Refused(who);
    }
    let busy = matches!(status.as_u16(), 408 | 429) || status.is_server_error();
    let detail = format!("the token service of {} answers with status {status}", site.name);
    let cause = "asked for a token";
    let error = ImageError::new(ImageErrorKind::Unavailable, detail, cause);
    Fault::Told(ImageError { passing: busy, retry_after: wait, ..error })
}

fn broken(site: &Site) -> Fault {
    let detail = format!("the token service of {} answers without a token", site.name);
    Fault::Told(ImageError::new(ImageErrorKind::Unavailable, detail, "asked for a token"))
}
