//! What every request passes first: the id that ties a response to its log lines, and the limits of
//! its head.

use std::future::pending;

use actix_cors::CorsError;
use actix_http::ConnectionType;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use uuid::Uuid;

use super::Door;
use super::code::Code;
use super::connection::{self, Inside};
use super::problem::Problem;
use super::record;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LEN: usize = 128;
/// Bytes of a request's address, and of all its headers.
const MAX_URI: usize = 8 * 1024;
const MAX_HEADERS: usize = 32 * 1024;

/// The caller's own id where it is safe to repeat, else a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, or nothing.
    #[must_use]
    pub fn accept(text: &str) -> Option<Self> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let fits = !text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(safe);
        fits.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives every request its id, and every problem its final form: with the id, in the log where the
/// fault is ours, counted, on the wire without that fault.
pub async fn middleware(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let named = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let id = named.and_then(RequestId::accept).unwrap_or_default();
    request.extensions_mut().insert(id.clone());
    let connection = connection::of(request.request()).cloned();
    let inside = match connection.map(|connection| connection.enter(has_body(request.headers()))) {
        Some(None) => return pending().await,
        inside => inside.flatten(),
    };
    if let Some(inside) = inside.as_ref().filter(|_| closes(request.head())) {
        inside.is_last();
    }
    let mut response = match head_problem(&request) {
        Some(problem) => request.error_response(problem),
        None => next.call(request).await?.map_into_boxed_body(),
    };
    if let Some(error) = response.response().error() {
        let problem = match error.as_error::<Problem>() {
            Some(problem) => problem.clone(),
            None if error.as_error::<CorsError>().is_some() => Problem::origin_not_allowed(),
            None => Problem::internal(error.to_string()),
        };
        if !problem.logged {
            record::problem(id.as_str(), &problem);
        }
        if let Some(door) = response.request().app_data::<web::Data<Door>>() {
            door.executor.metrics().refused(problem.code.name());
        }
        let said = std::mem::take(response.headers_mut());
        response = response.into_response(problem.respond(&id));
        keep(said, response.headers_mut());
        // What comes next on the connection can't be told from the rest of this request.
        let unclear =
            |inside: &&Inside| problem.code == Code::MalformedRequest || inside.is_unread();
        if let Some(inside) = inside.as_ref().filter(unclear) {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            inside.is_last();
        }
    }
    finish(response.headers_mut(), &id);
    Ok(match inside {
        Some(inside) => response.map_body(|_, body| inside.until_sent(body)),
        None => response,
    })
}

/// What every answer says beside what it is about.
pub(super) fn finish(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(HEADER, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Whether the client wants no more than this.
fn closes(head: &RequestHead) -> bool {
    head.connection_type() == ConnectionType::Close
}

/// Whether a body comes behind this head, as the server below sees it.
fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

/// What was said in the headers of an answer before it got its final form.
fn keep(said: HeaderMap, headers: &mut HeaderMap) {
    let new: Vec<_> = said.keys().filter(|name| !headers.contains_key(*name)).cloned().collect();
    for (name, value) in said.into_iter().filter(|(name, _)| new.contains(name)) {
        headers.append(name, value);
    }
}

/// A head that is larger than any honest one, or that others could read differently.
fn head_problem(request: &ServiceRequest) -> Option<Problem> {
    // The form for proxies, whose host need not be that of the header.
    if request.uri().scheme().is_some() {
        let detail = "the address must begin with its path";
        return Some(Problem::new(Code::MalformedRequest, detail));
    }
    if request.uri().to_string().len() > MAX_URI {
        let detail = format!("the address is longer than {MAX_URI} bytes");
        return Some(Problem::new(Code::UriTooLong, detail));
    }
    let sizes = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    if sizes.sum::<usize>() > MAX_HEADERS {
        let detail = format!("the headers are larger than {MAX_HEADERS} bytes");
        return Some(Problem::new(Code::HeadersTooLarge, detail));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_repeated() {
        let longest = "x".repeat(MAX_LEN);
        for good in ["a", "Req-1.2_3", longest.as_str()] {
            assert_eq!(RequestId::accept(good).expect("accepted").as_str(), good);
        }
        let long = "x".repeat(MAX_LEN + 1);
        for bad in ["", "a b", "a\r\nb", "\u{e9}", "a/b", long.as_str()] {
            assert_eq!(RequestId::accept(bad), None, "{bad:?}");
        }
        assert_ne!(RequestId::new(), RequestId::new());
    }
}
