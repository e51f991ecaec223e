//! This instance's own folder in each hierarchy, where its containers' groups are made.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, unlinkat};

use super::group::Group;
use super::leftovers::folder;
use super::{Controller, Layout, NoCgroup, Version, files, v2};
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
            if layout.version == Version::V1 && controllers.contains(&Controller::Memory) {
                // Groups inherit it when they are made.
                files::set(&folder, "memory.swappiness", "0").map_err(failed)?;
            }
            hierarchies.push(Hierarchy { above, folder, controllers: controllers.clone() });
        }
        Ok(Self { version: layout.version, owner: name, hierarchies })
    }

    /// Makes one group and applies its limits; on failure nothing of it stays.
    ///
    /// # Errors
    /// What could not be made, or the limit that does not hold.
    pub fn group(&self, name: &str, limits: &MakeLimits) -> io::Result<Group> {
        let made = self.make(name).and_then(|group| group.limit(limits).map(|()| group));
        if made.is_err() {
            self.remove_group(name)?;
        }
        made
    }

    fn make(&self, name: &str) -> io::Result<Group> {
        for hierarchy in &self.hierarchies {
            mkdirat(&hierarchy.folder, name, Mode::from_raw_mode(0o755))?;
        }
        self.find(name)
    }

    /// A group that was made before. Descriptors are not kept while a container lives: every new
    /// process would inherit and close them all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, name: &str) -> io::Result<Group> {
        let open = |hierarchy: &Hierarchy| {
            let dir = openat(&hierarchy.folder, name, DIRECTORY, Mode::empty())?;
            Ok((dir, hierarchy.controllers.clone()))
        };
        let directories = self.hierarchies.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Group { version: self.version, directories })
    }

    /// Removes a group. The kernel does so only when no process is inside, so success proves it.
    ///
    /// # Errors
    /// `ResourceBusy` for as long as something is inside; the call may be repeated.
    pub fn remove_group(&self, name: &str) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            match unlinkat(&hierarchy.folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
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
