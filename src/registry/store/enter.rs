//! The steps of an installation that change the index.

use std::collections::HashSet;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};

use super::catalog::{Update, hex, now};
use super::index::Record;
use super::install::Wanted;
use super::work::Work;
use super::{failed, time};
use crate::registry::{ImageError, LayerId};

/// What is to be done; `None` where the image was here and has only got its names.
pub(super) type Plan = Option<(Work, HashSet<LayerId>, u64)>;

impl Update {
    /// Begins an installation: names what it relies on, and makes room for what it needs at least.
    pub(super) fn plan(&mut self, wanted: &Wanted, limit: Option<u64>) -> Result<Plan, ImageError> {
        if self.index.images.contains_key(&wanted.digest) {
            self.index.name(&wanted.digest, &wanted.names);
            return Ok(None);
        }
        let ids = &wanted.parsed.diff_ids;
        let work = Work::begin(&self.folder, ids).map_err(failed::at("beginning a pull"))?;
        let here = |id: &LayerId| self.index.layers.contains_key(id);
        let mut seen = HashSet::new();
        let layers = wanted.manifest.layers.iter().zip(ids);
        let missing = layers.filter(|(_, id)| !here(id) && seen.insert(**id));
        let least = missing.map(|(layer, _)| layer.size).sum();
        if let Some(limit) = limit {
            self.make_room(least, limit)?;
        }
        let here: HashSet<LayerId> =
            ids.iter().filter(|id| self.index.layers.contains_key(id)).copied().collect();
        let taken = here.iter().filter_map(|id| self.index.layers.get(id)).sum();
        Ok(Some((work, here, taken)))
    }

    /// Puts an unpacked layer, which is the folder of this name in the work, where layers are.
    pub(super) fn place(
        &mut self,
        work: &Work,
        name: &str,
        id: LayerId,
        bytes: u64,
        limit: Option<u64>,
    ) -> Result<(), ImageError> {
        // Somebody else was faster; ours goes with the work.
        if self.index.layers.contains_key(&id) {
            return Ok(());
        }
        if let Some(limit) = limit {
            self.make_room(bytes, limit)?;
        }
        let (layers, place) = (self.folder.layers.as_fd(), id.to_string());
        let put = || {
            // What is there without being in the index need not be whole.
            work.take(layers, &place)?;
            work.put(name, layers, &place)
        };
        put().map_err(failed::at("putting a layer in its place"))?;
        self.index.layers.insert(id, bytes);
        Ok(())
    }

    /// Enters an image whose layers are all here.
    pub(super) fn enter(&mut self, wanted: &Wanted) -> Result<(), ImageError> {
        let ids = &wanted.parsed.diff_ids;
        if let Some(gone) = ids.iter().find(|id| !self.index.layers.contains_key(id)) {
            return Err(failed::broken(format_args!("{gone:?} went while it was needed")));
        }
        let (config, digest) = (&wanted.manifest.config.digest, &wanted.digest);
        if !self.index.images.contains_key(digest) {
            let write = || {
                self.folder.replace(self.folder.blobs.as_fd(), hex(config), &wanted.config)?;
                drop(self.folder.file(&self.folder.leases, hex(digest))?);
                // Not used yet.
                let never = Timespec { tv_sec: 0, tv_nsec: 0 };
                let times = Timestamps { last_access: never, last_modification: never };
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(utimensat(&self.folder.leases, hex(digest), &times, flags)?)
            };
            write().map_err(failed::at("writing an image's files"))?;
            let record = Record {
                references: Default::default(),
                repositories: Default::default(),
                config: config.clone(),
                layers: topmost(ids),
                created: wanted.parsed.created.as_deref().and_then(time::parse),
                pulled: now(),
            };
            self.index.images.insert(digest.clone(), record);
        }
        self.index.name(digest, &wanted.names);
        Ok(())
    }
}

/// Each layer once: of one that comes again, what counts is the topmost.
fn topmost(ids: &[LayerId]) -> Vec<LayerId> {
    let mut seen = HashSet::new();
    let mut ids: Vec<LayerId> = ids.iter().rev().filter(|id| seen.insert(**id)).copied().collect();
    ids.reverse();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_layer_that_comes_twice_the_topmost_counts() {
        let [a, b, c] = [1, 2, 3].map(|n| LayerId([n; 32]));
        assert_eq!(topmost(&[a, b, a, c]), [b, a, c]);
        assert_eq!(topmost(&[a, b, c]), [a, b, c]);
        assert_eq!(topmost(&[a, a, a]), [a]);
    }
}
