//! What there is to say about runtimes and templates, in JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::openapi::fields as schema;
use crate::execution::request::{AskedLimits, env_texts};
use crate::execution::runtime::Runtime;
use crate::execution::runtime::catalogue::Entries;
use crate::registry::ChosenBy;

/// The body of `GET /runtimes`.
#[derive(Serialize, ToSchema)]
#[schema(description = "What `runtime` and `resources` of a request may name.")]
pub(in crate::api) struct RuntimeList {
    runtimes: Vec<RuntimeDocument>,
    resources: Vec<TemplateDocument>,
}

/// A template.
#[derive(Serialize, ToSchema)]
#[schema(as = Resources, description = "Limits under a name.")]
struct TemplateDocument {
    name: String,
    #[serde(flatten)]
    limits: LimitsDocument,
}

/// One runtime. What it does not say is left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Runtime, description = "A runtime; what it does not say is left out.")]
pub(in crate::api) struct RuntimeDocument {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    version: Option<String>,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    language: Option<&'static str>,
    env: BTreeMap<String, String>,
    #[serde(flatten)]
    limits: LimitsDocument,
    /// Containers of its image that wait at all times.
    pool: usize,
    #[schema(schema_with = schema::source)]
    source: &'static str,
}

/// Limits that are named. Seconds, bytes and cores.
#[derive(Serialize, ToSchema)]
#[schema(as = ResourceLimits, description = "Limits: seconds, bytes and cores.")]
pub(in crate::api) struct LimitsDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    cpu_limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    pids_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    tmp_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    output_limit: Option<u64>,
}

impl From<&Entries> for RuntimeList {
    fn from(entries: &Entries) -> Self {
        let templates = entries.templates().iter();
        Self {
            runtimes: entries.runtimes().map(|(r, by)| RuntimeDocument::new(r, by)).collect(),
            resources: templates
                .map(|(name, limits)| TemplateDocument {
                    name: name.to_string(),
                    limits: limits.into(),
                })
                .collect(),
        }
    }
}

impl RuntimeDocument {
    pub(super) fn new(runtime: &Runtime, chosen_by: ChosenBy) -> Self {
        Self {
            name: runtime.name.to_string(),
            display_name: runtime.display_name.clone(),
            description: runtime.description.clone(),
            version: runtime.version.clone(),
            image: runtime.image.to_string(),
            language: runtime.language.map(|language| language.name),
            env: env_texts(&runtime.env).collect(),
            limits: (&runtime.limits).into(),
            pool: runtime.pool,
            source: match chosen_by {
                ChosenBy::Operator => "file",
                ChosenBy::Request => "registered",
            },
        }
    }
}

impl From<&AskedLimits> for LimitsDocument {
    fn from(limits: &AskedLimits) -> Self {
        Self {
            timeout: limits.timeout.map(|time| time.as_secs_f64()),
            memory_limit: limits.memory,
            cpu_limit: limits.cpu_millis.map(|millis| f64::from(millis) / 1000.0),
            pids_limit: limits.pids,
            tmp_size: limits.tmp,
            output_limit: limits.output,
        }
    }
}
