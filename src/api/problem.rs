//! The one place that turns failures into responses: problem documents (RFC 9457).

use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use super::request_id::RequestId;
use crate::engine::EngineError;
use crate::execution::admission::BusyCode;
use crate::execution::{Failure, Rejection, RejectionCode};
use crate::registry::{ImageError, ImageErrorKind};

/// How long a caller should wait before another try when we can't say better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", code.name())]
pub struct Problem {
    /// A stable word for programs, and the status with it.
    pub code: Code,
    /// A sentence for people. Never names paths of this host or repeats a daemon's words.
    pub detail: String,
    /// The path of the request's field that is wrong, such as `files[2].path`.
    pub field: Option<String>,
    pub header: Option<Header>,
    /// What really happened, where that is our fault: for the log only.
    pub fault: Option<String>,
    /// The log has it already, in an execution's line.
    pub logged: bool,
}

/// What a problem says in a header of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// For 429 and 503.
    RetryAfter(Duration),
    /// The methods an address knows, for 405.
    Allow(&'static str),
    /// How to say who one is, for 401.
    Challenge(&'static str),
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, header: None, fault: None, logged: false }
    }

    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// A field of the request that the caller must change.
    pub fn field(code: Code, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(code, detail) }
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing at this address")
    }

    pub fn method_not_allowed(method: &Method, allow: &'static str) -> Self {
        let detail = format!("this address takes {allow}, not {method}");
        Self { header: Some(Header::Allow(allow)), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// The same for every key that is not valid, so that nothing can be learnt from it.
    pub fn unauthorized() -> Self {
        let detail = "this needs a valid API key, as `Authorization: Bearer …`";
        let challenge = Some(Header::Challenge("Bearer"));
        Self { header: challenge, ..Self::new(Code::Unauthorized, detail) }
    }

    pub fn rate_limited(retry_after: Duration) -> Self {
        let detail = "you have sent more requests than your rate allows";
        Self::new(Code::RateLimited, detail).retry(retry_after)
    }

    pub fn origin_not_allowed() -> Self {
        let detail = "the operator allows no page of this origin to ask this";
        Self::new(Code::OriginNotAllowed, detail)
    }

    pub fn body_too_large(most: usize) -> Self {
        let detail = format!(
            "the request body is larger than {most} bytes; the operator's MAX_BODY sets that"
        );
        Self::new(Code::BodyTooLarge, detail)
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(Code::UnsupportedMediaType, detail)
    }

    pub fn draining() -> Self {
        busy(BusyCode::Draining, RETRY_AFTER)
    }

    /// As many connections are open as there may be, of all or of one caller.
    pub fn too_many_connections() -> Self {
        let detail = "as many connections as there may be are open";
        Self::new(Code::TooManyConnections, detail).retry(RETRY_AFTER)
    }

    /// As many executions as may wait in the background do so.
    pub fn too_many_executions() -> Self {
        let detail = "as many executions as may wait in the background do so already; the \
                      operator's MAX_BACKGROUND sets that";
        Self::new(Code::TooManyExecutions, detail).retry(Duration::from_secs(5))
    }

    /// As many clients as may wait for pulls do so.
    pub fn too_many_pulls() -> Self {
        let detail = "as many pulls as may be waited for at once go on already";
        Self::new(Code::TooManyPulls, detail).retry(Duration::from_secs(5))
    }

    /// Scripts would run, only not yet at the speed that they will.
    pub fn pool_filling() -> Self {
        let detail = "containers that are to wait for their scripts are still being made";
        Self::new(Code::PoolFilling, detail).retry(Duration::from_secs(1))
    }

    /// An execution that somebody did not want any more before its script ran.
    pub fn cancelled() -> Self {
        Self::new(Code::Cancelled, "the execution was cancelled before its script ran")
    }

    /// An execution that the service's own end has ended.
    pub fn interrupted() -> Self {
        let detail = "the service ended before the execution did; send it again";
        Self::new(Code::Interrupted, detail).retry(RETRY_AFTER)
    }

    /// A script that ran, whose outcome can't be kept.
    pub fn no_room() -> Self {
        let detail = "there is no room to keep what the execution printed and wrote; the \
                      operator's RESULT_STORE_SIZE sets that";
        Self::new(Code::NoSpace, detail)
    }

    /// Our own fault, for which there is nothing to tell the caller.
    pub fn internal(fault: impl Into<String>) -> Self {
        let detail = "something failed inside the service; its log has the details";
        Self::new(Code::InternalError, detail).because(fault)
    }

    fn because(self, fault: impl Into<String>) -> Self {
        Self { fault: Some(fault.into()), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { header: Some(Header::RetryAfter(after)), ..self }
    }

    /// The response, for the request with this id.
    pub fn respond(&self, request_id: &RequestId) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        match self.header {
            // Whole seconds, rounded up: never earlier than meant, never 0.
            Some(Header::RetryAfter(after)) => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                response.insert_header((header::RETRY_AFTER, seconds.max(1)));
            }
            Some(Header::Allow(methods)) => {
                response.insert_header((header::ALLOW, methods));
            }
            Some(Header::Challenge(scheme)) => {
                response.insert_header((header::WWW_AUTHENTICATE, scheme));
            }
            None => {}
        }
        response.content_type("application/problem+json").json(self.document(request_id))
    }

    /// What stands in the response to the request with this id.
    pub fn document<'a>(&'a self, request_id: &'a RequestId) -> impl Serialize + 'a {
        Document {
            r#type: "about:blank",
            title: self.status().canonical_reason().unwrap_or_default(),
            status: self.status().as_u16(),
            code: self.code,
            detail: &self.detail,
            field: self.field.as_deref(),
            request_id: request_id.as_str(),
            success: false,
            error: &self.detail,
        }
    }
}

/// The document's shape: RFC 9457's members, ours, and two for plain clients.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, description = "Why there is no answer (RFC 9457).")]
pub(super) struct Document<'a> {
    r#type: &'static str,
    /// The HTTP status in words.
    title: &'a str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    code: Code,
    /// A sentence for people.
    detail: &'a str,
    /// The path of the request's field that is wrong, such as `files[2].path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    field: Option<&'a str>,
    /// As in `X-Request-Id`; our log tells more under this id.
    request_id: &'a str,
    /// `false`, for clients that look for nothing else.
    success: bool,
    /// The same as `detail`.
    error: &'a str,
}

/// Lets handlers return problems. The middleware renders them again, with the request's id.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.respond(&RequestId::new())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Busy { code, retry_after } => busy(code, retry_after),
            Failure::Cancelled => Self::cancelled(),
            Failure::Interrupted => Self::interrupted(),
            Failure::NoRoom => Self::no_room(),
            Failure::Image(error) => image(error),
            Failure::Engine(error) => engine(error),
            Failure::Internal(fault) => Self::internal(fault),
        }
    }
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        image(error)
    }
}

impl From<Rejection> for Problem {
    fn from(Rejection { code, field, detail }: Rejection) -> Self {
        let code = match code {
            RejectionCode::InvalidRequest => Code::InvalidRequest,
            RejectionCode::InvalidPath => Code::InvalidPath,
            RejectionCode::LimitExceeded => Code::LimitExceeded,
            RejectionCode::PayloadTooLarge => Code::PayloadTooLarge,
            RejectionCode::FilesRefused => Code::FilesRefused,
            RejectionCode::UnknownRuntime => Code::UnknownRuntime,
            RejectionCode::UnknownResources => Code::UnknownResources,
        };
        Self::field(code, field, detail)
    }
}

fn busy(code: BusyCode, retry_after: Duration) -> Problem {
    let (code, detail) = match code {
        BusyCode::QueueFull => (Code::QueueFull, "too many requests wait already"),
        BusyCode::QueueTimeout => (Code::QueueTimeout, "no container came free in time"),
        BusyCode::Draining => (Code::Draining, "the service is stopping"),
    };
    Problem::new(code, detail).retry(retry_after)
}

fn image(error: ImageError) -> Problem {
    use ImageErrorKind as Kind;
    let code = match error.kind {
        Kind::NotAllowed => Code::ImageNotAllowed,
        Kind::NotFound => Code::ImageNotFound,
        Kind::Auth => Code::RegistryAuth,
        Kind::Timeout => Code::RegistryTimeout,
        Kind::Unavailable => Code::RegistryUnavailable,
        Kind::Corrupt => Code::ImageCorrupt,
        Kind::Unsupported => Code::ImageUnsupported,
        Kind::NoSpace => Code::NoSpace,
        Kind::InUse => Code::ImageInUse,
        Kind::EngineAway | Kind::EngineSlow | Kind::EngineFailed => return engine(error.into()),
    };
    let problem = Problem::field(code, "image", error.to_string());
    let problem = match problem.status() {
        StatusCode::SERVICE_UNAVAILABLE => problem.retry(error.retry_after.unwrap_or(RETRY_AFTER)),
        _ => problem,
    };
    if error.cause.is_empty() { problem } else { problem.because(error.cause) }
}

fn engine(error: EngineError) -> Problem {
    let ours = |code, detail: &str| Problem::new(code, detail).because(error.to_string());
    match &error {
        EngineError::Unfit(unfit) => image(unfit.clone()),
        EngineError::Unavailable(_) => ours(
            Code::EngineUnavailable,
            "the engine that makes the containers does not answer; try again later",
        )
        .retry(RETRY_AFTER),
        EngineError::Slow(_) => {
            ours(Code::EngineTimeout, "the engine that makes the containers took too long")
        }
        EngineError::Make(_) => {
            ours(Code::ContainerNotMade, "no container could be made with every limit in force")
        }
        EngineError::Lost(_) | EngineError::Protocol(_) => ours(
            Code::ContainerLost,
            "the container went away under the script, through no fault of the script's",
        ),
        EngineError::FileRefused { path, reason } => {
            Problem::field(Code::FilesRefused, "files", format!("{path}: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    async fn document(problem: Problem) -> (HttpResponse<()>, serde_json::Value) {
        let id = RequestId::accept("test-1").expect("valid");
        let (head, body) = problem.respond(&id).into_parts();
        let body = to_bytes(body).await.expect("in memory");
        (head, serde_json::from_slice(&body).expect("JSON"))
    }

    #[actix_web::test]
    async fn a_rejection_names_code_field_and_way_out() {
        let detail = "600 s is more than the ceiling of 300 s".to_owned();
        let rejection = Rejection { code: RejectionCode::LimitExceeded, field: "timeout", detail };
        let (head, body) = document(rejection.into()).await;
        assert_eq!(head.headers().get("content-type").unwrap(), "application/problem+json");
        insta::assert_json_snapshot!(body);
    }

    #[actix_web::test]
    async fn busy_says_when_to_come_back() {
        let busy = |code| Failure::Busy { code, retry_after: Duration::from_millis(1200) };
        let (head, _) = document(busy(BusyCode::QueueFull).into()).await;
        assert_eq!(head.status().as_u16(), 429);
        assert_eq!(head.headers().get("retry-after").unwrap(), "2");
        let (head, _) = document(busy(BusyCode::QueueTimeout).into()).await;
        assert_eq!(head.status().as_u16(), 503);
        let (head, body) = document(Problem::draining()).await;
        assert_eq!((head.status().as_u16(), body["code"].as_str()), (503, Some("draining")));
    }

    #[actix_web::test]
    async fn engine_errors_keep_their_text_to_themselves() {
        let secret = || "/var/lib/secret: daemon says no".to_owned();
        let cases = [
            (EngineError::Unavailable(secret()), 503),
            (EngineError::Slow(secret()), 504),
            (EngineError::Make(secret()), 502),
            (EngineError::Lost(secret()), 502),
            (EngineError::Protocol(secret()), 502),
        ];
        for (error, status) in cases {
            let problem = Problem::from(Failure::Engine(error));
            assert!(problem.fault.as_ref().is_some_and(|fault| fault.contains("secret")));
            let (head, body) = document(problem).await;
            assert_eq!(head.status().as_u16(), status);
            assert!(!body.to_string().contains("secret"), "{body}");
            assert_eq!(head.headers().contains_key("retry-after"), status == 503);
        }
    }

    #[actix_web::test]
    async fn every_failure_of_an_image_has_its_own_code() {
        use ImageErrorKind as Kind;
        for (kind, status, code) in [
            (Kind::NotAllowed, 403, "image_not_allowed"),
            (Kind::NotFound, 404, "image_not_found"),
            (Kind::Auth, 502, "registry_auth"),
            (Kind::Timeout, 504, "registry_timeout"),
            (Kind::Unavailable, 503, "registry_unavailable"),
            (Kind::Corrupt, 502, "image_corrupt"),
            (Kind::Unsupported, 422, "image_unsupported"),
            (Kind::NoSpace, 507, "no_space"),
            (Kind::InUse, 409, "image_in_use"),
            (Kind::EngineAway, 503, "engine_unavailable"),
            (Kind::EngineSlow, 504, "engine_timeout"),
            (Kind::EngineFailed, 502, "container_not_made"),
        ] {
            let error = ImageError::new(kind, "image a:1 and why", "/var/lib/secret");
            let error = ImageError { retry_after: Some(Duration::from_secs(7)), ..error };
            let problem = Problem::from(error);
            assert!(problem.fault.as_ref().is_some_and(|fault| fault.contains("secret")));
            let (head, body) = document(problem).await;
            assert_eq!((head.status().as_u16(), body["code"].as_str()), (status, Some(code)));
            assert!(!body.to_string().contains("secret"), "{body}");
            assert_eq!(head.headers().contains_key("retry-after"), status == 503);
            if code == "registry_unavailable" {
                assert_eq!(head.headers().get("retry-after").unwrap(), "7");
            }
        }
    }

    #[actix_web::test]
    async fn images_and_files_are_the_callers_to_change() {
        let reference: crate::registry::Reference = "nowhere:1".parse().expect("valid");
        let missing = Problem::from(Failure::Image(ImageError::not_found(&reference)));
        assert_eq!((missing.status().as_u16(), missing.code), (404, Code::ImageNotFound));
        let wrong = Failure::Image(ImageError::unsupported(&reference, "it is for windows"));
        assert_eq!(Problem::from(wrong).status().as_u16(), 422);
        let unfit =
            EngineError::Unfit(ImageError::unsupported(&reference, "its /tmp is no folder"));
        let unfit = Problem::from(Failure::from(unfit));
        assert_eq!((unfit.status().as_u16(), unfit.code), (422, Code::ImageUnsupported));
        let file = EngineError::FileRefused { path: "a/b".into(), reason: "no space".into() };
        let file = Problem::from(Failure::Engine(file));
        assert_eq!((file.status().as_u16(), file.code), (422, Code::FilesRefused));
    }
}
