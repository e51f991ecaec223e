//! Writing a layer's files, in the form in which an overlay takes them.
//!
//! Everything is done relative to descriptors, and no name is resolved beyond the layer's root,
//! whatever symbolic links the layer has put in the way. All of it belongs to whoever runs this:
//! the archive's owners, extended attributes, devices, set-uid and set-gid bits are left out. The
//! only device there is has the number 0:0, which opens nothing: it is how an overlay says that a
//! name is gone.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, chmodat, fchmod,
    fstat, futimens, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::archive::{Archive, Entry, Extents, Kind};
use super::place::{DEEPEST, Place, split};
use super::{Caps, UnpackError, whiteout};

/// Directories are the process's own until all is written.
const OURS: Mode = Mode::RWXU;
const IMPLIED_MODE: u16 = 0o755;

/// A tree being written.
pub(super) struct Tree {
    root: OwnedFd,
    /// Every directory, by its inode's number.
    pub(super) directories: HashMap<u64, Directory>,
    /// The directory that was used last: archives mostly go on in the same one.
    last: Option<(Vec<u8>, Rc<Parent>)>,
    entries: u64,
    most_entries: u64,
    bytes: u64,
}

/// What becomes of a directory when all is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub(super) mode: u16,
    pub(super) mtime: Option<Timespec>,
    /// How far beneath the root it really lies. Links can make a path lead deeper than it is long.
    depth: u16,
}

/// A directory that is open.
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    depth: u16,
}

impl Tree {
    /// Writes into `root`, which is open for reading and empty.
    pub(super) fn new(root: OwnedFd, caps: Caps) -> Result<Self, UnpackError> {
        let number = fstat(&root).map_err(failed("looking at the root"))?.st_ino;
        let directory = Directory { mode: IMPLIED_MODE, mtime: None, depth: 0 };
        Ok(Self {
            root,
            directories: HashMap::from([(number, directory)]),
            last: None,
            entries: 0,
            most_entries: caps.entries,
            bytes: 0,
        })
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of regular files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Adds one entry, and takes its content from `archive`.
    ///
    /// # Errors
    /// [`UnpackError::TooLarge`] beyond the cap, [`UnpackError::Unsupported`] for what has no place
    /// here, [`UnpackError::NoSpace`], and what the archive says.
    pub(super) fn add(&mut self, entry: Entry, archive: &mut Archive) -> Result<(), UnpackError> {
        self.count()?;
        let left_out = entry.place.is_the_containers_own() || entry.place.is_a_leftover();
        if left_out || matches!(entry.kind, Kind::Device) {
            return Ok(());
        }
        let Some((path, name)) = entry.place.split() else {
            return self.add_root(&entry);
        };
        let parent = self.parent(path, &entry.place)?;
        if let Some(mark) = whiteout::Mark::of(name) {
            return self.mark(&parent, &mark?, &entry.place);
        }
        let (place, mtime) = (&entry.place, entry.mtime);
        match entry.kind {
            Kind::File(extents) => {
                self.file(&parent, name, place, &extents, (entry.mode, mtime), archive)
            }
            Kind::Directory => {
                let number = self.directory(&parent, name, place)?;
                if let Some(directory) = self.directories.get_mut(&number) {
                    (directory.mode, directory.mtime) = (entry.mode, Some(mtime));
                }
                Ok(())
            }
            Kind::Symlink(target) => {
                self.put(&parent, name, place, || symlinkat(&target[..], &parent.fd, name))?;
                touch(&parent, name, mtime).map_err(failed_at("dating", place))
            }
            Kind::HardLink(target) => self.hard_link(&parent, name, place, &target),
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(entry.mode.into());
                let make = || mknodat(&parent.fd, name, FileType::Fifo, Mode::RUSR, 0);
                self.put(&parent, name, place, make)?;
                chmodat(&parent.fd, name, mode, AtFlags::empty())
                    .and_then(|()| touch(&parent, name, mtime))
                    .map_err(failed_at("making", place))
            }
            Kind::Device => Ok(()),
        }
    }

    fn count(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.most_entries {
            let why = format!("it holds more than {} files", self.most_entries);
            return Err(UnpackError::TooLarge(why));
        }
        Ok(())
    }

    fn add_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if !matches!(entry.kind, Kind::Directory) {
            let why = "its root is not a directory";
            return Err(UnpackError::Unsupported(why.into()));
        }
        let number = fstat(&self.root).map_err(failed("looking at the root"))?.st_ino;
        if let Some(root) = self.directories.get_mut(&number) {
            (root.mode, root.mtime) = (entry.mode, Some(entry.mtime));
        }
        Ok(())
    }

    /// The directory at `path`, made where the archive has not said anything about it.
    fn parent(&mut self, path: &[u8], place: &Place) -> Result<Rc<Parent>, UnpackError> {
        if let Some((last, parent)) = &self.last
            && last == path
        {
            return Ok(parent.clone());
        }
        let parent = match self.open(path) {
            Ok(fd) => self.opened(fd, place)?,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let (above, name) = split(path);
                let above = self.parent(above, place)?;
                self.imply(&above, name, place)?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(&above.fd, name, flags, Mode::empty());
                self.opened(fd.map_err(failed_at("opening what holds", place))?, place)?
            }
            Err(Errno::LOOP) => return Err(unsupported(place, "lies behind links in a circle")),
            Err(e) => return Err(failed_at("opening what holds", place)(e)),
        };
        let parent = Rc::new(parent);
        self.last = Some((path.to_vec(), parent.clone()));
        Ok(parent)
    }

    fn opened(&self, fd: OwnedFd, place: &Place) -> Result<Parent, UnpackError> {
        let number = fstat(&fd).map_err(failed_at("looking at what holds", place))?.st_ino;
        let directory = self.directories.get(&number);
        let depth = directory.map(|directory| directory.depth);
        let depth = depth.ok_or_else(|| {
            UnpackError::Failed(format!("what holds {} is not ours", place.shown()))
        })?;
        Ok(Parent { fd, depth })
    }

    /// Opens a directory as a process would whose root is the layer's.
    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // Something else on this machine was renamed while the kernel followed a `..`.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    }

    /// Makes a directory of which only something beneath it is known so far.
    fn imply(&mut self, above: &Parent, name: &[u8], place: &Place) -> Result<(), UnpackError> {
        let there = match statat(&above.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            there => Some(there.map_err(failed_at("looking at what holds", place))?),
        };
        match there {
            Some(there) if is(&there, FileType::Symlink) => {
                let why = "lies behind a symbolic link to something that is not in its layer";
                Err(unsupported(place, why))
            }
            Some(there) if !whiteout::is(&there) => Err(unsupported(place, "lies beneath a file")),
            _ => {
                self.count()?;
                self.directory(above, name, place).map(|_| ())
            }
        }
    }

    /// Makes a directory or takes the one that is there. Its inode's number.
    fn directory(
        &mut self,
        parent: &Parent,
        name: &[u8],
        place: &Place,
    ) -> Result<u64, UnpackError> {
        let look = || statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut hides = false;
        match mkdirat(&parent.fd, name, OURS) {
            Err(Errno::EXIST) => {
                let there = look().map_err(failed_at("looking at", place))?;
                if is(&there, FileType::Directory) {
                    return Ok(there.st_ino);
                }
                hides = whiteout::is(&there);
                self.remove(&parent.fd, name, place)?;
                mkdirat(&parent.fd, name, OURS).map_err(failed_at("making", place))?;
            }
            made => made.map_err(failed_at("making", place))?,
        }
        let number = look().map_err(failed_at("looking at", place))?.st_ino;
        let depth = parent.depth + 1;
        if depth > DEEPEST {
            return Err(unsupported(place, "is too deep"));
        }
        let directory = Directory { mode: IMPLIED_MODE, mtime: None, depth };
        self.directories.insert(number, directory);
        if hides {
            // What lower layers have there stays hidden, as it was.
            whiteout::make_opaque(&parent.fd, name).map_err(whiteout::unmarked(place))?;
        }
        Ok(number)
    }

    fn file(
        &mut self,
        parent: &Parent,
        name: &[u8],
        place: &Place,
        extents: &Extents,
        (mode, mtime): (u16, Timespec),
        archive: &mut Archive,
    ) -> Result<(), UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || openat(&parent.fd, name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(self.put(parent, name, place, make)?);
        let mut written = 0;
        for (offset, length) in &extents.list {
            written = *offset;
            archive.pass(*length, |piece| {
                file.write_all_at(piece, written).map_err(|e| wrote(&e, place))?;
                written += piece.len() as u64;
                Ok(())
            })?;
            self.bytes += length;
        }
        if written < extents.size {
            file.set_len(extents.size).map_err(|e| wrote(&e, place))?;
        }
        fchmod(&file, Mode::from_raw_mode(mode.into()))
            .and_then(|()| futimens(&file, &at(mtime)))
            .map_err(failed_at("setting the mode and time of", place))
    }

    fn hard_link(
        &mut self,
        parent: &Parent,
        name: &[u8],
        place: &Place,
        target: &Place,
    ) -> Result<(), UnpackError> {
        let elsewhere = || unsupported(place, "is a hard link to a file of another layer");
        let (path, target_name) = target.split().ok_or_else(elsewhere)?;
        let holder = match self.open(path) {
            Ok(holder) => holder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(elsewhere()),
            Err(e) => return Err(failed_at("opening the target of", place)(e)),
        };
        let link = || linkat(&holder, target_name, &parent.fd, name, AtFlags::empty());
        let there = match statat(&holder, target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if whiteout::is(&there) => return Err(elsewhere()),
            Ok(there) if is(&there, FileType::Directory) => {
                return Err(unsupported(place, "is a hard link to a directory"));
            }
            Err(Errno::NOENT) => return Err(elsewhere()),
            there => there.map_err(failed_at("looking at the target of", place))?,
        };
        let known = statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        if known.is_ok_and(|known| known.st_ino == there.st_ino) {
            return Ok(());
        }
        match link() {
            Err(Errno::EXIST) => {
                self.remove(&parent.fd, name, place)?;
                match link() {
                    Err(Errno::NOENT) => Err(elsewhere()),
                    linked => linked.map_err(failed_at("linking", place)),
                }
            }
            Err(Errno::MLINK) => Err(unsupported(place, "is one hard link too many")),
            linked => linked.map_err(failed_at("linking", place)),
        }
    }

    /// Makes something new, in the place of whatever the layer has put there before.
    fn put<T>(
        &mut self,
        parent: &Parent,
        name: &[u8],
        place: &Place,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T, UnpackError> {
        match make() {
            Err(Errno::EXIST) => {
                self.remove(&parent.fd, name, place)?;
                make().map_err(failed_at("making", place))
            }
            made => made.map_err(failed_at("making", place)),
        }
    }

    /// Nothing remembered about open directories holds any more.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }
}

pub(super) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

pub(super) fn at(mtime: Timespec) -> Timestamps {
    Timestamps { last_access: mtime, last_modification: mtime }
}

fn touch(parent: &Parent, name: &[u8], mtime: Timespec) -> rustix::io::Result<()> {
    utimensat(&parent.fd, name, &at(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn unsupported(place: &Place, why: &str) -> UnpackError {
    UnpackError::Unsupported(format!("{} {why}", place.shown()))
}

/// What the kernel said while `doing` something to a file.
pub(super) fn failed_at(doing: &'static str, place: &Place) -> impl FnOnce(Errno) -> UnpackError {
    move |e| match failed(doing)(e) {
        UnpackError::Failed(why) => UnpackError::Failed(format!("{}: {why}", place.shown())),
        other => other,
    }
}

pub(super) fn failed(doing: &'static str) -> impl FnOnce(Errno) -> UnpackError {
    move |e| match e {
        Errno::NOSPC | Errno::DQUOT => UnpackError::NoSpace,
        // Some file systems take less than the kernel does.
        Errno::NAMETOOLONG => UnpackError::Unsupported("a name is too long here".into()),
        e => UnpackError::Failed(format!("{doing}: {e}")),
    }
}

fn wrote(e: &std::io::Error, place: &Place) -> UnpackError {
    failed_at("writing", place)(Errno::from_io_error(e).unwrap_or(Errno::IO))
}
