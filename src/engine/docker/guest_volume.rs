//! Bringing the guest to the daemon, and with it the file of names: a read-only volume that is named
//! after the guest, so that a remote daemon works too and two versions never meet.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::creation::{Creator, Need};
use super::daemon::{Daemon, DaemonError};
use super::image::Facts;
use super::request::{GUEST_DIR, GUEST_FILE, HOSTS_FILE, Profile};
use super::tar::{self, Entry};
use crate::engine::{EngineError, hardening};

const NAME_PREFIX: &str = "oncebox-guest-";
/// How much of the guest's digest is in the name: characters.
const NAME_DIGEST: usize = 16;
/// What an archive may be larger than the file in it: headers and padding.
const HEADERS: usize = 64 * 1024;

/// The guest's volume at one daemon.
pub(super) struct GuestVolume {
    guest: &'static [u8],
    /// Filled when the volume was proven right; replaced when that is in doubt.
    proven: Mutex<Arc<OnceCell<Placed>>>,
}

/// The volume as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Not all of it was there.
    pub(super) written: bool,
    /// Where the daemon has the file of names.
    pub(super) hosts: String,
}

impl GuestVolume {
    pub(super) fn new(guest: &'static [u8]) -> Self {
        Self { guest, proven: Mutex::default() }
    }

    /// The volume's name for a guest with this SHA-256, in hexadecimal.
    pub(super) fn name(digest: &str) -> String {
        format!("{NAME_PREFIX}{}", digest.get(..NAME_DIGEST).unwrap_or(digest))
    }

    /// Removes the volumes of other versions' guests that no container uses. A service that still
    /// runs such a version places its guest anew when it finds it gone.
    pub(super) async fn remove_others(daemon: &Daemon, own: &str) {
        let idle = match daemon.idle_volumes(NAME_PREFIX).await {
            Ok(idle) => idle,
            Err(error) => return tracing::warn!(%error, "could not look for old guests' volumes"),
        };
        for volume in idle.iter().filter(|name| *name != own && Self::is_name(name)) {
            match daemon.remove_volume(volume).await {
                Ok(()) => tracing::info!(volume, "removed the volume of another version's guest"),
                // It came into use, or somebody else removed it.
                Err(error) if matches!(error.status(), Some(409 | 404)) => {}
                Err(error) => {
                    tracing::warn!(volume, %error, "could not remove an old guest's volume")
                }
            }
        }
    }

    fn is_name(volume: &str) -> bool {
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        volume
            .strip_prefix(NAME_PREFIX)
            .is_some_and(|digest| digest.len() == NAME_DIGEST && digest.chars().all(hex))
    }

    /// Makes sure that the volume holds all it should; looks only the first time. Any present image
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
        proven.get_or_try_init(|| self.place(daemon, creator, profile, image)).await.cloned()
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
        let folder = daemon.volume(&profile.guest_volume).await?;
        let carrier = creator.create(profile.carrier(image), Need::Now).await?;
        let name = carrier.guard.name();
        let mut written = false;
        for (file, wanted) in [
            (GUEST_FILE, Entry { mode: 0o755, content: self.guest }),
            (HOSTS_FILE, Entry { mode: 0o644, content: hardening::HOSTS.as_bytes() }),
        ] {
            if is_there(daemon, name, file, wanted).await? {
                continue;
            }
            daemon.upload(name, GUEST_DIR, tar::pack(file, wanted)).await?;
            if !is_there(daemon, name, file, wanted).await? {
                let volume = &profile.guest_volume;
                return Err(EngineError::Make(format!("volume {volume} does not keep {file}")));
            }
            tracing::debug!(volume = profile.guest_volume, file, "placed");
            written = true;
        }
        Ok(Placed { written, hosts: format!("{folder}/{HOSTS_FILE}") })
    }
}

/// Whether the volume holds a file of these very bytes and this mode.
async fn is_there(
    daemon: &Daemon,
    carrier: &str,
    file: &str,
    wanted: Entry<'_>,
) -> Result<bool, DaemonError> {
    let path = format!("{GUEST_DIR}/{file}");
    match daemon.download(carrier, &path, wanted.content.len() + HEADERS).await {
        Ok(archive) => Ok(tar::unpack(&archive) == Some(wanted)),
        Err(e) if e.status() == Some(404) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::{Answer, Fake};
    use super::*;

    #[tokio::test]
    async fn only_other_versions_volumes_are_removed() {
        let own = GuestVolume::name(&"0".repeat(64));
        let others = [GuestVolume::name(&"a1".repeat(32)), GuestVolume::name(&"b2".repeat(32))];
        let foreign = [
            "oncebox-guest-notes",
            "oncebox-guest-0123456789abcdef0",
            "my-oncebox-guest-0123456789abcdef",
        ];
        let names = [&own, &others[0], &others[1]].into_iter().map(String::as_str).chain(foreign);
        let volumes = names.map(|name| {
            json!({
                "Name": name, "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Options": {},
                "Scope": "local",
            })
        });
        let list = json!({ "Volumes": volumes.collect::<Vec<_>>(), "Warnings": null }).to_string();
        let mut fake = Fake::start(move |method, path| match method {
            "GET" => Answer::ok(&list),
            // One has come into use since.
            _ if path.contains("-a1") => Answer::Status(409, r#"{"message":"in use"}"#.into()),
            _ => Answer::Status(204, String::new()),
        })
        .await;
        let daemon = Daemon::new(Some(&fake.host())).unwrap();
        GuestVolume::remove_others(&daemon, &own).await;
        let calls = fake.heard();
        assert!(calls[0].contains("dangling"), "{calls:?}");
        let removed = others.map(|name| format!("DELETE /volumes/{name}?force=false"));
        assert_eq!(calls[1..], removed);
    }
}
