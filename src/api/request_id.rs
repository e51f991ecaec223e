//! What every request passes first: the id that ties a response to its log lines, and the limits of
//! its head.

use actix_cors::CorsError;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use uuid::Uuid;

use super::Door;
use super::code::Code;
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
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    Ok(response)
}

/// What was said in the headers of an answer before it got its final form.
fn keep(said: HeaderMap, headers: &mut HeaderMap) {
    let new: Vec<_> = said.keys().filter(|name| !headers.contains_key(*name)).cloned().collect();
    for (name, value) in said.into_iter().filter(|(name, _)| new.contains(name)) {
        headers.append(name, value);
    }
}

/// A head that is larger than any honest one. Past 128 KiB the server itself answers 431.
fn head_problem(request: &ServiceRequest) -> Option<Problem> {
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
