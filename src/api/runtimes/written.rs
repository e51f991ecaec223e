//! A runtime as it is written, in the operator's file and in a request, to one that is valid.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::dto::{env, image, invalid, language, read_json};
use crate::api::fields::{Pairs, given, given_count, given_seconds};
use crate::api::openapi::fields as schema;
use crate::api::{Code, Problem};
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::{AskedLimits, check_env};
use crate::execution::runtime::{MAX_ENV_BYTES, Name, Runtime};

/// Characters of what is for people, at most.
pub(in crate::api) const MAX_LINE: usize = 200;
pub(in crate::api) const MAX_DESCRIPTION: usize = 4000;

/// What a runtime is, before it is held against the rules of each field.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(
    as = RuntimeRequest,
    description = "An image with what scripts in it usually need, under a name."
)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct WrittenRuntime {
    #[schema(schema_with = schema::runtime_name)]
    name: String,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::display_name, required = false)]
    display_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::description, required = false)]
    description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::version, required = false)]
    version: Option<String>,
    #[schema(schema_with = schema::runtime_image)]
    image: String,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::language, required = false)]
    language: Option<String>,
    #[serde(default)]
    #[schema(schema_with = schema::runtime_env, required = false)]
    env: Pairs,
    #[serde(default, deserialize_with = "given_seconds")]
    #[schema(schema_with = schema::timeout, required = false)]
    timeout: Option<Seconds>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::memory_limit, required = false)]
    memory_limit: Option<Size>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::cpu_limit, required = false)]
    cpu_limit: Option<Cpu>,
    #[serde(default, deserialize_with = "given_count")]
    #[schema(schema_with = schema::pids_limit, required = false)]
    pids_limit: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::tmp_size, required = false)]
    tmp_size: Option<Size>,
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schema::output_limit, required = false)]
    output_limit: Option<Size>,
    #[serde(default, deserialize_with = "given_count")]
    #[schema(schema_with = schema::pool, required = false)]
    pool: Option<u32>,
}

/// A template as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct WrittenLimits {
    #[serde(deserialize_with = "given_seconds")]
    timeout: Option<Seconds>,
    #[serde(deserialize_with = "given")]
    memory_limit: Option<Size>,
    #[serde(deserialize_with = "given")]
    cpu_limit: Option<Cpu>,
    #[serde(deserialize_with = "given_count")]
    pids_limit: Option<u32>,
    #[serde(deserialize_with = "given")]
    tmp_size: Option<Size>,
    #[serde(deserialize_with = "given")]
    output_limit: Option<Size>,
}

impl From<WrittenLimits> for AskedLimits {
    fn from(written: WrittenLimits) -> Self {
        Self {
            timeout: written.timeout.map(|Seconds(time)| time),
            memory: written.memory_limit.map(|Size(bytes)| bytes),
            cpu_millis: written.cpu_limit.map(|Cpu(millis)| millis),
            pids: written.pids_limit,
            tmp: written.tmp_size.map(|Size(bytes)| bytes),
            output: written.output_limit.map(|Size(bytes)| bytes),
        }
    }
}

impl WrittenRuntime {
    /// Reads a JSON document.
    ///
    /// # Errors
    /// 400 with the field's path.
    pub(in crate::api) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        read_json(body)
    }
}

impl TryFrom<WrittenRuntime> for Runtime {
    type Error = Problem;

    fn try_from(written: WrittenRuntime) -> Result<Self, Problem> {
        let env = env(written.env)?;
        check_env(&env).map_err(|rule| invalid("env", rule))?;
        let bytes: usize = env.iter().map(|(n, v)| n.as_str().len() + v.as_str().len()).sum();
        if bytes > MAX_ENV_BYTES {
            let rule = format!("it takes {bytes} bytes, the most is {MAX_ENV_BYTES}");
            return Err(invalid("env", rule));
        }
        let limits = WrittenLimits {
            timeout: written.timeout,
            memory_limit: written.memory_limit,
            cpu_limit: written.cpu_limit,
            pids_limit: written.pids_limit,
            tmp_size: written.tmp_size,
            output_limit: written.output_limit,
        };
        Ok(Self {
            name: written.name.parse::<Name>().map_err(|e| invalid("name", e))?,
            display_name: line("display_name", written.display_name)?,
            description: text("description", written.description, MAX_DESCRIPTION, |c| c == '\n')?,
            version: line("version", written.version)?,
            image: image(written.image)?,
            language: written.language.map(language).transpose()?,
            env,
            limits: limits.into(),
            pool: written.pool.map_or(0, |count| count as usize),
        })
    }
}

fn line(field: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    self::text(field, text, MAX_LINE, |_| false)
}

/// What people read: without anything that would do more to a terminal than to be shown.
fn text(
    field: &str,
    text: Option<String>,
    most: usize,
    also: impl Fn(char) -> bool,
) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let count = text.chars().count();
    if text.trim().is_empty() || count > most {
        let rule = format!("{count} characters are there; write 1 to {most}, or leave it out");
        return Err(Problem::field(Code::InvalidRequest, field, rule));
    }
    match text.chars().find(|c| c.is_control() && !also(*c)) {
        Some(control) => {
            let rule = format!("it holds the control character {control:?}");
            Err(Problem::field(Code::InvalidRequest, field, rule))
        }
        None => Ok(Some(text)),
    }
}
