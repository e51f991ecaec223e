//! Documents of executions in the background and of their events.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

use super::fields as schema;
use super::parameters::string;
use crate::api::answer::Answer;
use crate::api::follow::{Output, Started};
use crate::api::problem::Document as Problem;

/// A script that runs in the background. Times are as in RFC 3339.
#[derive(Serialize, ToSchema)]
pub(super) struct Execution {
    /// UUIDv7 (RFC 9562).
    #[schema(format = Uuid)]
    id: String,
    #[schema(schema_with = state)]
    state: &'static str,
    /// How many are served before, and itself; `null` while its image is pulled. Only of one that is
    /// `queued`.
    position: Option<u64>,
    #[schema(format = DateTime)]
    created: String,
    #[schema(format = DateTime, value_type = String, required = false)]
    started: Option<String>,
    #[schema(format = DateTime, value_type = String, required = false)]
    ended: Option<String>,
    /// What `POST /execute` would have answered, of one that has `ended`.
    #[schema(value_type = Answer, required = false)]
    result: Option<Answer>,
    /// Why there is no result, of one that has `failed` or was `interrupted`.
    #[schema(value_type = Problem, required = false)]
    problem: Option<Problem<'static>>,
}

fn state() -> utoipa::openapi::Object {
    schema::words(
        "`queued`; `running`; `ended` with a `result`; `failed` with a `problem`; `interrupted`, when \
         the service ended before it did; `cancelled` before it ran.",
        ["queued", "running", "ended", "failed", "interrupted", "cancelled"],
    )
}

/// Executions of the caller's own, the newest first, without their results.
#[derive(Serialize, ToSchema)]
pub(super) struct Executions {
    executions: Vec<Execution>,
    /// What to give as `after` for those that follow; `null` at the end.
    #[schema(required = true, format = Uuid)]
    next: Option<String>,
}

/// The data of one event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub(super) enum Event {
    Started(Started),
    Output(Output<'static>),
    Result(Box<Answer>),
    Error(Problem<'static>),
}

/// The request of `POST /executions`: that of `POST /execute`, with two fields more.
pub(super) fn asynchronous(request: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(request)) = request else { return request };
    let retry = ObjectBuilder::new().schema_type(Type::Boolean).description(Some(
        "Run it again when the service ended before it did; without it, it is `interrupted`.",
    ));
    let webhook = string().description(Some(
        "Where the document is sent when it is over; only to hosts of the operator's \
         `WEBHOOK_HOSTS`.",
    ));
    ObjectBuilder::from(request)
        .property("retry_on_interrupt", retry.build())
        .property("webhook", webhook.build())
        .into()
}
