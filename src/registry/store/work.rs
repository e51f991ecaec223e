//! Work in progress, each in a folder of its own, with a locked file that says who lives.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::fs::{fchmod, renameat};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::folder::{self, Folder, give};
use super::{lock, tree};
use crate::registry::LayerId;

/// Locked for as long as the work goes on; it lists the layers that the work relies on.
const HELD: &str = "held";
/// A process that is ending may write on for a moment, so that a folder is not empty yet.
const REMOVALS: usize = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// For the folder of finished work to be gone; past it, it goes in the background.
const CLOSE: Duration = Duration::from_secs(30);

/// A folder for work in progress. Dropping it removes the folder with all that is in it, behind the
/// caller's back.
#[derive(Debug)]
pub(super) struct Work(Option<Place>);

#[derive(Debug)]
struct Place {
    folder: Arc<Folder>,
    name: String,
    dir: OwnedFd,
    _held: File,
}

impl Work {
    /// Begins a piece of work that relies on these layers, here or to come: they stay for as long as
    /// it goes on. For whoever has the index locked.
    pub(super) fn begin(folder: &Arc<Folder>, needs: &[LayerId]) -> io::Result<Self> {
        let name = Uuid::now_v7().to_string();
        let dir = folder.folder(&folder.tmp, &name)?;
        let mut held = folder.file(&dir, HELD)?;
        lock::alone(&held)?;
        let needs: String = needs.iter().map(|id| format!("{id:?}\n")).collect();
        held.write_all(needs.as_bytes())?;
        let folder = Arc::clone(folder);
        Ok(Self(Some(Place { folder, name, dir, _held: held })))
    }

    fn place(&self) -> io::Result<&Place> {
        // Only closing takes it, and that takes the work.
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A fresh folder in it, which belongs to those that layers belong to.
    pub(super) fn layer(&self, name: &str) -> io::Result<OwnedFd> {
        let place = self.place()?;
        let layer = place.folder.folder(&place.dir, name)?;
        give(&layer, place.folder.layer_owner)?;
        Ok(layer)
    }

    /// A fresh file in it.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        let place = self.place()?;
        place.folder.file(&place.dir, name)
    }

    /// Removes a folder in it.
    pub(super) fn clear(&self, name: &str) -> io::Result<()> {
        tree::remove(self.place()?.dir.as_fd(), name).map(drop)
    }

    /// Takes a folder, or whatever it is, in from elsewhere in the store, to be removed with it.
    pub(super) fn take(&self, from: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match tree::opened_up(from, name) {
            Ok(_) => Ok(renameat(from, name, &self.place()?.dir, name)?),
            Err(_) => tree::remove(from, name).map(drop),
        }
    }

    /// Puts a folder of this work where it belongs, as it is.
    pub(super) fn put(&self, name: &str, to: BorrowedFd<'_>, place: &str) -> io::Result<()> {
        let dir = &self.place()?.dir;
        // Who moves a folder must be allowed to write to it, whatever its image says.
        let (folder, mode) = tree::opened_up(dir.as_fd(), name)?;
        renameat(dir, name, to, place)?;
        Ok(fchmod(folder, mode)?)
    }

    /// Removes it, and says how many bytes went with it, as far as they were gone in time.
    pub(super) async fn close(mut self) -> u64 {
        let Some(place) = self.0.take() else { return 0 };
        // On its own, so that it goes on when nobody waits for it any more.
        let removal = tokio::spawn(remove(place));
        timeout(CLOSE, removal).await.ok().and_then(Result::ok).unwrap_or(0)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Some(place) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(remove(place))),
            // What stays is dead work, and the next who opens the store removes it.
            Err(_) => drop(place.remove()),
        }
    }
}

impl Place {
    fn remove(&self) -> io::Result<u64> {
        tree::remove(self.folder.tmp.as_fd(), &self.name)
    }
}

async fn remove(place: Place) -> u64 {
    let place = Arc::new(place);
    for _ in 0..REMOVALS {
        let removing = Arc::clone(&place);
        match spawn_blocking(move || removing.remove()).await {
            Ok(Ok(freed)) => return freed,
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => break,
        }
    }
    0
}

/// The layers that work in progress relies on, whosever it is. For whoever has the index locked.
pub(super) fn needed(folder: &Folder) -> io::Result<HashSet<LayerId>> {
    let mut needed = HashSet::new();
    for name in folder::names(&folder.tmp)? {
        if let Some(mut held) = held(folder, &name)?
            && !lock::shared(&held)?
        {
            let mut text = String::new();
            held.read_to_string(&mut text)?;
            needed.extend(text.lines().filter_map(LayerId::from_digest));
        }
    }
    Ok(needed)
}

/// Takes over what dead processes left. For whoever has the index locked.
pub(super) fn leftovers(folder: &Arc<Folder>) -> io::Result<Vec<Work>> {
    let mut dead = Vec::new();
    for name in folder::names(&folder.tmp)? {
        let Ok((dir, _)) = tree::opened_up(folder.tmp.as_fd(), &name) else {
            // No folder, and so nothing that this service made.
            tree::remove(folder.tmp.as_fd(), &name)?;
            continue;
        };
        let held = folder.file(&dir, HELD)?;
        if lock::alone(&held)? {
            let folder = Arc::clone(folder);
            dead.push(Work(Some(Place { folder, name, dir, _held: held })));
        }
    }
    Ok(dead)
}

fn held(folder: &Folder, name: &str) -> io::Result<Option<File>> {
    match folder::existing(&folder.tmp, &format!("{name}/{HELD}")) {
        // No folder at all.
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(None),
        found => found,
    }
}

/// Closes finished work, and says how many bytes went with it.
pub(super) async fn close(work: impl IntoIterator<Item = Work>) -> u64 {
    join_all(work.into_iter().map(Work::close)).await.into_iter().sum()
}
