//! What goes when: images that are not used and layers that no image has.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

use super::catalog::Update;
use super::index::{self, Index};
use super::work::{self, Work};
use super::{failed, folder};
use crate::registry::{ImageError, ImageErrorKind, LayerId, Reference, Removed};

impl Update {
    /// Makes room for so many more bytes: layers that no image has go first, then the images used
    /// least recently. Where even that is not enough, all stay.
    ///
    /// # Errors
    /// `NoSpace`.
    pub(super) fn make_room(&mut self, wanted: u64, limit: u64) -> Result<(), ImageError> {
        if self.index.layers.values().sum::<u64>().saturating_add(wanted) <= limit {
            return Ok(());
        }
        let pinned = self.pinned()?;
        let mut images: Vec<&String> = self.index.images.keys().collect();
        images.sort_by_cached_key(|digest| {
            let pulled = self.index.images.get(*digest).map(|record| record.pulled);
            self.last_used(digest).max(pulled)
        });
        let mut images = images.into_iter();
        let mut gone: HashMap<String, File> = HashMap::new();
        while self.kept(&pinned, &gone).saturating_add(wanted) > limit {
            let digest = images.next().ok_or_else(|| failed::store_full(limit, wanted))?;
            if let Some(lease) = self.claim(digest)? {
                gone.insert(digest.clone(), lease);
            }
        }
        for (digest, lease) in gone {
            self.drop_image(&digest, lease);
        }
        let all: Vec<LayerId> = self.index.layers.keys().copied().collect();
        self.drop_layers(&all, &pinned);
        Ok(())
    }

    /// Bytes of what stays without these images.
    fn kept(&self, pinned: &HashSet<LayerId>, gone: &HashMap<String, File>) -> u64 {
        let stay = self.index.images.iter().filter(|(digest, _)| !gone.contains_key(*digest));
        let used: HashSet<LayerId> = stay.flat_map(|(_, record)| &record.layers).copied().collect();
        let stays = |id: &LayerId| used.contains(id) || pinned.contains(id);
        self.index.layers.iter().filter(|(id, _)| stays(id)).map(|(_, bytes)| bytes).sum()
    }

    /// The layers that work in progress relies on.
    pub(super) fn pinned(&self) -> Result<HashSet<LayerId>, ImageError> {
        work::needed(&self.folder).map_err(failed::at("work in progress"))
    }

    /// Takes out those of the layers that no image has and no work relies on.
    pub(super) fn drop_layers(&mut self, layers: &[LayerId], pinned: &HashSet<LayerId>) {
        let images = self.index.images.values();
        let used: HashSet<LayerId> = images.flat_map(|record| &record.layers).copied().collect();
        for id in layers {
            if !used.contains(id) && !pinned.contains(id) {
                self.drop_layer(*id);
            }
        }
    }

    /// Takes one name out, and the image with its last one; by digest, the image with all.
    ///
    /// # Errors
    /// `NotFound`; `InUse`.
    pub(super) fn remove(&mut self, reference: &Reference) -> Result<Removed, ImageError> {
        let found = self.index.manage(reference);
        let (digest, record) = found.ok_or_else(|| ImageError::not_found(reference))?;
        let (digest, record) = (digest.to_owned(), record.clone());
        let (full, mut removed) = (reference.full(), Removed::default());
        if reference.digest().is_none() && record.references.len() > 1 {
            if let Some(record) = self.index.images.get_mut(&digest) {
                record.references.remove(&full);
            }
            removed.references.push(reference.to_string());
            return Ok(removed);
        }
        let in_use = || {
            let detail = format!("image {reference} is in use; try again when no container has it");
            ImageError::new(ImageErrorKind::InUse, detail, String::new())
        };
        let lease = self.claim(&digest)?.ok_or_else(in_use)?;
        self.drop_image(&digest, lease);
        let pinned = self.pinned()?;
        self.drop_layers(&record.layers, &pinned);
        removed.references = record.references.iter().map(|name| index::familiar(name)).collect();
        removed.digests.push(digest);
        Ok(removed)
    }

    /// Takes out every image without a name that is not in use, every layer that nothing needs, and
    /// what is in the folder without being in the index. Also says which work is dead.
    pub(super) fn prune(&mut self) -> Result<(Removed, Vec<Work>), ImageError> {
        let images = self.index.images.iter();
        let unnamed = images.filter(|(_, record)| record.references.is_empty());
        let unnamed: Vec<String> = unnamed.map(|(digest, _)| digest.clone()).collect();
        let mut removed = Removed::default();
        for digest in unnamed {
            if let Some(lease) = self.claim(&digest)? {
                self.drop_image(&digest, lease);
                removed.digests.push(digest);
            }
        }
        let all: Vec<LayerId> = self.index.layers.keys().copied().collect();
        let pinned = self.pinned()?;
        self.drop_layers(&all, &pinned);
        let dead = self.tidy().map_err(failed::at("tidying up"))?;
        Ok((removed, dead))
    }

    /// Brings index and folder together again after a crash or a stranger's hand: an image whose
    /// layers are not all there is none, and what the index does not name goes.
    pub(super) fn tidy(&mut self) -> io::Result<Vec<Work>> {
        let there: HashSet<String> = folder::names(&self.folder.layers)?.into_iter().collect();
        let Index { images, layers, .. } = &mut self.index;
        layers.retain(|id, _| there.contains(&id.to_string()));
        images.retain(|_, record| record.layers.iter().all(|id| layers.contains_key(id)));
        self.drop_strays()?;
        work::leftovers(&self.folder)
    }

    /// Takes out the layers that no image has: after a crash of the whole machine nobody knows
    /// whether they are whole.
    pub(super) fn distrust(&mut self) -> Result<(), ImageError> {
        let all: Vec<LayerId> = self.index.layers.keys().copied().collect();
        let pinned = self.pinned()?;
        self.drop_layers(&all, &pinned);
        Ok(())
    }
}
