//! Bringing the guest to the daemon: a read-only volume that is named after its content, so that a
//! remote daemon works too and two versions never meet.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::creation::{Creator, Need};
use super::daemon::{Daemon, DaemonError};
use super::image::Facts;
use super::request::{GUEST_DIR, GUEST_FILE, Profile};
use super::tar::{self, Entry};
use crate::engine::EngineError;

const MODE: u32 = 0o755;
/// What an archive may be larger than the guest in it: headers and padding.
const HEADERS: usize = 64 * 1024;

/// The guest's volume at one daemon.
pub(super) struct GuestVolume {
    guest: &'static [u8],
    /// Filled when the volume was proven right; replaced when that is in doubt.
    proven: Mutex<Arc<OnceCell<Placed>>>,
}

/// What it took to have the right guest in the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Found,
    Written,
}

impl GuestVolume {
    pub(super) fn new(guest: &'static [u8]) -> Self {
        Self { guest, proven: Mutex::default() }
    }

    /// The volume's name for a guest with this SHA-256, in hexadecimal.
    pub(super) fn name(digest: &str) -> String {
        format!("oncebox-guest-{}", digest.get(..16).unwrap_or(digest))
    }

    /// Makes sure that the volume holds the guest; looks only the first time. Any present image
    /// serves to reach into it.
    ///
    /// # Errors
    /// When the daemon fails, or gives back other bytes than it took.
    pub(super) async fn ensure(
        &self,
        daemon: &Daemon,
        creator: &Creator,
        profile: &Profile,
        image: &Facts,
    ) -> Result<Placed, EngineError> {
        let proven = Arc::clone(&self.proven.lock().unwrap_or_else(PoisonError::into_inner));
        proven.get_or_try_init(|| self.place(daemon, creator, profile, image)).await.copied()
    }

    /// The volume may have vanished: the next `ensure` looks again.
    pub(super) fn doubt(&self) {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    async fn place(
        &self,
        daemon: &Daemon,
        creator: &Creator,
        profile: &Profile,
        image: &Facts,
    ) -> Result<Placed, EngineError> {
        daemon.volume(&profile.guest_volume).await?;
        let carrier = creator.create(profile.carrier(image), Need::Now).await?;
        let name = carrier.guard.name();
        if self.is_there(daemon, name).await? {
            return Ok(Placed::Found);
        }
        let archive = tar::pack(GUEST_FILE, Entry { mode: MODE, content: self.guest });
        daemon.upload(name, GUEST_DIR, archive).await?;
        if !self.is_there(daemon, name).await? {
            let volume = &profile.guest_volume;
            return Err(EngineError::Make(format!("volume {volume} does not keep the guest")));
        }
        tracing::debug!(volume = profile.guest_volume, bytes = self.guest.len(), "guest placed");
        Ok(Placed::Written)
    }

    /// Whether the volume holds these very bytes, to be executed.
    async fn is_there(&self, daemon: &Daemon, carrier: &str) -> Result<bool, DaemonError> {
        let path = format!("{GUEST_DIR}/{GUEST_FILE}");
        let max = self.guest.len() + HEADERS;
        match daemon.download(carrier, &path, max).await {
            Ok(archive) => {
                let wanted = Entry { mode: MODE, content: self.guest };
                Ok(tar::unpack(&archive) == Some(wanted))
            }
            Err(e) if e.status() == Some(404) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
