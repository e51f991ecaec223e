//! The store's folder, and what is where in it:
//!
//! | | |
//! |---|---|
//! | `layers/<64 hex>` | an unpacked layer, by the digest of its uncompressed archive |
//! | `blobs/sha256/<64 hex>` | images' configurations as they came |
//! | `leases/<64 hex>` | one empty file for each image, locked by whoever uses it; its time is the last use |
//! | `index.json` | what is here; nothing that it does not name is |
//! | `lock` | held while the index is read, changed and replaced |
//! | `boot` | when this machine was started: an unfinished pull is worth something until it is again |
//! | `ballast` | given up when the disk is full, so that images can be removed all the same |
//! | `tmp/<uuid>` | work in progress, with a locked file in it for as long as its process lives |

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FallocateFlags, Gid, Mode, OFlags, Uid, fallocate, fchown, mkdirat, open, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{LAYER_GID, LAYER_UID};

/// Nothing in the store is anybody else's business.
const PRIVATE: Mode = Mode::RWXU;
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const LAYERS: &str = "layers";
const BLOBS: &str = "blobs";
const SHA256: &str = "sha256";
const LEASES: &str = "leases";
const TMP: &str = "tmp";

const BALLAST: &str = "ballast";
const BALLAST_SIZE: u64 = 1 << 20;

/// An open store folder. Everything is reached from its descriptors.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    pub(super) layers: OwnedFd,
    pub(super) blobs: OwnedFd,
    pub(super) leases: OwnedFd,
    pub(super) tmp: OwnedFd,
    /// Whom everything new is given to, where that is somebody else than this process.
    owner: Option<(u32, u32)>,
    /// Whom layers belong to, where that is somebody else than this process.
    pub(super) layer_owner: Option<(u32, u32)>,
}

/// The folder of the unpacked layers of a store in `path`.
pub(super) fn layers_of(path: &Path) -> PathBuf {
    path.join(LAYERS)
}

impl Folder {
    /// Makes what is missing of the folder, and gives that, and nothing else, to `owner`.
    pub(super) fn prepare(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => give(open(path, FOLDER, Mode::empty())?, owner)?,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        let root = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for name in [LAYERS, BLOBS, LEASES, TMP] {
            make(root.as_fd(), name, owner)?;
        }
        make(openat(&root, BLOBS, FOLDER, Mode::empty())?.as_fd(), SHA256, owner)
    }

    /// Opens a prepared folder.
    ///
    /// # Errors
    /// What is wrong with it, completing "the image store … can't be used: …".
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let said = |e: io::Error| e.to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(path, flags, Mode::empty()).map_err(|e| said(e.into()))?;
        let found = File::from(root.try_clone().map_err(said)?).metadata().map_err(said)?;
        let (uid, gid, us) = (found.uid(), found.gid(), geteuid());
        if !us.is_root() && uid != us.as_raw() {
            return Err(format!("it belongs to uid {uid}, and this is uid {us:?}"));
        }
        if found.mode() & 0o022 != 0 {
            return Err("others than its owner may write to it; chmod 700 it".into());
        }
        let owner = (us.as_raw() != uid).then_some((uid, gid));
        Self::prepare(path, owner).map_err(said)?;
        let enter = |name: &str| openat(&root, name, FOLDER, Mode::empty());
        let enter = |name: &str| enter(name).map_err(|e| format!("{name}: {}", said(e.into())));
        let blobs = openat(&enter(BLOBS)?, SHA256, FOLDER, Mode::empty());
        Ok(Self {
            path: path.into(),
            layers: enter(LAYERS)?,
            blobs: blobs.map_err(|e| said(e.into()))?,
            leases: enter(LEASES)?,
            tmp: enter(TMP)?,
            root,
            owner,
            layer_owner: us.is_root().then(|| owner.unwrap_or((LAYER_UID, LAYER_GID))),
        })
    }

    pub(super) fn layers_path(&self) -> PathBuf {
        layers_of(&self.path)
    }

    /// Opens a file to read and write it, made where it is not there. Only what was just made is
    /// given away: what is there already may be a link to what is not the owner's.
    pub(super) fn file(&self, folder: impl AsFd, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&folder, name, flags | OFlags::CREATE | OFlags::EXCL, FILE) {
            Ok(file) => {
                give(&file, self.owner)?;
                Ok(file.into())
            }
            Err(Errno::EXIST) => Ok(openat(&folder, name, flags, FILE)?.into()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a folder that is not there yet.
    pub(super) fn folder(&self, parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
        mkdirat(&parent, name, PRIVATE)?;
        let folder = openat(&parent, name, FOLDER, Mode::empty())?;
        give(&folder, self.owner)?;
        Ok(folder)
    }

    /// Puts a file in the place of another, so that whoever looks sees the one or the other whole,
    /// even after the power went. For one process at a time.
    pub(super) fn replace(
        &self,
        folder: BorrowedFd<'_>,
        name: &str,
        text: &[u8],
    ) -> io::Result<()> {
        let fresh = format!("{name}.new");
        match unlinkat(folder, fresh.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let mut file = self.file(folder, &fresh)?;
        io::Write::write_all(&mut file, text)?;
        file.sync_all()?;
        renameat(folder, fresh.as_str(), folder, name)?;
        Ok(rustix::fs::fsync(folder)?)
    }

    /// Keeps a little of the disk, so that what makes room can be written down when there is none.
    /// A disk that does not take it is no worse than without.
    pub(super) fn load_ballast(&self) {
        if let Ok(None) = existing(&self.root, BALLAST)
            && let Ok(file) = self.file(&self.root, BALLAST)
        {
            let _ = fallocate(&file, FallocateFlags::empty(), 0, BALLAST_SIZE);
        }
    }

    /// As `make_room`, once more without the ballast where the disk is full.
    pub(super) fn making_room<T>(&self, make_room: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match make_room() {
            Err(e)
                if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
                    && unlinkat(&self.root, BALLAST, AtFlags::empty()).is_ok() =>
            {
                make_room()
            }
            result => result,
        }
    }
}

/// Opens a file to read it; `None` where there is none.
pub(super) fn existing(folder: impl AsFd, name: &str) -> io::Result<Option<File>> {
    match openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The names in a folder.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn make(parent: BorrowedFd<'_>, name: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    match mkdirat(parent, name, PRIVATE) {
        Ok(()) => give(openat(parent, name, FOLDER, Mode::empty())?, owner),
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn give(what: impl AsFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(fchown(what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}
