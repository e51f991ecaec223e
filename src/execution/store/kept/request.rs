//! A request as it is kept.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::unreadable;
use crate::execution::language::Language;
use crate::execution::request::{AskedLimits, EnvName, EnvValue, Execution, InputFile, env_texts};
use crate::execution::runtime::InRuntime;
use crate::execution::store::StoreError;
use crate::registry::{ChosenBy, Reference};

#[derive(Serialize, Deserialize)]
pub(super) struct KeptRequest {
    script: ByteBuf,
    stdin: Option<ByteBuf>,
    image: Option<String>,
    pull_policy: Option<String>,
    language: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Left out where it is as usual, so that what was kept without it means the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_forward_env: bool,
    files: Vec<KeptInput>,
    outputs: Vec<String>,
    timeout: Option<Duration>,
    memory: Option<u64>,
    cpu_millis: Option<u32>,
    pids: Option<u32>,
    tmp: Option<u64>,
    output: Option<u64>,
    /// Left out where none was named, so that what was kept before there were runtimes is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<KeptInRuntime>,
}

/// The runtime that it is in. What it has brought along is among the request's own.
#[derive(Serialize, Deserialize)]
struct KeptInRuntime {
    name: String,
    /// The image is the operator's choice.
    operators: bool,
    has_env: bool,
    #[serde(flatten)]
    limits: KeptLimits,
}

/// Limits that something names.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptLimits {
    #[serde(default)]
    timeout: Option<Duration>,
    #[serde(default)]
    memory: Option<u64>,
    #[serde(default)]
    cpu_millis: Option<u32>,
    #[serde(default)]
    pids: Option<u32>,
    #[serde(default)]
    tmp: Option<u64>,
    #[serde(default)]
    output: Option<u64>,
}

impl From<AskedLimits> for KeptLimits {
    fn from(limits: AskedLimits) -> Self {
        let AskedLimits { timeout, memory, cpu_millis, pids, tmp, output } = limits;
        Self { timeout, memory, cpu_millis, pids, tmp, output }
    }
}

impl From<KeptLimits> for AskedLimits {
    fn from(limits: KeptLimits) -> Self {
        let KeptLimits { timeout, memory, cpu_millis, pids, tmp, output } = limits;
        Self { timeout, memory, cpu_millis, pids, tmp, output }
    }
}

#[derive(Serialize, Deserialize)]
struct KeptInput {
    path: String,
    content: ByteBuf,
    executable: bool,
}

impl From<&Execution> for KeptRequest {
    fn from(execution: &Execution) -> Self {
        let bytes = |bytes: &Bytes| ByteBuf::from(bytes.to_vec());
        let limits = execution.asked_limits();
        Self {
            script: bytes(&execution.script),
            stdin: execution.stdin.as_ref().map(bytes),
            image: execution.image.as_ref().map(written),
            pull_policy: execution.pull_policy.map(|policy| policy.to_string()),
            language: execution.language.map(|language| language.name.to_owned()),
            args: execution.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
            env: env_texts(&execution.env).collect(),
            no_forward_env: !execution.forward_env,
            files: execution
                .files
                .iter()
                .map(|file| KeptInput {
                    path: file.path.as_str().to_owned(),
                    content: bytes(&file.content),
                    executable: file.executable,
                })
                .collect(),
            outputs: execution.outputs.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            timeout: limits.timeout,
            memory: limits.memory,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            tmp: limits.tmp,
            output: limits.output,
            runtime: execution.runtime.as_ref().map(|runtime| KeptInRuntime {
                name: runtime.name.to_string(),
                operators: runtime.chosen_by == ChosenBy::Operator,
                has_env: runtime.has_env,
                limits: runtime.limits.into(),
            }),
        }
    }
}

impl KeptInRuntime {
    fn restore(self) -> Result<InRuntime, StoreError> {
        let Self { name, operators, has_env, limits } = self;
        let chosen_by = if operators { ChosenBy::Operator } else { ChosenBy::Request };
        let name = name.parse().map_err(unreadable)?;
        Ok(InRuntime { name, chosen_by, limits: limits.into(), has_env })
    }
}

/// In the form that is read as the same name, the registry left out where it was left out.
pub(super) fn written(reference: &Reference) -> String {
    if reference.is_unqualified() { reference.to_string() } else { reference.full() }
}

impl KeptRequest {
    pub(super) fn restore(self, id: Uuid) -> Result<Execution, StoreError> {
        let bytes = |bytes: ByteBuf| Bytes::from(bytes.into_vec());
        let parsed = |image: String| image.parse::<Reference>().map_err(unreadable);
        let policy = |policy: String| policy.parse().map_err(unreadable);
        let language = |name: String| Language::find(&name).map_err(unreadable);
        let file = |file: KeptInput| {
            let path = file.path.try_into().map_err(unreadable)?;
            Ok(InputFile { path, content: bytes(file.content), executable: file.executable })
        };
        Ok(Execution {
            id,
            script: bytes(self.script),
            stdin: self.stdin.map(bytes),
            image: self.image.map(parsed).transpose()?,
            pull_policy: self.pull_policy.map(policy).transpose()?,
            language: self.language.map(language).transpose()?,
            args: each(self.args, |arg| arg.try_into().map_err(unreadable))?,
            env: each(self.env, pair)?,
            forward_env: !self.no_forward_env,
            files: each(self.files, file)?,
            outputs: each(self.outputs, |pattern| pattern.try_into().map_err(unreadable))?,
            limits: AskedLimits {
                timeout: self.timeout,
                memory: self.memory,
                cpu_millis: self.cpu_millis,
                pids: self.pids,
                tmp: self.tmp,
                output: self.output,
            },
            runtime: self.runtime.map(KeptInRuntime::restore).transpose()?,
            // Its limits are among the request's own.
            resources: None,
        })
    }
}

pub(super) fn pair((name, value): (String, String)) -> Result<(EnvName, EnvValue), StoreError> {
    Ok((name.try_into().map_err(unreadable)?, value.try_into().map_err(unreadable)?))
}

pub(super) fn each<T, U>(
    all: Vec<T>,
    one: impl Fn(T) -> Result<U, StoreError>,
) -> Result<Vec<U>, StoreError> {
    all.into_iter().map(one).collect()
}
