//! The index as this process sees and changes it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Stat, statat};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::folder::{self, Folder};
use super::index::{self, Index, Record};
use super::work::Work;
use super::{blocking, failed, lock, tree};
use crate::registry::{ImageError, LayerId};

/// Held while the index is read, changed and replaced.
const LOCK: &str = "lock";
/// For the lock to be had, which nobody keeps for longer than a few writes take.
const LOCK_TIME: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Which start of this machine the store was opened in last: where it is another one, the power may
/// have gone, and the disk may not have got what was written last.
const BOOT: &str = "boot";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which index there is: another one has another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([u64; 7]);

/// An index that was read, and what says that it still counts.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) index: Arc<Index>,
    pub(super) stamp: Option<Stamp>,
    /// Keeps the file's number from being given to another.
    _file: Option<Arc<File>>,
}

#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) folder: Arc<Folder>,
    current: Mutex<Option<Current>>,
    /// Counts changes by this process.
    pub(super) changes: watch::Sender<u64>,
}

/// A change of the index, with the lock held. What goes from the index goes from the disk once the
/// new index is written.
pub(super) struct Update {
    pub(super) folder: Arc<Folder>,
    pub(super) index: Index,
    /// Names in their folders.
    layers: Vec<String>,
    leases: Vec<String>,
    blobs: Vec<String>,
    /// Leases of images that go.
    claimed: Vec<File>,
    /// Keeps the lock.
    _lock: File,
}

impl Catalog {
    pub(super) fn new(folder: Arc<Folder>) -> Self {
        Self { folder, current: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// One system call.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let stat = statat(&self.folder.root, index::NAME, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Stamp::of(&stat))
    }

    /// The index as it is now, read again only where it has changed.
    pub(super) fn current(&self) -> io::Result<Current> {
        let stamp = self.stamp();
        if let Some(current) = &*self.known()
            && current.stamp == stamp
        {
            return Ok(current.clone());
        }
        let (index, file) = Index::read(&self.folder)?;
        let stamp = match &file {
            Some(file) => Some(Stamp::of(&rustix::fs::fstat(file)?)),
            None => None,
        };
        let current = Current { index: Arc::new(index), stamp, _file: file.map(Arc::new) };
        *self.known() = Some(current.clone());
        Ok(current)
    }

    /// Removes what dead processes left, unless another process is at it right now.
    pub(super) fn recover(&self) -> Result<(), ImageError> {
        let Some(lock) = self.try_lock().map_err(failed::at("its lock"))? else { return Ok(()) };
        let this = std::fs::read(BOOT_ID).unwrap_or_default();
        let last = self.last_boot().map_err(failed::at("the time of the boot"))?;
        let same = !this.is_empty() && this == last;
        let (dead, rubbish) = self.change(lock, |update| {
            if !same {
                update.distrust()?;
            }
            update.tidy().map_err(failed::at("tidying up"))
        })?;
        drop((dead, rubbish));
        self.folder.load_ballast();
        if same {
            return Ok(());
        }
        let written = self.folder.replace(self.folder.root.as_fd(), BOOT, &this);
        written.map_err(failed::at("the time of the boot"))
    }

    fn last_boot(&self) -> io::Result<Vec<u8>> {
        let mut last = Vec::new();
        if let Some(file) = folder::existing(&self.folder.root, BOOT)? {
            file.take(64).read_to_end(&mut last)?;
        }
        Ok(last)
    }

    fn known(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, alone among all processes. What the change leaves out is removed; it is
    /// gone when the work that is returned has been closed or dropped.
    pub(super) async fn update<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Update) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<(T, Option<Work>), ImageError> {
        let deadline = Instant::now() + LOCK_TIME;
        let lock = loop {
            if let Some(lock) = self.try_lock().map_err(failed::at("its lock"))? {
                break lock;
            }
            if Instant::now() > deadline {
                return Err(failed::busy());
            }
            sleep(LOCK_PAUSE).await;
        };
        let catalog = Arc::clone(self);
        blocking(move || catalog.change(lock, change)).await
    }

    /// The lock, unless somebody has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = self.folder.file(&self.folder.root, LOCK)?;
        Ok(lock::alone(&file)?.then_some(file))
    }

    /// As [`Catalog::update`], with the lock in hand.
    pub(super) fn change<T>(
        &self,
        lock: File,
        change: impl FnOnce(&mut Update) -> Result<T, ImageError>,
    ) -> Result<(T, Option<Work>), ImageError> {
        let (before, _) = Index::read(&self.folder).map_err(failed::at("the index"))?;
        let mut update = Update {
            folder: Arc::clone(&self.folder),
            index: before.clone(),
            layers: Vec::new(),
            leases: Vec::new(),
            blobs: Vec::new(),
            claimed: Vec::new(),
            _lock: lock,
        };
        let result = change(&mut update)?;
        if update.index != before {
            let (now, folder) = (&update.index, &self.folder);
            let grows =
                now.images.len() > before.images.len() || now.layers.len() > before.layers.len();
            let written = match grows {
                true => now.write(folder),
                false => folder.making_room(|| now.write(folder)),
            };
            written.map_err(failed::at("writing the index"))?;
            if update.index.names() != before.names() {
                self.changes.send_modify(|count| *count += 1);
            }
        }
        let removed = update.clear_away().map_err(failed::at("removing what is not needed"))?;
        Ok((result, removed))
    }
}

impl Update {
    /// The image's lease for us alone, so that nobody begins to use it; `None` while somebody does.
    pub(super) fn claim(&self, digest: &str) -> Result<Option<File>, ImageError> {
        let claim = || {
            let lease = self.folder.file(&self.folder.leases, hex(digest))?;
            Ok(lock::alone(&lease)?.then_some(lease))
        };
        claim().map_err(failed::at("a lease"))
    }

    /// Takes an image out whose lease is ours alone.
    pub(super) fn drop_image(&mut self, digest: &str, lease: File) {
        if let Some(record) = self.index.images.remove(digest) {
            self.drop_files(digest, &record);
            self.claimed.push(lease);
        }
    }

    /// Removes what an image has besides its layers, as far as no other image needs it.
    pub(super) fn drop_files(&mut self, digest: &str, record: &Record) {
        self.leases.push(hex(digest).to_owned());
        self.blobs.push(hex(&record.config).to_owned());
    }

    /// Takes a layer out, which no image has any more.
    pub(super) fn drop_layer(&mut self, id: LayerId) {
        self.index.layers.remove(&id);
        self.layers.push(id.to_string());
    }

    /// Removes everything from the disk that the index does not name.
    pub(super) fn drop_strays(&mut self) -> io::Result<()> {
        self.leases.extend(folder::names(&self.folder.leases)?);
        self.blobs.extend(folder::names(&self.folder.blobs)?);
        self.layers.extend(folder::names(&self.folder.layers)?);
        Ok(())
    }

    /// When an image was used last, in seconds since 1970; `None` where it never was.
    pub(super) fn last_used(&self, digest: &str) -> Option<u64> {
        last_used(&self.folder, digest)
    }

    /// Removes from the disk what is not in the index any more.
    fn clear_away(mut self) -> io::Result<Option<Work>> {
        let images = &self.index.images;
        let leases: HashSet<&str> = images.keys().map(|digest| hex(digest)).collect();
        let blobs: HashSet<&str> = images.values().map(|record| hex(&record.config)).collect();
        for name in self.leases.iter().filter(|name| !leases.contains(name.as_str())) {
            tree::remove(self.folder.leases.as_fd(), name)?;
        }
        for name in self.blobs.iter().filter(|name| !blobs.contains(name.as_str())) {
            tree::remove(self.folder.blobs.as_fd(), name)?;
        }
        let layers: HashSet<String> = self.index.layers.keys().map(LayerId::to_string).collect();
        self.layers.retain(|name| !layers.contains(name));
        if self.layers.is_empty() {
            return Ok(None);
        }
        let work = self.folder.making_room(|| Work::begin(&self.folder, &[]))?;
        for name in &self.layers {
            work.take(self.folder.layers.as_fd(), name)?;
        }
        Ok(Some(work))
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let signed = |value: i64| value.cast_unsigned();
        Self([
            stat.st_dev,
            stat.st_ino,
            signed(stat.st_size),
            signed(stat.st_mtime),
            stat.st_mtime_nsec,
            signed(stat.st_ctime),
            stat.st_ctime_nsec,
        ])
    }
}

/// The hexadecimal part of a `sha256:…` that was checked before.
pub(super) fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// By the time of the image's lease; a new one has none.
pub(super) fn last_used(folder: &Folder, digest: &str) -> Option<u64> {
    let lease = folder::existing(&folder.leases, hex(digest)).ok()??;
    let used = lease.metadata().ok()?.modified().ok()?;
    Some(used.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).filter(|at| *at > 0)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
