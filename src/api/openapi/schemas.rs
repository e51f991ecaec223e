//! The types, and where they are more than their fields say.

use utoipa::openapi::schema::{AllOfBuilder, OneOfBuilder};
use utoipa::openapi::{ComponentsBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::PartialSchema;

use super::future::{Event, EventOutput, EventStarted, Execution, Executions, asynchronous};
use crate::api::answer::Answer;
use crate::api::dto::{ExecuteRequest, PullRequest, RequestFile};
use crate::api::images::document::{
    DetailsDocument, ImageDocument, Images, ProgressDocument, PulledDocument, RemovedDocument,
};
use crate::api::languages::Languages;
use crate::api::problem::Document;
use crate::api::system::{Health, Ready};

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    let components = components
        .schema_from::<Answer>()
        .schema_from::<Document>()
        .schema_from::<Health>()
        .schema_from::<Ready>()
        .schema_from::<Images>()
        .schema_from::<ImageDocument>()
        .schema_from::<DetailsDocument>()
        .schema_from::<RemovedDocument>()
        .schema_from::<PulledDocument>()
        .schema_from::<ProgressDocument>()
        .schema_from::<PullRequest>()
        .schema_from::<Languages>()
        .schema_from::<Execution>()
        .schema_from::<Executions>()
        .schema_from::<EventStarted>()
        .schema_from::<EventOutput>()
        .schema_from::<Event>();
    let script = either("script", "script_base64");
    let content = either("content", "content_base64");
    let background = asynchronous(ExecuteRequest::schema());
    components
        .schema("ExecuteRequest", both(ExecuteRequest::schema(), script.clone()))
        .schema("ExecutionRequest", both(background, script))
        .schema("RequestFile", both(RequestFile::schema(), content))
}

/// Exactly one of two fields.
fn either(one: &str, other: &str) -> Schema {
    let with = |name: &str| ObjectBuilder::new().schema_type(Type::Object).required(name).build();
    OneOfBuilder::new().item(with(one)).item(with(other)).build().into()
}

/// A type's fields, and a rule about them.
fn both(fields: RefOr<Schema>, rule: Schema) -> Schema {
    AllOfBuilder::new().item(fields).item(rule).build().into()
}
