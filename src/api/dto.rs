//! The request of `POST /execute`, from either encoding to a valid [`Execution`].

use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::code::Code;
use super::fields::{
    Object, Pairs, given, given_base64, given_bytes, given_count, given_seconds, list, objects,
};
use super::openapi::fields as schema;
use super::problem::Problem;
use crate::execution::language::Language;
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::{
    Arg, AskedLimits, EnvName, EnvValue, Execution, InputFile, Invalid, MAX_ARGS, MAX_FILES,
    MAX_OUTPUTS, Pattern, RelativePath,
};
use crate::execution::runtime::Names;
use crate::registry::{PullPolicy, Reference};

/// What a request says, before it is held against the rules of each field. An absent field is
/// `None`; JSON's `null` is refused, so that nothing is accepted and ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(
    as = ExecutionRequest,
    description = "One script and how to run it. A field that is not listed is refused, and so is `null`."
)]
#[serde(deny_unknown_fields, default)]
pub struct ExecuteRequest {
    #[serde(deserialize_with = "given_bytes")]
    #[schema(schema_with = schema::script, required = false)]
    pub script: Option<Bytes>,
    #[serde(deserialize_with = "given_base64")]
    #[schema(schema_with = schema::script_base64, required = false)]
    pub script_base64: Option<Bytes>,
    #[serde(deserialize_with = "given_bytes")]
    #[schema(schema_with = schema::stdin, required = false)]
    pub stdin: Option<Bytes>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::runtime, required = false)]
    pub runtime: Option<String>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::image, required = false)]
    pub image: Option<String>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::pull_policy, required = false)]
    pub pull_policy: Option<String>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::language, required = false)]
    pub language: Option<String>,
    #[serde(deserialize_with = "list::<_, _, MAX_ARGS>")]
    #[schema(schema_with = schema::args, required = false)]
    pub args: Vec<String>,
    #[schema(schema_with = schema::env, required = false)]
    pub env: Pairs,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::forward_env, required = false)]
    pub forward_env: Option<bool>,
    #[serde(deserialize_with = "objects::<_, _, MAX_FILES>")]
    #[schema(schema_with = schema::files, required = false)]
    pub files: Vec<RequestFile>,
    #[serde(deserialize_with = "list::<_, _, MAX_OUTPUTS>")]
    #[schema(schema_with = schema::outputs, required = false)]
    pub outputs: Vec<String>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::resources, required = false)]
    pub resources: Option<String>,
    #[serde(deserialize_with = "given_seconds")]
    #[schema(schema_with = schema::timeout, required = false)]
    pub timeout: Option<Seconds>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::memory_limit, required = false)]
    pub memory_limit: Option<Size>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::cpu_limit, required = false)]
    pub cpu_limit: Option<Cpu>,
    #[serde(deserialize_with = "given_count")]
    #[schema(schema_with = schema::pids_limit, required = false)]
    pub pids_limit: Option<u32>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::tmp_size, required = false)]
    pub tmp_size: Option<Size>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::output_limit, required = false)]
    pub output_limit: Option<Size>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::retry_on_interrupt, required = false)]
    pub retry_on_interrupt: Option<bool>,
    #[serde(deserialize_with = "given")]
    #[schema(schema_with = schema::webhook, required = false)]
    pub webhook: Option<String>,
}

/// What a request says of an execution that outlives it.
#[derive(Debug, Default)]
pub struct Beyond {
    pub retry_on_interrupt: Option<bool>,
    pub webhook: Option<String>,
}

impl Beyond {
    /// For an address that takes nothing of it.
    ///
    /// # Errors
    /// 400 with the field that is there.
    pub fn refuse(&self) -> Result<(), Problem> {
        let field = match self {
            Self { retry_on_interrupt: Some(_), .. } => "retry_on_interrupt",
            Self { webhook: Some(_), .. } => "webhook",
            _ => return Ok(()),
        };
        let detail = format!("unknown field `{field}`; only POST /executions takes it");
        Err(Problem::field(Code::UnknownField, field, detail))
    }
}

/// One of `files`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(description = "A file, with its content as text or in base64.")]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    #[schema(schema_with = schema::path)]
    pub path: String,
    #[serde(default, deserialize_with = "given_bytes")]
    #[schema(value_type = String, required = false)]
    pub content: Option<Bytes>,
    #[serde(default, deserialize_with = "given_base64")]
    #[schema(schema_with = schema::base64, required = false)]
    pub content_base64: Option<Bytes>,
    #[serde(default)]
    pub executable: bool,
}

impl ExecuteRequest {
    /// Reads a JSON document.
    ///
    /// # Errors
    /// 400 with line and column, and with the field's path where the document is JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, Problem> {
        read_json(body)
    }

    /// The script, what it calls by a name, and what is said of it beyond its run.
    ///
    /// # Errors
    /// 400 with the field that breaks its rule.
    pub fn valid(mut self) -> Result<(Execution, Names, Beyond), Problem> {
        if self.runtime.is_some() && self.image.is_some() {
            let detail = "give runtime or image, not both: a runtime has an image of its own";
            return Err(Problem::field(Code::ConflictingFields, "runtime", detail));
        }
        let names = Names { runtime: self.runtime.take(), resources: self.resources.take() };
        let beyond = Beyond {
            retry_on_interrupt: self.retry_on_interrupt.take(),
            webhook: self.webhook.take(),
        };
        Ok((self.execution()?, names, beyond))
    }
}

/// The body of `POST /images/pull`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(description = "The image to pull.")]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    #[schema(schema_with = schema::image)]
    image: String,
}

impl PullRequest {
    /// As [`ExecuteRequest::from_json`].
    pub fn from_json(body: &[u8]) -> Result<Self, Problem> {
        read_json(body)
    }

    /// What is to be pulled.
    pub fn reference(self) -> Result<Reference, Problem> {
        image(self.image)
    }
}

pub(super) fn read_json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Object(request) = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|e| not_understood(field_at(e.path()), e.inner()))?;
    deserializer.end().map_err(|e| not_understood(None, &e))?;
    Ok(request)
}

/// The field that a path leads to. The document as a whole is none; its path is written as that of a
/// field `.` is.
pub(super) fn field_at(path: &serde_path_to_error::Path) -> Option<String> {
    path.iter().next().map(|_| path.to_string())
}

fn not_understood(field: Option<String>, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        return Problem::new(Code::InvalidJson, format!("the body is not JSON: {text}"));
    }
    let detail = without_value(&text);
    let unknown = detail.starts_with("unknown field");
    let code = if unknown { Code::UnknownField } else { Code::InvalidRequest };
    Problem { field, ..Problem::new(code, detail) }
}

/// What a parser says. It repeats a value that it did not expect, which may be a part of a script,
/// and a name, which may be anything.
pub(super) fn without_value(text: &str) -> String {
    let unknown = text.strip_prefix("unknown field `");
    if let Some((name, expected)) = unknown.and_then(|rest| rest.rsplit_once("`, expected ")) {
        let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        return format!("unknown field `{name}`, expected {expected}");
    }
    match text.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ => text.to_owned(),
    }
}

impl ExecuteRequest {
    fn execution(self) -> Result<Execution, Problem> {
        let script = either("script", self.script, self.script_base64)?.ok_or_else(|| {
            Problem::field(Code::MissingField, "script", "there is no script to run")
        })?;
        let limits = AskedLimits {
            timeout: self.timeout.map(|s| s.0),
            memory: self.memory_limit.map(|s| s.0),
            cpu_millis: self.cpu_limit.map(|s| s.0),
            pids: self.pids_limit,
            tmp: self.tmp_size.map(|s| s.0),
            output: self.output_limit.map(|s| s.0),
        };
        Ok(Execution {
            id: Uuid::now_v7(),
            script,
            stdin: self.stdin,
            pull_policy: self.pull_policy.map(pull_policy).transpose()?,
            image: self.image.map(image).transpose()?,
            language: self.language.map(language).transpose()?,
            args: each("args", self.args, Arg::try_from)?,
            env: env(self.env)?,
            forward_env: self.forward_env.unwrap_or(true),
            files: files(self.files)?,
            outputs: each("outputs", self.outputs, Pattern::try_from)?,
            limits,
            runtime: None,
            resources: None,
        })
    }
}

pub(super) fn image(text: String) -> Result<Reference, Problem> {
    text.parse::<Reference>()
        .map_err(|e| Problem::field(Code::InvalidImage, "image", e.to_string()))
}

fn pull_policy(text: String) -> Result<PullPolicy, Problem> {
    text.parse::<PullPolicy>().map_err(|e| invalid("pull_policy", e))
}

pub(super) fn language(text: String) -> Result<Language, Problem> {
    Language::find(&text)
        .map_err(|e| Problem::field(Code::UnknownLanguage, "language", e.to_string()))
}

pub(super) fn env(Pairs(pairs): Pairs) -> Result<Vec<(EnvName, EnvValue)>, Problem> {
    let mut env = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let path = format!("env.{name}");
        let name = EnvName::try_from(name).map_err(|e| invalid("env", e))?;
        env.push((name, EnvValue::try_from(value).map_err(|e| invalid(path, e))?));
    }
    Ok(env)
}

fn files(files: Vec<RequestFile>) -> Result<Vec<InputFile>, Problem> {
    let checked = files.into_iter().enumerate().map(|(i, file)| {
        let path = RelativePath::try_from(file.path).map_err(|e| {
            Problem::field(Code::InvalidPath, format!("files[{i}].path"), e.to_string())
        })?;
        let field = format!("files[{i}].content");
        let content = either(&field, file.content, file.content_base64)?
            .ok_or_else(|| Problem::field(Code::MissingField, field, "the file has no content"))?;
        Ok(InputFile { path, content, executable: file.executable })
    });
    checked.collect()
}

/// A content that is given as it is or in base64, not both.
fn either(
    field: &str,
    plain: Option<Bytes>,
    base64: Option<Bytes>,
) -> Result<Option<Bytes>, Problem> {
    if plain.is_some() && base64.is_some() {
        let detail = format!("give {field} or {field}_base64, not both");
        return Err(Problem::field(Code::ConflictingFields, field, detail));
    }
    Ok(plain.or(base64))
}

fn each<T>(
    field: &str,
    texts: Vec<String>,
    valid: impl Fn(String) -> Result<T, Invalid>,
) -> Result<Vec<T>, Problem> {
    let checked = texts.into_iter().enumerate();
    checked.map(|(i, text)| valid(text).map_err(|e| invalid(format!("{field}[{i}]"), e))).collect()
}

pub(super) fn invalid(field: impl Into<String>, rule: impl ToString) -> Problem {
    Problem::field(Code::InvalidRequest, field, rule.to_string())
}

#[cfg(test)]
mod tests;
