//! Docker's socket in the hands of a user that is not root.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::Settings;
use crate::engine::docker;

/// The socket of the daemon, as it is found.
pub(super) struct Socket {
    path: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Socket {
    /// `None` where the daemon is reached otherwise, or is not there: the engine says that best.
    ///
    /// # Errors
    /// A sentence, when nothing can be known of it.
    pub(super) fn find(settings: &Settings) -> Result<Option<Self>, String> {
        let Some(path) = docker::socket(settings.docker_host.as_deref()) else { return Ok(None) };
        match fs::metadata(path) {
            Ok(found) if found.file_type().is_socket() => Ok(Some(Self::of(path, &found))),
            Ok(_) => Err(format!("DOCKER_HOST: {} is no socket", path.display())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("Docker's socket {} can't be found: {e}", path.display())),
        }
    }

    fn of(path: &Path, found: &Metadata) -> Self {
        let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o777);
        Self { path: path.to_owned(), uid, gid, mode }
    }

    /// The group that a user has to be in for it, beside its own.
    pub(super) fn group_for(&self, (uid, gid): (u32, u32)) -> Option<u32> {
        let may = |bits: u32| self.mode & bits == bits;
        // To its owner the kernel does not look at groups, and everybody is in his own.
        (uid != self.uid && gid != self.gid && may(0o060) && !may(0o006)).then_some(self.gid)
    }

    /// To be asked by the user that is to use it.
    ///
    /// # Errors
    /// A sentence, when it can't.
    pub(super) fn can_be_used_by(&self, uid: u32) -> Result<(), String> {
        access(&self.path, Access::READ_OK | Access::WRITE_OK).map_err(|e| {
            format!(
                "user {uid} can't use Docker's socket {}, which belongs to user {} and group {} \
                 with mode {:04o}: {e}; let its group read and write it, or name another user by \
                 --user (USER_NAME)",
                self.path.display(),
                self.uid,
                self.gid,
                self.mode
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::dockers_own(0, 999, 0o660, Some(999))]
    #[case::of_a_desktop(0, 0, 0o660, Some(0))]
    #[case::closed_to_its_group(0, 999, 0o600, None)]
    #[case::half_closed(0, 999, 0o640, None)]
    #[case::open_to_all(0, 999, 0o666, None)]
    #[case::the_users_own(7, 999, 0o660, None)]
    #[case::of_the_users_group(0, 8, 0o660, None)]
    fn no_group_is_kept_that_is_not_needed(
        #[case] uid: u32,
        #[case] gid: u32,
        #[case] mode: u32,
        #[case] group: Option<u32>,
    ) {
        let socket = Socket { path: "/nonexistent".into(), uid, gid, mode };
        assert_eq!(socket.group_for((7, 8)), group);
        let told = socket.can_be_used_by(7).unwrap_err();
        for part in ["user 7", "/nonexistent", &format!("group {gid}"), &format!("{mode:04o}")] {
            assert!(told.contains(part), "{told}");
        }
    }
}
