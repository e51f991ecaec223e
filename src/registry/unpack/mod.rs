//! Unpacking a layer: in a process of its own, without privileges, that sees nothing but the
//! folder it fills.
//!
//! # What a layer becomes
//!
//! A folder in the form in which an overlay mounted with `userxattr` takes it. Everything in it
//! belongs to the process that unpacks; the archive's owners, extended attributes, access lists,
//! devices, set-uid and set-gid bits stay out. The one device number there is, 0:0, opens nothing:
//! it is an overlay's own way to say that a lower layer's file is gone, as `user.overlay.opaque` on
//! a directory says that nothing of it comes from below. What an archive has beneath `/dev`,
//! `/proc` and `/sys` is left out, because containers always get their own.
//!
//! # Where it happens
//!
//! | | |
//! |---|---|
//! | here | the service's side: starts the process, feeds it, reads its report |
//! | [`process`] | the process, from its start to its report |
//! | [`confine`], [`calls`] | what it gives up before it reads |
//! | [`stream`], [`decompress`] | gzip or zstd to the archive, counted and hashed |
//! | [`archive`], [`pax`], [`sparse`], [`place`] | the archive to entries |
//! | [`tree`], [`whiteout`], [`settle`] | entries to files |

mod archive;
mod calls;
mod confine;
mod decompress;
mod pax;
mod place;
mod process;
mod report;
mod settle;
mod sparse;
mod stream;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod whiteout;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::LayerId;
use report::Report;

pub use process::unpacker_main;

/// How long the process may take nothing of what it is given. It writes to a disk that others use.
const STALLED: Duration = Duration::from_secs(60);
/// How long it may take for what is still in the pipe, which may grow a thousandfold, and for the
/// modes of all directories.
const FINISHING: Duration = Duration::from_secs(120);
/// What the kernel lets anybody have; more makes for fewer turns between the two processes.
const PIPE: usize = 1 << 20;

/// The most that one layer may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the archive, uncompressed.
    pub bytes: u64,
    /// Entries of the archive, and directories that it only implies.
    pub entries: u64,
}

/// A process that unpacks one layer. Dropping it ends the process; what it has written so far is
/// the caller's to remove.
#[derive(Debug)]
pub struct Unpacker {
    process: Child,
    /// `None` once it has given up.
    layer: Option<ChildStdin>,
    report: ChildStdout,
}

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
    /// gid); `None` is whoever this process is. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the process can't be started.
    pub fn start(folder: OwnedFd, owner: Option<(u32, u32)>, caps: Caps) -> io::Result<Self> {
        Self::start_program(OsStr::new("/proc/self/exe"), folder, owner, caps)
    }

    fn start_program(
        program: &OsStr,
        folder: OwnedFd,
        owner: Option<(u32, u32)>,
        caps: Caps,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg("unpacker")
            .args([caps.bytes.to_string(), caps.entries.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(folder)
            .kill_on_drop(true);
        if let Some((uid, gid)) = owner {
            command.uid(uid).gid(gid);
        }
        let mut process = command.spawn()?;
        let (Some(layer), Some(report)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("a process without its pipes"));
        };
        // A smaller pipe does as well.
        let _ = fcntl_setpipe_size(&layer, PIPE);
        Ok(Self { process, layer: Some(layer), report })
    }

    /// Hands it the next piece of the layer, compressed (gzip, zstd) or not.
    ///
    /// # Errors
    /// Why it has given up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let Some(layer) = &mut self.layer else {
            return Err(UnpackError::Failed("it has given up before".into()));
        };
        match timeout(STALLED, layer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            // It has closed its end; why, it has said.
            Ok(Err(e)) => Err(self.end().await.err().unwrap_or_else(|| {
                UnpackError::Corrupt(format!("something follows the layer's end ({e})"))
            })),
            Err(_) => {
                self.layer = None;
                Err(UnpackError::Failed(format!("it has taken nothing for {STALLED:?}")))
            }
        }
    }

    /// Says that this was all, and waits for the folder to be complete.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn finish(mut self) -> Result<Unpacked, UnpackError> {
        if self.layer.is_none() {
            return Err(UnpackError::Failed("it has given up before".into()));
        }
        self.end().await
    }

    /// Reads the report and waits for the process's end.
    async fn end(&mut self) -> Result<Unpacked, UnpackError> {
        // Closing the pipe says that the layer ends here.
        self.layer = None;
        let failed = |e: io::Error| UnpackError::Failed(format!("the unpacking process: {e}"));
        let ended = async {
            let mut report = Vec::new();
            (&mut self.report).take(report::LONGEST).read_to_end(&mut report).await?;
            Ok((report, self.process.wait().await?))
        };
        let ended = timeout(FINISHING, ended).await;
        let (report, status) = ended
            .map_err(|_| UnpackError::Failed(format!("it did not finish within {FINISHING:?}")))?
            .map_err(failed)?;
        match serde_json::from_slice::<Report>(&report) {
            Ok(report) => report.into(),
            Err(_) => Err(UnpackError::Failed(format!(
                "the unpacking process ended without a report ({status})"
            ))),
        }
    }
}
