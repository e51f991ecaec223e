//! What can be wrong with a request: for each operation, every status with the codes that it can
//! have there.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use utoipa::PartialSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::Example;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::AllOfBuilder;
use utoipa::openapi::{ComponentsBuilder, ObjectBuilder, Ref, RefOr, Schema, Type};

use super::examples;
use super::operation::{Operation, headed, header};
use crate::api::Code::{self, *};

const PROBLEM: &str = "application/problem+json";

/// With every request.
const ANY: &[Code] = &[
    MalformedRequest,
    OriginNotAllowed,
    RequestTimeout,
    UriTooLong,
    HeadersTooLarge,
    InternalError,
    TooManyConnections,
];
/// Where an API key may be needed.
const ACCESS: &[Code] = &[ConflictingCredentials, Unauthorized, ScopeMissing, RateLimited];
/// Where a body is read.
pub(super) const BODY: &[Code] = &[
    InvalidJson,
    BrokenBody,
    InvalidRequest,
    UnknownField,
    BodyTooLarge,
    UnsupportedMediaType,
    Draining,
];
/// Where the body is a script and what belongs to it.
pub(super) const SCRIPT: &[Code] = &[
    InvalidForm,
    MissingField,
    ConflictingFields,
    InvalidPath,
    InvalidImage,
    UnknownLanguage,
    UnknownRuntime,
    UnknownResources,
    LimitExceeded,
    PayloadTooLarge,
    ImageNotAllowed,
    InvalidIdempotencyKey,
    IdempotencyConflict,
    TooManyExecutions,
    NoSpace,
];
/// Where the script runs before the answer.
pub(super) const RUNS: &[Code] =
    &[Cancelled, FilesRefused, QueueFull, ContainerLost, QueueTimeout, Interrupted];
/// Where an image is had.
pub(super) const IMAGE: &[Code] = &[
    ImageNotFound,
    ImageUnsupported,
    ContainerNotMade,
    RegistryAuth,
    ImageCorrupt,
    EngineUnavailable,
    RegistryUnavailable,
    EngineTimeout,
    RegistryTimeout,
    NoSpace,
];
/// Where images are looked after.
pub(super) const STORE: &[Code] =
    &[ImageUnsupported, ContainerNotMade, ImageCorrupt, EngineUnavailable, EngineTimeout, NoSpace];

/// What the operation can answer instead.
pub(super) fn by_status(operation: &Operation) -> BTreeMap<StatusCode, Vec<Code>> {
    let access = if operation.scope.is_some() { ACCESS } else { &[] };
    let mut statuses = BTreeMap::<_, Vec<_>>::new();
    for code in Code::ALL {
        if [ANY, access, &operation.refusals].iter().any(|codes| codes.contains(code)) {
            statuses.entry(code.status()).or_default().push(*code);
        }
    }
    statuses
}

/// The same as responses: those with one code stand in one place for all operations.
pub(super) fn responses(operation: &Operation) -> Vec<(String, RefOr<Response>)> {
    by_status(operation)
        .into_iter()
        .map(|(status, codes)| {
            let response = match *codes {
                [code] => Ref::from_response_name(code.name()).into(),
                _ => {
                    let examples = examples::answers(operation.id, status.as_u16(), PROBLEM);
                    response(status, &codes, examples).into()
                }
            };
            (status.as_str().to_owned(), response)
        })
        .collect()
}

/// The responses that stand in one place.
pub(super) fn add(components: ComponentsBuilder, operations: &[Operation]) -> ComponentsBuilder {
    let alone = |codes: Vec<Code>| if let [code] = *codes { Some(code) } else { None };
    let codes: Vec<_> =
        operations.iter().flat_map(|operation| by_status(operation).into_values()).collect();
    codes.into_iter().filter_map(alone).fold(components, |components, code| {
        components.response(code.name(), response(code.status(), &[code], []))
    })
}

fn response(
    status: StatusCode,
    codes: &[Code],
    examples: impl IntoIterator<Item = (String, Example)>,
) -> Response {
    let lines = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.meaning()));
    let text = |what, example: &str| {
        header(what, ObjectBuilder::new().schema_type(Type::String).examples([example]).build())
    };
    let content = ContentBuilder::new().schema(Some(problem(status, codes)));
    let content = content.examples_from_iter(examples);
    let response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join("\n\n"))
        .content(PROBLEM, content.build());
    let response = headed(response, codes.contains(&RateLimited));
    match status {
        StatusCode::UNAUTHORIZED => {
            response.header("WWW-Authenticate", text("How to say who is asking.", "Bearer"))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
            response
                .header("Retry-After", header("Seconds until another try is worth it.", seconds))
        }
        _ => response,
    }
    .build()
}

/// A problem document with one of these codes.
fn problem(status: StatusCode, codes: &[Code]) -> Schema {
    let status =
        ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status.as_u16()]));
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().map(|code| code.name())));
    let these = ObjectBuilder::new().schema_type(Type::Object);
    let these = these.property("status", status.build()).property("code", code.build());
    AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(these.build()).build().into()
}

/// Every code, with what it means.
impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let lines = Self::ALL.iter().map(|code| {
            format!("* `{}` ({}): {}", code.name(), code.status().as_u16(), code.meaning())
        });
        let about = format!(
            "Why there is no answer, as a stable word:\n\n{}",
            lines.collect::<Vec<_>>().join("\n")
        );
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(about))
            .enum_values(Some(Self::ALL.iter().map(|code| code.name())))
            .into()
    }
}

impl utoipa::ToSchema for Code {}
