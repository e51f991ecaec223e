//! Where executions are kept: a file that one service holds alone, or memory.

use std::cell::Cell;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, DatabaseError};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstatvfs, open};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Where there is room for executions.
#[derive(Debug)]
pub enum Place {
    /// Open, so that it can be used by a process that could not open it any more.
    File { path: PathBuf, file: File },
    /// Gone with the process.
    Memory,
}

impl Place {
    /// Makes what is missing of a file's folder and the file itself, and gives that, and nothing
    /// else, to `owner` (uid and gid). To be called while the process still has its privileges.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn prepare(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, String> {
        let said =
            |why: String| format!("the execution store {} can't be made: {why}", path.display());
        make_folder(path, owner).map_err(|e| said(e.to_string()))?;
        let file = open_file(path, owner).map_err(said)?;
        Ok(Self::File { path: path.to_owned(), file })
    }

    /// Makes what is missing of a file's folder, and gives that to `owner`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make_folder(path: &Path, owner: (u32, u32)) -> io::Result<()> {
        make_folder(path, Some(owner))
    }

    /// The database in it, and whether it had to be repaired: whoever used it last did not close it.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn open(&self) -> Result<(Database, bool), String> {
        let mut builder = Database::builder();
        let repaired = Rc::new(Cell::new(false));
        let repairs = Rc::clone(&repaired);
        builder.set_repair_callback(move |_| repairs.set(true));
        builder.set_cache_size(super::file::CACHE);
        let opened = match self {
            Self::File { file, .. } => file
                .try_clone()
                .map_err(|e| redb::StorageError::Io(e).into())
                .and_then(FileBackend::new)
                .and_then(|file| builder.create_with_backend(file)),
            Self::Memory => builder.create_with_backend(InMemoryBackend::new()),
        };
        let opened = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => format!(
                "another service holds the execution store {self}; name another file by \
                 EXECUTION_STORE"
            ),
            other => format!("the execution store {self} can't be opened: {other}"),
        })?;
        Ok((opened, repaired.get()))
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File { file, .. } => file.metadata().map_or(0, |metadata| metadata.len()),
            Self::Memory => 0,
        }
    }

    /// Bytes that its disk has left for us; `None` where nothing is known of that.
    pub(super) fn free(&self) -> Option<u64> {
        match self {
            Self::File { file, .. } => {
                fstatvfs(file).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
            }
            Self::Memory => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Memory => f.write_str("in memory"),
        }
    }
}

fn make_folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if let Some(parent) = folder.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            give(&open(folder, flags, Mode::empty())?.into(), owner)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Only what was just made is given away. What is there already may have been put there by whom it
/// is opened for, and must not be a way to what is somebody else's.
fn open_file(path: &Path, owner: Option<(u32, u32)>) -> Result<File, String> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    match open(path, flags | OFlags::CREATE | OFlags::EXCL, private) {
        Ok(made) => {
            let file = File::from(made);
            give(&file, owner).map_err(|e| e.to_string())?;
            return Ok(file);
        }
        Err(Errno::EXIST) => {}
        Err(e) => return Err(io::Error::from(e).to_string()),
    }
    let file = open(path, flags, private).map_err(|e| io::Error::from(e).to_string())?;
    let file = File::from(file);
    let found = file.metadata().map_err(|e| e.to_string())?;
    let uid = owner.map_or(geteuid().as_raw(), |(uid, _)| uid);
    if !found.is_file() || found.nlink() != 1 {
        return Err("that is no plain file".into());
    }
    if found.uid() != uid {
        return Err(format!("it belongs to uid {}, and uid {uid} would use it", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return Err("others than its owner may open it; chmod 600 it".into());
    }
    Ok(file)
}

fn give(what: &File, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(fchown(what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}
