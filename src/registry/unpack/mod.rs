//! Unpacking a layer: in a process of its own, without privileges, that sees nothing but the
//! folder it fills.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::LayerId;

/// The most that one layer may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the archive, uncompressed.
    pub bytes: u64,
    pub entries: u64,
}

/// A process that unpacks one layer. Dropping it ends the process; what it has written so far is
/// the caller's to remove.
#[derive(Debug)]
pub struct Unpacker;

/// A layer that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// What the uncompressed archive hashes to.
    pub id: LayerId,
    /// Bytes of its regular files.
    pub bytes: u64,
    pub entries: u64,
}

/// Why a layer was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// It is no archive, or a broken one.
    #[error("the layer is corrupt: {0}")]
    Corrupt(String),
    /// It holds what can't be had here, such as a path that leads out of it.
    #[error("the layer can't be unpacked: {0}")]
    Unsupported(String),
    /// It is larger than its caps.
    #[error("the layer is too large: {0}")]
    TooLarge(String),
    #[error("no space is left")]
    NoSpace,
    /// We failed, or this machine did; the text is for the log.
    #[error("unpacking failed: {0}")]
    Failed(String),
}

impl Unpacker {
    /// Starts a process that unpacks into `folder`, which is empty and belongs to `owner` (uid and
    /// gid); `None` is whoever this process is.
    ///
    /// # Errors
    /// When the process can't be started.
    pub fn start(folder: OwnedFd, owner: Option<(u32, u32)>, caps: Caps) -> io::Result<Self> {
        let _ = (folder, owner, caps);
        Ok(Self)
    }

    /// Hands it the next piece of the layer, compressed (gzip, zstd) or not.
    ///
    /// # Errors
    /// Why it has given up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let _ = bytes;
        Ok(())
    }

    /// Says that this was all, and waits for the folder to be complete.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn finish(self) -> Result<Unpacked, UnpackError> {
        Err(UnpackError::Failed("nothing was unpacked".into()))
    }
}

/// The hidden subcommand: standard input is the layer, standard output takes what came of it, and
/// standard error is the folder.
#[must_use]
pub fn unpacker_main() -> ExitCode {
    ExitCode::FAILURE
}
