//! One attempt to pull: the daemon does it, and tells line by line how far it is.
//!
//! An image that is here already costs its registry one greeting and one HEAD request by the
//! daemon. The daemon tries a broken download of a layer five more times by itself, with longer and
//! longer pauses, all of which is one attempt to us.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hyper::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::daemon::{Daemon, DaemonError};
use super::pull_error::Asked;
use crate::registry::{
    Credential, ImageError, ImageErrorKind, LayerPhase, LayerState, Progress, PullState, Reference,
};

/// How long a pull may stand still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// While something has to come from the registry.
    pub(super) registry: Duration,
    /// While all that is left to do is unpacking, of which the daemon tells less.
    pub(super) unpacking: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { registry: Duration::from_secs(60), unpacking: Duration::from_secs(300) }
    }
}

/// Fewer new bytes than this are as good as none: a registry must not hold a pull by a drip, and a
/// daemon with containerd's image store says the same ten times a second.
const LEAST: u64 = 4 << 10;

/// Has the daemon make the image what its registry has, and returns the digest that it found there,
/// where it tells. Dropping the future ends the daemon's pull.
///
/// # Errors
/// As [`ImageError`] lists them.
pub(super) async fn pull(
    daemon: &Daemon,
    asked: &Asked<'_>,
    architecture: &str,
    patience: Patience,
    progress: &Progress,
) -> Result<Option<String>, ImageError> {
    progress.update(|state| state.layers.clear());
    let reference = asked.reference;
    let name = format!("{}/{}", reference.registry(), reference.repository());
    // A digest stands above a tag beside it.
    let version = reference.digest().or(reference.tag()).unwrap_or_default();
    let platform = format!("linux/{architecture}");
    let credentials = asked.credential.map(|known| header(known, reference)).transpose()?;
    let answer = daemon.pull_image(&name, version, &platform, credentials).await;
    let mut lines = answer.map_err(|error| asked.failed(error))?;
    let mut standstill = Standstill::new(Instant::now());
    let mut digest = None;
    loop {
        let line = timeout_at(standstill.end(patience), lines.next()).await;
        let Some(line) = line.map_err(|_| asked.stalled())?.map_err(|e| asked.failed(e))? else {
            return Ok(digest);
        };
        let word: Word = serde_json::from_slice(&line).map_err(|error| {
            asked.failed(DaemonError::Unreadable { call: "pull", text: error.to_string() })
        })?;
        if let Some(text) = word.error() {
            return Err(asked.refused(None, text));
        }
        digest = word.digest().or(digest);
        progress.update(|state| {
            word.tell(state);
            standstill.heard(&word, state, Instant::now());
        });
    }
}

/// The credentials as the daemon reads them, which takes the URL's alphabet and the padding, and
/// silently goes on without any that it can't read.
fn header(credential: &Credential, reference: &Reference) -> Result<HeaderValue, ImageError> {
    let address = match reference.registry() {
        "docker.io" => "https://index.docker.io/v1/",
        registry => registry,
    };
    let text = match credential {
        Credential::Password { username, password } => {
            json!({ "username": username, "password": password, "serveraddress": address })
        }
        Credential::IdentityToken(token) => {
            json!({ "identitytoken": token, "serveraddress": address })
        }
    };
    let encoded = URL_SAFE.encode(text.to_string());
    let mut value = HeaderValue::try_from(encoded).map_err(|_| {
        let detail = format!("the credentials for registry {} can't be sent", reference.registry());
        ImageError::new(ImageErrorKind::Auth, detail, String::new())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// One line of the daemon's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Word {
    id: Option<String>,
    status: Option<String>,
    progress_detail: Option<Transferred>,
    error: Option<String>,
    error_detail: Option<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transferred {
    current: Option<i64>,
    total: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: Option<String>,
}

impl Word {
    fn error(&self) -> Option<&str> {
        let detail = self.error_detail.as_ref();
        let message = detail.map(|detail| detail.message.as_deref().unwrap_or_default());
        message.filter(|text| !text.is_empty()).or(self.error.as_deref()).or(message)
    }

    /// What the registry has under the reference.
    fn digest(&self) -> Option<String> {
        self.status.as_deref()?.strip_prefix("Digest: ").map(ToOwned::to_owned)
    }

    /// In the words of either of the daemon's image stores.
    fn is_download(&self) -> bool {
        matches!(self.status.as_deref(), Some("Downloading" | "Pulling layer fs"))
    }

    /// Writes what it says of one layer into the state; of anything else it says nothing there.
    fn tell(&self, state: &mut PullState) {
        let (Some(id), Some(status)) = (&self.id, self.status.as_deref()) else { return };
        let phase = match status {
            "Pulling fs layer" | "Waiting" | "Download complete" => LayerPhase::Waiting,
            "Downloading" | "Pulling layer fs" | "Verifying Checksum" => LayerPhase::Downloading,
            "Extracting" => LayerPhase::Unpacking,
            "Pull complete" | "Already exists" => LayerPhase::Done,
            _ if status.starts_with("Retrying in ") => LayerPhase::Waiting,
            _ => return,
        };
        let known = state.layers.iter().position(|layer| layer.digest == *id);
        let position = known.unwrap_or_else(|| {
            state.layers.push(LayerState { digest: id.clone(), done: 0, total: None, phase });
            state.layers.len() - 1
        });
        let layer = &mut state.layers[position];
        layer.phase = phase;
        let count = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
        match (status, &self.progress_detail) {
            (_, Some(bytes)) if self.is_download() => {
                layer.done = count(bytes.current).unwrap_or(layer.done);
                layer.total = count(bytes.total).filter(|total| *total > 0).or(layer.total);
            }
            ("Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete", _) => {
                layer.done = layer.total.unwrap_or(layer.done);
            }
            _ => {}
        }
    }
}

/// Since when nothing that matters has come.
#[derive(Debug)]
struct Standstill {
    since: Instant,
    /// All layers' bytes by then.
    done: u64,
    unpacking: bool,
}

impl Standstill {
    fn new(now: Instant) -> Self {
        Self { since: now, done: 0, unpacking: false }
    }

    fn end(&self, patience: Patience) -> Instant {
        self.since + if self.unpacking { patience.unpacking } else { patience.registry }
    }

    fn heard(&mut self, word: &Word, state: &PullState, now: Instant) {
        let done = state.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.done));
        // A download that begins anew has less.
        self.done = self.done.min(done);
        if !word.is_download() || done >= self.done.saturating_add(LEAST) {
            (self.since, self.done) = (now, done);
        }
        let any = |phase| state.layers.iter().any(|layer| layer.phase == phase);
        self.unpacking = any(LayerPhase::Unpacking) && !any(LayerPhase::Downloading);
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
