//! The types, and where they are more than their fields say.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, RefOr, Schema};

use super::future::{Event, Execution, Executions, asynchronous};
use crate::api::answer::Answer;
use crate::api::dto::{ExecuteRequest, PullRequest, RequestFile};
use crate::api::images::document::{
    DetailsDocument, Images, ProgressDocument, PulledDocument, RemovedDocument,
};
use crate::api::languages::Languages;
use crate::api::problem::Document;
use crate::api::system::{Health, Ready};

type Schemas = BTreeMap<String, RefOr<Schema>>;

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = Schemas::new();
    for with in [
        with::<ExecuteRequest>,
        with::<RequestFile>,
        with::<Answer>,
        with::<Document>,
        with::<Event>,
        with::<Execution>,
        with::<Executions>,
        with::<Languages>,
        with::<Images>,
        with::<DetailsDocument>,
        with::<RemovedDocument>,
        with::<PullRequest>,
        with::<PulledDocument>,
        with::<ProgressDocument>,
        with::<Health>,
        with::<Ready>,
    ] {
        with(&mut schemas);
    }
    if let Some(request) = schemas.get("ExecuteRequest").cloned() {
        schemas.insert("ExecutionRequest".into(), asynchronous(request));
    }
    for (name, one, other) in [
        ("ExecuteRequest", "script", "script_base64"),
        ("ExecutionRequest", "script", "script_base64"),
        ("RequestFile", "content", "content_base64"),
    ] {
        if let Some(RefOr::T(Schema::Object(object))) = schemas.get_mut(name) {
            // Exactly one of the two, for which the builders have no word.
            let rule = json!([{"required": [one]}, {"required": [other]}]);
            object.extensions = Some([("oneOf", rule)].into_iter().collect());
        }
    }
    components.schemas_from_iter(schemas)
}

/// A type, and those it is made of.
fn with<T: ToSchema>(schemas: &mut Schemas) {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    schemas.extend(parts);
    schemas.insert(T::name().into_owned(), T::schema());
}
