//! Removing whole folders: relative to descriptors, and without following a link.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, chmod, fstat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// Folders deeper than this are moved up before they are emptied, so that no depth is too much for
/// the stack and for the descriptors of this process.
const DEEPEST: usize = 64;
/// How often a folder is read again because something was in it still.
const PASSES: usize = 8;

/// Removes whatever is at `name`, and says how many bytes of regular files went with it. What is
/// not there is removed.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> io::Result<u64> {
    let top = match opened_up(parent, name) {
        Ok((top, _)) => top,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        // Something else than a folder, a link included.
        Err(_) => return Ok(unlinkat(parent, name, AtFlags::empty()).map(|()| 0)?),
    };
    let mut removal = Removal { top: top.as_fd(), moved: 0, freed: 0 };
    removal.empty(top.as_fd(), 0)?;
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(removal.freed),
        Err(e) => Err(e.into()),
    }
}

/// Opens a folder, giving its owner every right on it first, and says which mode it had.
pub(super) fn opened_up(parent: BorrowedFd<'_>, name: &str) -> io::Result<(OwnedFd, Mode)> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    usable(&handle)
}

fn usable(handle: &OwnedFd) -> io::Result<(OwnedFd, Mode)> {
    let mode = Mode::from_raw_mode(fstat(handle)?.st_mode);
    // By the descriptor, which nobody can turn into another folder meanwhile.
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    if !mode.contains(Mode::RWXU) {
        chmod(&itself, mode | Mode::RWXU)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((openat(handle, c".", flags, Mode::empty())?, mode))
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    moved: usize,
    freed: u64,
}

impl Removal<'_> {
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        let mut passes = 0;
        while passes < PASSES {
            let (mut left, moved) = (false, self.moved);
            // Its own descriptor, so that each pass starts at the beginning.
            for entry in Dir::read_from(folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if name != c"." && name != c".." {
                    left = true;
                    self.take(folder, name, depth)?;
                }
            }
            if !left {
                return Ok(());
            }
            passes += usize::from(self.moved == moved);
        }
        Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty))
    }

    fn take(&mut self, folder: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            match unlinkat(folder, name, AtFlags::empty()) {
                Err(Errno::NOENT) => {}
                result => result?,
            }
            if kind == FileType::RegularFile && stat.st_nlink == 1 {
                self.freed += u64::try_from(stat.st_size).unwrap_or(0);
            }
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (inner, _) = usable(&openat(folder, name, flags, Mode::empty())?)?;
        if depth == DEEPEST {
            self.moved += 1;
            let place = format!(".deep-{}", self.moved);
            return Ok(renameat(folder, name, self.top, place.as_str())?);
        }
        self.empty(inner.as_fd(), depth + 1)?;
        Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }
}
