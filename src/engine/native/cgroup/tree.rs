//! This instance's own folder in each hierarchy, where its containers' groups are made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, unlinkat};

use super::group::Group;
use super::leftovers::folder;
use super::{Controller, Layout, NoCgroup, Version, v2};
use crate::engine::native::protocol::MakeLimits;
use crate::engine::owner::Owner;

/// Open directories, so that the spawner needs no path to them later.
pub struct Tree {
    version: Version,
    owner: String,
    hierarchies: Vec<Hierarchy>,
}

struct Hierarchy {
    /// This process's own group.
    above: OwnedFd,
    /// Our folder in it.
    folder: OwnedFd,
    controllers: Vec<Controller>,
}

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Tree {
    /// Makes this instance's folders, or takes over those an earlier spawner of the same instance
    /// has left.
    ///
    /// # Errors
    /// The path that can't be written, or the controllers that are not delegated to us.
    pub fn open(layout: &Layout, owner: &Owner) -> Result<Self, NoCgroup> {
        let name = folder(owner);
        let mut hierarchies = Vec::new();
        for (path, controllers) in &layout.directories {
            let failed = |e: io::Error| NoCgroup::NotWritable {
                path: path.display().to_string(),
                reason: e.to_string(),
            };
            let above = open(path, DIRECTORY, Mode::empty()).map_err(|e| failed(e.into()))?;
            if layout.version == Version::V2 {
                v2::delegate(&above).map_err(|missing| missing.at(path))?;
            }
            make(&above, &name).map_err(failed)?;
            let folder =
                openat(&above, &name, DIRECTORY, Mode::empty()).map_err(|e| failed(e.into()))?;
            if layout.version == Version::V2 {
                v2::delegate(&folder).map_err(|missing| missing.at(path))?;
            }
            hierarchies.push(Hierarchy { above, folder, controllers: controllers.clone() });
        }
        Ok(Self { version: layout.version, owner: name, hierarchies })
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.folder.as_fd())
    }

    /// Makes one group and applies its limits; on failure nothing of it stays.
    ///
    /// # Errors
    /// What could not be made, or the limit that does not hold.
    pub fn group(&self, name: &str, limits: &MakeLimits) -> io::Result<Group> {
        let mut group =
            Group { version: self.version, name: name.to_owned(), directories: Vec::new() };
        let made = self.fill(&mut group).and_then(|()| group.limit(limits));
        match made {
            Ok(()) => Ok(group),
            Err(e) => {
                group.remove(self)?;
                Err(e)
            }
        }
    }

    fn fill(&self, group: &mut Group) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            mkdirat(&hierarchy.folder, &group.name, Mode::from_raw_mode(0o755))?;
            let dir = openat(&hierarchy.folder, &group.name, DIRECTORY, Mode::empty())?;
            group.directories.push((dir, hierarchy.controllers.clone()));
        }
        Ok(())
    }

    /// Removes this instance's folders, once they are empty.
    ///
    /// # Errors
    /// `ResourceBusy` while a group is left in one.
    pub fn remove(&self) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            match unlinkat(&hierarchy.above, &self.owner, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

fn make(above: &OwnedFd, name: &str) -> io::Result<()> {
    match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
