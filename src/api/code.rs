//! The closed list of what can be wrong: a stable word for programs, and the HTTP status it has.

use actix_web::http::StatusCode;
use serde::Serialize;

/// Writes the list down once.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident $name:literal $status:ident,)+) => {
        /// Why there is no answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Code {
            $($(#[doc = $meaning])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every one of them, in the order of their statuses.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word for it in the API.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)+
                }
            }

            /// What it means, for the documentation.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    // Documentation comments begin with a space.
                    $(Self::$variant => concat!($($meaning),+).trim_start(),)+
                }
            }
        }
    };
}

codes! {
    /// The request is not HTTP/1.1 as it is read here.
    MalformedRequest "malformed_request" BAD_REQUEST,
    /// The body is not JSON.
    InvalidJson "invalid_json" BAD_REQUEST,
    /// The body is not a form.
    InvalidForm "invalid_form" BAD_REQUEST,
    /// The body broke off.
    BrokenBody "broken_body" BAD_REQUEST,
    /// A field breaks its rule.
    InvalidRequest "invalid_request" BAD_REQUEST,
    /// A field that there is not.
    UnknownField "unknown_field" BAD_REQUEST,
    /// A field that there must be.
    MissingField "missing_field" BAD_REQUEST,
    /// Two fields of which only one may be there.
    ConflictingFields "conflicting_fields" BAD_REQUEST,
    /// A file's path leaves the working directory, or two files need the same name.
    InvalidPath "invalid_path" BAD_REQUEST,
    /// The text is no image reference.
    InvalidImage "invalid_image" BAD_REQUEST,
    /// No language has this name.
    UnknownLanguage "unknown_language" BAD_REQUEST,
    /// No runtime has this name.
    UnknownRuntime "unknown_runtime" BAD_REQUEST,
    /// No template of resources has this name.
    UnknownResources "unknown_resources" BAD_REQUEST,
    /// More is asked for than the operator or the key allows.
    LimitExceeded "limit_exceeded" BAD_REQUEST,
    /// The script and its files do not fit into the container that is asked for.
    PayloadTooLarge "payload_too_large" BAD_REQUEST,
    /// The header `Idempotency-Key` breaks its rule.
    InvalidIdempotencyKey "invalid_idempotency_key" BAD_REQUEST,
    /// More than one `Authorization` header.
    ConflictingCredentials "conflicting_credentials" BAD_REQUEST,
    /// There is no valid API key.
    Unauthorized "unauthorized" UNAUTHORIZED,
    /// The API key does not allow this.
    ScopeMissing "scope_missing" FORBIDDEN,
    /// The operator does not allow pages of this origin to ask this.
    OriginNotAllowed "origin_not_allowed" FORBIDDEN,
    /// A rule of the operator's forbids this image.
    ImageNotAllowed "image_not_allowed" FORBIDDEN,
    /// A rule of the operator's forbids this webhook.
    WebhookNotAllowed "webhook_not_allowed" FORBIDDEN,
    /// There is nothing at this address.
    NotFound "not_found" NOT_FOUND,
    /// There is no such execution, or it is somebody else's.
    ExecutionNotFound "execution_not_found" NOT_FOUND,
    /// There is no such runtime.
    RuntimeNotFound "runtime_not_found" NOT_FOUND,
    /// No registry has this image, or none may be asked.
    ImageNotFound "image_not_found" NOT_FOUND,
    /// The address does not take this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED,
    /// The request did not arrive in time.
    RequestTimeout "request_timeout" REQUEST_TIMEOUT,
    /// Containers use the image.
    ImageInUse "image_in_use" CONFLICT,
    /// There is a runtime of this name.
    RuntimeExists "runtime_exists" CONFLICT,
    /// The operator's file has a runtime of this name, and only he can change it.
    RuntimeInFile "runtime_in_file" CONFLICT,
    /// As many runtimes as may be registered are.
    TooManyRuntimes "too_many_runtimes" CONFLICT,
    /// The idempotency key was used for another request.
    IdempotencyConflict "idempotency_conflict" CONFLICT,
    /// The execution was cancelled before its script ran.
    Cancelled "cancelled" CONFLICT,
    /// The request body is larger than the operator allows.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE,
    /// The address is too long.
    UriTooLong "uri_too_long" URI_TOO_LONG,
    /// The body is in none of the encodings that are read.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE,
    /// A file does not fit into the container.
    FilesRefused "files_refused" UNPROCESSABLE_ENTITY,
    /// The image can't be run here.
    ImageUnsupported "image_unsupported" UNPROCESSABLE_ENTITY,
    /// The caller has sent more requests than his rate allows.
    RateLimited "rate_limited" TOO_MANY_REQUESTS,
    /// Too many requests wait already.
    QueueFull "queue_full" TOO_MANY_REQUESTS,
    /// As many executions as may wait in the background do.
    TooManyExecutions "too_many_executions" TOO_MANY_REQUESTS,
    /// As many clients as may wait for pulls do.
    TooManyPulls "too_many_pulls" TOO_MANY_REQUESTS,
    /// The headers are too large.
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE,
    /// Something failed inside the service.
    InternalError "internal_error" INTERNAL_SERVER_ERROR,
    /// No container could be made with every limit in force.
    ContainerNotMade "container_not_made" BAD_GATEWAY,
    /// The container went away under the script.
    ContainerLost "container_lost" BAD_GATEWAY,
    /// The registry refuses the operator's credentials.
    RegistryAuth "registry_auth" BAD_GATEWAY,
    /// What the registry sent is not the image.
    ImageCorrupt "image_corrupt" BAD_GATEWAY,
    /// As many connections as there may be are open.
    TooManyConnections "too_many_connections" SERVICE_UNAVAILABLE,
    /// No container came free in time.
    QueueTimeout "queue_timeout" SERVICE_UNAVAILABLE,
    /// The service is stopping.
    Draining "draining" SERVICE_UNAVAILABLE,
    /// The service ended before the execution did.
    Interrupted "interrupted" SERVICE_UNAVAILABLE,
    /// Containers that are to wait are still being made.
    PoolFilling "pool_filling" SERVICE_UNAVAILABLE,
    /// The engine does not answer.
    EngineUnavailable "engine_unavailable" SERVICE_UNAVAILABLE,
    /// The registry does not answer.
    RegistryUnavailable "registry_unavailable" SERVICE_UNAVAILABLE,
    /// The engine took too long.
    EngineTimeout "engine_timeout" GATEWAY_TIMEOUT,
    /// The registry took too long.
    RegistryTimeout "registry_timeout" GATEWAY_TIMEOUT,
    /// There is no room for the image or the result.
    NoSpace "no_space" INSUFFICIENT_STORAGE,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_unique_and_in_the_order_of_their_statuses() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.status().as_u16()));
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
        assert_eq!(Code::InvalidJson.meaning(), "The body is not JSON.");
        let json = serde_json::to_value(Code::InvalidJson).expect("a word");
        assert_eq!(json, Code::InvalidJson.name());
    }
}
