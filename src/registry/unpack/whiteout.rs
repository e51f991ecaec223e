//! What a layer takes away from those beneath it: `.wh.NAME` and `.wh..wh..opq` in the archive
//! (OCI image spec, layer.md), in the form in which an overlay mounted with `userxattr` reads it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, XattrFlags, fsetxattr, mknodat, openat, statat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::place::{Place, shown};
use super::tree::{Parent, Tree, failed_at, is as is_a};

/// What an entry says that is no file.
pub(super) enum Mark<'a> {
    /// Nothing of this name comes from lower layers.
    Gone(&'a [u8]),
    /// Nothing in this directory does.
    Opaque,
    /// Leftovers of another union file system.
    Nothing,
}

impl<'a> Mark<'a> {
    /// What a file's name marks; `None` for a file that is just a file.
    pub(super) fn of(name: &'a [u8]) -> Option<Result<Self, UnpackError>> {
        Some(match name.strip_prefix(b".wh.")? {
            b".wh..opq" => Ok(Self::Opaque),
            b"" | b"." | b".." => {
                let why = format!("{} takes nothing away that a layer may", shown(name));
                Err(UnpackError::Unsupported(why))
            }
            name if name.starts_with(b".wh.") => Ok(Self::Nothing),
            name => Ok(Self::Gone(name)),
        })
    }
}

/// Whether this is how an overlay says that a name is gone.
pub(super) fn is(stat: &Stat) -> bool {
    is_a(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

/// Hides what lower layers have in a directory.
pub(super) fn make_opaque(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent.as_fd(), name, flags, Mode::empty())?;
    fsetxattr(directory, "user.overlay.opaque", b"y", XattrFlags::empty())
}

/// Why a mark could not be left.
pub(super) fn unmarked(place: &Place) -> impl FnOnce(Errno) -> UnpackError {
    move |e| match e {
        Errno::OPNOTSUPP => UnpackError::Failed(
            "the file system keeps no extended attributes of users; keep images on ext4, xfs or \
             btrfs"
                .into(),
        ),
        e => failed_at("marking", place)(e),
    }
}

impl Tree {
    /// Leaves a mark. It concerns lower layers only: what this one adds stays, whatever comes
    /// first in the archive.
    pub(super) fn mark(
        &mut self,
        parent: &Parent,
        mark: &Mark<'_>,
        place: &Place,
    ) -> Result<(), UnpackError> {
        match mark {
            Mark::Nothing => Ok(()),
            Mark::Opaque => make_opaque(&parent.fd, b".").map_err(unmarked(place)),
            Mark::Gone(name) => {
                match mknodat(&parent.fd, *name, FileType::CharacterDevice, Mode::empty(), 0) {
                    Err(Errno::EXIST) => {}
                    made => return made.map_err(unmarked(place)),
                }
                let there = statat(&parent.fd, *name, AtFlags::SYMLINK_NOFOLLOW);
                let there = there.map_err(failed_at("looking at", place))?;
                if is_a(&there, FileType::Directory) {
                    make_opaque(&parent.fd, name).map_err(unmarked(place))?;
                }
                Ok(())
            }
        }
    }
}
