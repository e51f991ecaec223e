//! The types, and where they are more than their fields say.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, RefOr, Schema};

use crate::api::answer::Answer;
use crate::api::dto::{ExecuteRequest, PullRequest, RequestFile};
use crate::api::executions::document::Page;
use crate::api::follow::{Output, Started};
use crate::api::images::document::{
    DetailsDocument, Images, ProgressDocument, PulledDocument, RemovedDocument,
};
use crate::api::languages::Languages;
use crate::api::problem::Document;
use crate::api::runtimes::document::{RuntimeDocument, RuntimeList};
use crate::api::runtimes::written::WrittenRuntime;
use crate::api::system::{Health, Ready};

/// Fields of an execution that outlives its request, which `POST /execute` refuses.
pub(super) const BEYOND: [&str; 2] = ["retry_on_interrupt", "webhook"];

type Schemas = BTreeMap<String, RefOr<Schema>>;

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = Schemas::new();
    for with in [
        with::<ExecuteRequest>,
        with::<RequestFile>,
        with::<Answer>,
        with::<Document>,
        with::<Started>,
        with::<Output>,
        with::<Page>,
        with::<Languages>,
        with::<Images>,
        with::<DetailsDocument>,
        with::<RemovedDocument>,
        with::<PullRequest>,
        with::<PulledDocument>,
        with::<ProgressDocument>,
        with::<WrittenRuntime>,
        with::<RuntimeDocument>,
        with::<RuntimeList>,
        with::<Health>,
        with::<Ready>,
    ] {
        with(&mut schemas);
    }
    if let Some(RefOr::T(Schema::Object(mut request))) = schemas.get("ExecutionRequest").cloned() {
        for beyond in BEYOND {
            request.properties.remove(beyond);
        }
        schemas.insert("ExecuteRequest".into(), request.into());
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
