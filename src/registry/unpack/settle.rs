//! Going through a tree directory by directory: to remove what an archive replaces, and to give
//! directories their modes and times when nothing more is written into them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, futimens, openat, unlinkat};
use rustix::io::Errno;

use super::UnpackError;
use super::place::Place;
use super::tree::{Tree, at, failed, failed_at};

impl Tree {
    /// Removes what is at `name`, with all that is beneath it.
    pub(super) fn remove(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        place: &Place,
    ) -> Result<(), UnpackError> {
        self.forget_last();
        self.remove_at(parent.as_fd(), name).map_err(failed_at("replacing", place))
    }

    fn remove_at(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            removed => return removed,
        }
        let mut directory = open(parent, name)?;
        let number = fstat(directory.fd()?)?.st_ino;
        while let Some(entry) = directory.read() {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => self.remove_at(directory.fd()?, name)?,
            }
        }
        unlinkat(parent, name, AtFlags::REMOVEDIR)?;
        self.directories.remove(&number);
        Ok(())
    }

    /// Gives every directory its mode and time. Nothing can be added any more.
    ///
    /// # Errors
    /// [`UnpackError::Failed`] with what the kernel says.
    pub(super) fn settle(&self) -> Result<(), UnpackError> {
        self.settle_at(self.root().as_fd(), b".").map_err(failed("setting directories' modes"))
    }

    /// What is beneath comes first, since the mode may shut us out.
    fn settle_at(&self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        let mut directory = open(parent, name)?;
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            match entry.file_type() {
                _ if matches!(name, b"." | b"..") => {}
                FileType::Directory => self.settle_at(directory.fd()?, name)?,
                // Not every file system says what its entries are.
                FileType::Unknown => match self.settle_at(directory.fd()?, name) {
                    Err(Errno::NOTDIR | Errno::LOOP) => {}
                    settled => settled?,
                },
                _ => {}
            }
        }
        let fd = directory.fd()?;
        if let Some(known) = self.directories.get(&fstat(fd)?.st_ino) {
            if let Some(mtime) = known.mtime {
                futimens(fd, &at(mtime))?;
            }
            fchmod(fd, Mode::from_raw_mode(known.mode.into()))?;
        }
        Ok(())
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Dir::new(openat(parent, name, flags, Mode::empty())?)
}
