//! One request to a registry: with or without TLS, signed in where it asks for it, and followed to
//! where it leads.

use std::sync::PoisonError;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

use super::body::Body;
use super::fault::{self, Fault, Who};
use super::redirect::MAX_HOPS;
use super::site::{Scheme, Site};
use super::{Client, challenge, redirect};
use crate::registry::manifest::ACCEPTED;
use crate::registry::{ImageError, ImageErrorKind, Reference};

/// An answer, and where it came from.
struct Answer {
    response: Response,
    /// The registry's own, and not that of a host to which it redirected.
    own: bool,
    who: Who,
}

/// What is asked for.
struct Question<'a> {
    method: Method,
    tail: &'a str,
    headers: HeaderMap,
}

impl Client {
    /// Asks for something in a repository, such as `manifests/latest`, from a byte on where one is
    /// given. What comes back has the status for that.
    pub(super) async fn ask(
        &self,
        reference: &Reference,
        method: Method,
        tail: &str,
        from: Option<u64>,
    ) -> Result<Response, ImageError> {
        let mut headers = HeaderMap::new();
        // Digests are of the bytes as they are kept.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if tail.starts_with("manifests/") {
            headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        }
        let range = from.and_then(|from| format!("bytes={from}-").parse().ok());
        let wanted = match range {
            Some(range) => {
                headers.insert(RANGE, range);
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        let question = Question { method, tail, headers };
        let asked = self.by_scheme(reference, &question).await;
        let Answer { response, own, who } = asked.map_err(|fault| fault.about(reference))?;
        let status = response.status();
        if status == wanted {
            return Ok(response);
        }
        if from.is_some() && matches!(status, StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE) {
            return Err(not_continued(reference));
        }
        let stall = self.0.times.stall;
        let body = |response| Body::new(response, stall);
        let error = fault::refusal(reference, response, who, body).await;
        Err(if own || error.kind != ImageErrorKind::Auth { error } else { not_ours(error) })
    }

    async fn by_scheme(
        &self,
        reference: &Reference,
        question: &Question<'_>,
    ) -> Result<Answer, Fault> {
        let site = |plain| {
            Site::of(reference, plain, &self.0.ways)
                .ok_or_else(|| Fault::from(ImageError::not_found(reference)))
        };
        let registry = reference.registry();
        let secure = site(false)?;
        match secure.scheme(&self.0.ways) {
            Scheme::Tls => return self.signed_in(&secure, question).await,
            Scheme::Plain => return self.signed_in(&site(true)?, question).await,
            Scheme::Either => {}
        }
        let known = self.0.plain.lock().unwrap_or_else(PoisonError::into_inner).has(registry);
        if !known {
            match self.signed_in(&secure, question).await {
                Err(Fault::NoTls(_) | Fault::Unreachable { connecting: true, .. }) => {}
                other => return other,
            }
        }
        let answer = self.signed_in(&site(true)?, question).await?;
        self.0.plain.lock().unwrap_or_else(PoisonError::into_inner).add(registry);
        Ok(answer)
    }

    /// Asks as whoever we were the last time, and signs in once where that is not enough.
    async fn signed_in(&self, site: &Site, question: &Question<'_>) -> Result<Answer, Fault> {
        let kept = self.grants().get(site);
        let (who, header) =
            kept.map_or((Who::Nobody, None), |grant| (grant.who, Some(grant.header)));
        let (response, own) = self.follow(site, question, header).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(Answer { response, own, who });
        }
        let grant = self.sign_in(site, challenge::read(response.headers())).await?;
        self.grants().put(site, grant.clone());
        let (response, own) = self.follow(site, question, Some(grant.header)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.grants().forget(site);
        }
        Ok(Answer { response, own, who: grant.who })
    }

    /// Follows redirects. What says who we are goes to the registry alone: once another host has
    /// been asked, it is not sent any more.
    async fn follow(
        &self,
        site: &Site,
        question: &Question<'_>,
        mut authorization: Option<HeaderValue>,
    ) -> Result<(Response, bool), Fault> {
        let mut url = site.url(question.tail).ok_or(Fault::Redirect("has no such address"))?;
        let mut own = true;
        for _ in 0..=MAX_HOPS {
            let way = self.0.ways.to(&url, site.trusted)?;
            let mut request = way.request(question.method.clone(), url.clone());
            request = request.headers(question.headers.clone());
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let sent = self.send(request).await;
            let response = sent.map_err(|fault| if own { fault } else { fault.elsewhere() })?;
            let plain = |next: &reqwest::Url| self.0.ways.is_plain(next);
            let next = redirect::next(&url, response.status(), response.headers(), plain);
            let Some(next) = next.map_err(Fault::Redirect)? else {
                return Ok((response, own));
            };
            if next.origin() != url.origin() {
                (own, authorization) = (false, None);
            }
            url = next;
        }
        Err(Fault::Redirect("redirects in a circle, or too often"))
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        let limit = self.0.times.response;
        let late = |_| Fault::Timeout(format!("no answer within {} s", limit.as_secs_f32()));
        Ok(timeout(limit, request.send()).await.map_err(late)??)
    }
}

/// Another attempt, from the beginning, may succeed.
pub(super) fn not_continued(reference: &Reference) -> ImageError {
    let registry = reference.registry();
    let detail = format!(
        "image {reference} can't be pulled: the connection to {registry} broke, and it does not \
         continue where it did"
    );
    ImageError::new(ImageErrorKind::Unavailable, detail, "")
}

/// Where the registry sent us, we never were anybody.
fn not_ours(error: ImageError) -> ImageError {
    ImageError {
        kind: ImageErrorKind::Unavailable,
        detail: format!("{}; it was the host to which it redirects", error.detail),
        ..error
    }
}
