//! An image on its way into the store: layers unpacked and put in place one by one, and at last
//! its entry in the index.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::iter;
use rustix::fs::syncfs;

use super::budget::Budget;
use super::catalog::Update;
use super::source::Source;
use super::work::{self, Work};
use super::{Store, blocking, failed};
use crate::registry::manifest::{Config, Descriptor, Manifest};
use crate::registry::unpack::{Caps, UnpackError, Unpacked, Unpacker};
use crate::registry::{ImageError, LayerId, LayerPhase, LayerState, Progress, Reference, grammar};

/// Layers that are fetched and unpacked at the same time.
const AT_ONCE: usize = 3;
/// The most files, folders and links of an image.
const MAX_ENTRIES: u64 = 500_000;
/// Progress is told after so many more bytes.
const STEP: u64 = 64 << 10;

/// An image that is to be here.
pub(super) struct Wanted {
    /// What people call it.
    pub(super) reference: Reference,
    /// `sha256:…`: what it will be known by.
    pub(super) digest: String,
    /// The names that will lead to it.
    pub(super) names: Vec<Reference>,
    pub(super) manifest: Manifest,
    /// The configuration as it came: the bytes that the manifest's digest is of.
    pub(super) config: Vec<u8>,
    /// It fits the manifest.
    pub(super) parsed: Config,
}

/// Makes an image be here. When this is dropped or fails, layers that are whole already stay for
/// the next attempt, and nothing else does.
pub(super) async fn install(
    store: &Store,
    wanted: Wanted,
    source: &Source<'_>,
    progress: &Progress,
) -> Result<(), ImageError> {
    let (limit, wanted) = (store.options.size_limit, Arc::new(wanted));
    check(&wanted, store.options.max_image)?;
    let planning = Arc::clone(&wanted);
    let plan = store.catalog.update(move |update| update.plan(&planning, limit)).await?;
    let (plan, rubbish) = plan;
    work::close(rubbish).await;
    let Some((work, here, taken)) = plan else { return Ok(()) };
    let installation =
        Installation { store, wanted, source, progress, work: Arc::new(work), here, taken };
    let result = installation.run().await;
    if let Some(work) = Arc::into_inner(installation.work) {
        work.close().await;
    }
    result
}

struct Installation<'a> {
    store: &'a Store,
    wanted: Arc<Wanted>,
    source: &'a Source<'a>,
    progress: &'a Progress,
    work: Arc<Work>,
    /// The layers that were here from the start, and their bytes.
    here: HashSet<LayerId>,
    taken: u64,
}

/// Why a layer is not in place.
enum Missed {
    /// It needs more than its share.
    Share(Caps),
    Failed(ImageError),
}

impl From<ImageError> for Missed {
    fn from(error: ImageError) -> Self {
        Self::Failed(error)
    }
}

impl Installation<'_> {
    async fn run(&self) -> Result<(), ImageError> {
        let ids = &self.wanted.parsed.diff_ids;
        let mut seen = self.here.clone();
        let missing: Vec<usize> = (0..ids.len()).filter(|n| seen.insert(ids[*n])).collect();
        let layers = self.wanted.manifest.layers.iter().zip(ids);
        let states: Vec<LayerState> = layers
            .map(|(layer, id)| {
                let here = self.here.contains(id);
                let phase = if here { LayerPhase::Done } else { LayerPhase::Waiting };
                let done = if here { layer.size } else { 0 };
                LayerState { digest: layer.digest.clone(), done, total: Some(layer.size), phase }
            })
            .collect();
        self.progress.update(|state| state.layers = states);
        self.layers(missing).await?;
        self.commit().await
    }

    async fn layers(&self, missing: Vec<usize>) -> Result<(), ImageError> {
        let left = self.allowance().saturating_sub(self.taken);
        let all = Caps { bytes: left, entries: MAX_ENTRIES };
        let budget = Budget::new(all, missing.len(), AT_ONCE);
        let mut large = Vec::new();
        let fetched = iter(missing).map(|n| {
            let budget = &budget;
            async move { (n, self.layer(n, budget).await) }
        });
        let mut fetched = fetched.buffer_unordered(AT_ONCE);
        while let Some((n, result)) = fetched.next().await {
            match result {
                Ok(()) => {}
                Err(Missed::Share(share)) => large.push((n, share)),
                Err(Missed::Failed(error)) => return Err(error),
            }
        }
        drop(fetched);
        // Now that the others are done, those that needed more than their share may have the rest.
        let rest = Budget::new(budget.left(), large.len(), 1);
        for (n, share) in large {
            let more = rest.left();
            if more.bytes <= share.bytes && more.entries <= share.entries {
                return Err(self.too_large());
            }
            self.layer(n, &rest).await.map_err(|missed| match missed {
                Missed::Share(_) => self.too_large(),
                Missed::Failed(error) => error,
            })?;
        }
        Ok(())
    }

    /// The most bytes of the whole image.
    fn allowance(&self) -> u64 {
        let options = &self.store.options;
        options.size_limit.unwrap_or(u64::MAX).min(options.max_image)
    }

    /// Fetches and unpacks one layer, and puts it in place.
    async fn layer(&self, n: usize, budget: &Budget) -> Result<(), Missed> {
        let (Some(layer), Some(id)) =
            (self.wanted.manifest.layers.get(n), self.wanted.parsed.diff_ids.get(n).copied())
        else {
            return Err(failed::broken("a layer that is not in its manifest").into());
        };
        let share = budget.take();
        let name = format!("layer-{n}");
        let unpacked = match self.unpack(n, layer, &name, share).await {
            Ok(unpacked) => unpacked,
            Err(UnpackFailure::Image(error)) => return Err(error.into()),
            Err(UnpackFailure::Layer(UnpackError::TooLarge(_))) => {
                let (work, name) = (Arc::clone(&self.work), name.clone());
                let clear = move || work.clear(&name).map_err(failed::at("clearing a folder"));
                blocking(clear).await?;
                budget.give_back(share, Caps { bytes: 0, entries: 0 });
                return Err(Missed::Share(share));
            }
            Err(UnpackFailure::Layer(error)) => return Err(self.unpack_failed(n, error).into()),
        };
        let Unpacked { id: found, bytes, entries } = unpacked;
        if found != id {
            let why = format!("layer {} unpacks to something else than it says", n + 1);
            return Err(failed::corrupt(&self.wanted.reference, why).into());
        }
        budget.give_back(share, Caps { bytes, entries });
        let (work, limit) = (Arc::clone(&self.work), self.store.options.size_limit);
        let place = move |update: &mut Update| update.place(&work, &name, id, bytes, limit);
        let ((), rubbish) = self.store.catalog.update(place).await?;
        work::close(rubbish).await;
        self.tell(n, LayerPhase::Done, layer.size);
        Ok(())
    }

    async fn unpack(
        &self,
        n: usize,
        layer: &Descriptor,
        name: &str,
        caps: Caps,
    ) -> Result<Unpacked, UnpackFailure> {
        let folder = self.work.layer(name).map_err(failed::at("a layer's folder"))?;
        let owner = self.store.catalog.folder.layer_owner;
        let mut pieces = self.source.open(n, layer).await?;
        let mut unpacker =
            Unpacker::start(folder, owner, caps).map_err(failed::at("starting to unpack"))?;
        self.tell(n, LayerPhase::Downloading, 0);
        let (mut done, mut told) = (0, 0);
        while let Some(piece) = pieces.next().await? {
            unpacker.write(&piece).await?;
            done += piece.len() as u64;
            if done - told >= STEP {
                told = done;
                self.tell(n, LayerPhase::Downloading, done);
            }
        }
        self.tell(n, LayerPhase::Unpacking, done);
        Ok(unpacker.finish().await?)
    }

    fn tell(&self, n: usize, phase: LayerPhase, done: u64) {
        self.progress.update(|state| {
            if let Some(layer) = state.layers.get_mut(n) {
                (layer.phase, layer.done) = (phase, done);
            }
        });
    }

    /// Enters the image in the index, once its layers are safe from a power cut.
    async fn commit(&self) -> Result<(), ImageError> {
        let folder = Arc::clone(&self.store.catalog.folder);
        let written = move || syncfs(&folder.root).map_err(|e| failed::io("syncing", &e.into()));
        blocking(written).await?;
        let wanted = Arc::clone(&self.wanted);
        self.store.catalog.update(move |update| update.enter(&wanted)).await.map(drop)
    }

    fn unpack_failed(&self, n: usize, error: UnpackError) -> ImageError {
        let (reference, n) = (&self.wanted.reference, n + 1);
        match error {
            UnpackError::Corrupt(why) => {
                let error = failed::corrupt(reference, format_args!("layer {n} can't be read"));
                ImageError { cause: why, ..error }
            }
            UnpackError::Unsupported(why) => {
                let why = format!("layer {n}: {}", printable(&why));
                ImageError::unsupported(reference, why)
            }
            UnpackError::TooLarge(_) => self.too_large(),
            UnpackError::NoSpace => failed::disk_full("while unpacking"),
            UnpackError::Failed(why) => failed::broken(why),
        }
    }

    fn too_large(&self) -> ImageError {
        let options = &self.store.options;
        match options.size_limit {
            Some(limit) if limit < options.max_image => failed::store_full(limit, limit + 1),
            _ => too_large(&self.wanted.reference, options.max_image),
        }
    }
}

enum UnpackFailure {
    Layer(UnpackError),
    Image(ImageError),
}

impl From<UnpackError> for UnpackFailure {
    fn from(error: UnpackError) -> Self {
        Self::Layer(error)
    }
}

impl From<ImageError> for UnpackFailure {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// What can be said before anything is fetched.
fn check(wanted: &Wanted, max: u64) -> Result<(), ImageError> {
    // Both become names of files.
    let digests = [&wanted.digest, &wanted.manifest.config.digest];
    if digests.into_iter().any(|digest| grammar::digest(digest).is_err()) {
        return Err(failed::corrupt(&wanted.reference, "a digest of it is none"));
    }
    let sizes = wanted.manifest.layers.iter().map(|layer| layer.size);
    let all = sizes.fold(0, u64::saturating_add);
    if all > max { Err(too_large(&wanted.reference, max)) } else { Ok(()) }
}

fn too_large(reference: &Reference, max: u64) -> ImageError {
    let why =
        format!("it unpacks to more than {max} bytes (MAX_IMAGE_SIZE) or {MAX_ENTRIES} files");
    ImageError::unsupported(reference, why)
}

/// Text that may hold names out of a layer, made fit for a message.
fn printable(text: &str) -> String {
    const SHOWN: usize = 200;
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
