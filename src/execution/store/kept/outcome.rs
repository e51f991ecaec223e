//! An outcome as it is kept.

use std::time::Duration;

use oncebox_guest::wire::SkipReason;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::unreadable;
use crate::engine::{ResultContent, ResultFile};
use crate::execution::outcome::{LimitHit, Outcome, Status, Timings, Usage};
use crate::execution::output::Captured;
use crate::execution::store::StoreError;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptOutcome {
    status: String,
    exit_code: u16,
    signal: Option<String>,
    stdout: KeptOutput,
    stderr: KeptOutput,
    error: Option<String>,
    execution_time: Duration,
    image: String,
    image_digest: Option<String>,
    #[serde(default)]
    runtime: Option<String>,
    limits_hit: Vec<String>,
    cpu_time: Option<Duration>,
    max_memory_bytes: Option<u64>,
    max_pids: Option<u64>,
    queued: Duration,
    prepared: Duration,
    ran: Duration,
    files: Vec<KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptOutput {
    bytes: ByteBuf,
    total: u64,
}

/// With its content, or with the reason why not.
#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: String,
    #[serde(default)]
    content: Option<ByteBuf>,
    #[serde(default)]
    executable: bool,
    #[serde(default)]
    skipped: Option<u8>,
}

/// Their places in this list are what is written.
const SKIPPED: [SkipReason; 4] =
    [SkipReason::NotRegular, SkipReason::TooLarge, SkipReason::TooMany, SkipReason::Unreadable];

impl From<&Outcome> for KeptOutcome {
    fn from(outcome: &Outcome) -> Self {
        let output = |captured: &Captured| KeptOutput {
            bytes: ByteBuf::from(captured.bytes.clone()),
            total: captured.total,
        };
        Self {
            status: outcome.status.name().to_owned(),
            exit_code: outcome.exit_code,
            signal: outcome.signal.clone(),
            stdout: output(&outcome.stdout),
            stderr: output(&outcome.stderr),
            error: outcome.error.clone(),
            execution_time: outcome.execution_time,
            image: outcome.image.clone(),
            image_digest: outcome.image_digest.clone(),
            runtime: outcome.runtime.clone(),
            limits_hit: outcome.limits_hit.iter().map(|hit| hit.name().to_owned()).collect(),
            cpu_time: outcome.usage.cpu_time,
            max_memory_bytes: outcome.usage.max_memory_bytes,
            max_pids: outcome.usage.max_pids,
            queued: outcome.timings.queued,
            prepared: outcome.timings.prepared,
            ran: outcome.timings.ran,
            files: outcome.files.iter().map(KeptFile::from).collect(),
        }
    }
}

impl KeptOutcome {
    pub(super) fn restore(self, id: Uuid) -> Result<Outcome, StoreError> {
        let output =
            |KeptOutput { bytes, total }| Captured { bytes: ByteBuf::into_vec(bytes), total };
        let status = Status::ALL.into_iter().find(|status| status.name() == self.status);
        let hit = |name: String| LimitHit::ALL.into_iter().find(|hit| hit.name() == name);
        Ok(Outcome {
            id,
            status: status.ok_or_else(|| unreadable(format!("status {:?}", self.status)))?,
            exit_code: self.exit_code,
            signal: self.signal,
            stdout: output(self.stdout),
            stderr: output(self.stderr),
            error: self.error,
            execution_time: self.execution_time,
            image: self.image,
            image_digest: self.image_digest,
            runtime: self.runtime,
            limits_hit: self.limits_hit.into_iter().filter_map(hit).collect(),
            usage: Usage {
                cpu_time: self.cpu_time,
                max_memory_bytes: self.max_memory_bytes,
                max_pids: self.max_pids,
            },
            timings: Timings { queued: self.queued, prepared: self.prepared, ran: self.ran },
            files: self.files.into_iter().map(ResultFile::from).collect(),
        })
    }
}

impl From<&ResultFile> for KeptFile {
    fn from(file: &ResultFile) -> Self {
        let kept = file.content.as_ref().ok();
        let skipped = file.content.as_ref().err();
        Self {
            path: file.path.clone(),
            content: kept.map(|content| ByteBuf::from(content.bytes.clone())),
            executable: kept.is_some_and(|content| content.executable),
            skipped: skipped
                .and_then(|reason| SKIPPED.iter().position(|listed| listed == reason))
                .and_then(|place| u8::try_from(place).ok()),
        }
    }
}

impl From<KeptFile> for ResultFile {
    fn from(KeptFile { path, content, executable, skipped }: KeptFile) -> Self {
        let reason = skipped.and_then(|place| SKIPPED.get(usize::from(place)).copied());
        let content = content.map(|bytes| ResultContent { bytes: bytes.into_vec(), executable });
        Self { path, content: content.ok_or(reason.unwrap_or(SkipReason::Unreadable)) }
    }
}
