//! From a reference to an image that is here, without a look at the disk where the same was asked
//! before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat, utimensat};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use super::catalog::{Catalog, Stamp, hex};
use super::{blocking, failed, folder, lock};
use crate::registry::manifest::{Config, MAX_CONFIG};
use crate::registry::{Image, ImageError, LayerId, Layers, Reference, is_hook};

/// How many references are remembered; past it all are looked up again.
const MOST: usize = 1024;
/// An image's last use is written down no more often.
const TOUCH: Duration = Duration::from_secs(60);
/// For an image that is being removed or replaced right now to be gone or there.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// Between two looks whether another process has changed the store.
const LOOK: Duration = Duration::from_secs(1);

/// What was found before.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What `resolved` was found in.
    stamp: Option<Stamp>,
    resolved: HashMap<Reference, Arc<Resolved>>,
    /// By digest.
    used: HashMap<String, Used>,
}

/// An image that is here, without a hold on it.
#[derive(Debug)]
struct Resolved {
    digest: String,
    env: Vec<(String, String)>,
    ids: Vec<LayerId>,
}

#[derive(Debug, Default)]
struct Used {
    layers: Weak<Layers>,
    touched: Option<Instant>,
}

impl Memory {
    /// The image behind a reference, held. `touch` counts it as used.
    pub(super) async fn find(
        &self,
        catalog: &Arc<Catalog>,
        reference: &Reference,
        touch: bool,
    ) -> Result<Image, ImageError> {
        let looking = async {
            loop {
                let resolved = match self.known(catalog.stamp(), reference) {
                    Some(resolved) => resolved,
                    None => self.look_up(catalog, reference).await?,
                };
                // Without one it was removed since, or is just being removed.
                if let Some(layers) = self.hold(catalog, &resolved)? {
                    if touch {
                        self.touch(catalog, &resolved.digest);
                    }
                    return Ok(Image {
                        reference: reference.clone(),
                        digest: Some(resolved.digest.clone()),
                        env: resolved.env.clone(),
                        layers: Some(layers),
                    });
                }
                sleep(SETTLE_PAUSE).await;
            }
        };
        timeout(SETTLE, looking).await.map_err(|_| failed::busy())?
    }

    fn known(&self, stamp: Option<Stamp>, reference: &Reference) -> Option<Arc<Resolved>> {
        let memory = self.memory();
        (memory.stamp == stamp).then(|| memory.resolved.get(reference).cloned())?
    }

    async fn look_up(
        &self,
        catalog: &Arc<Catalog>,
        reference: &Reference,
    ) -> Result<Arc<Resolved>, ImageError> {
        let (reading, wanted) = (Arc::clone(catalog), reference.clone());
        let (resolved, current) = blocking(move || {
            let current = reading.current().map_err(failed::at("the index"))?;
            let found = current.index.find(&wanted);
            let (digest, record) = found.ok_or_else(|| ImageError::not_found(&wanted))?;
            let env = config(&reading, &record.config)?.env;
            let env = env.into_iter().filter(|(name, _)| !is_hook(name)).collect();
            let (digest, ids) = (digest.to_owned(), record.layers.clone());
            Ok((Arc::new(Resolved { digest, env, ids }), current))
        })
        .await?;
        let mut memory = self.memory();
        if memory.stamp != current.stamp || memory.resolved.len() >= MOST {
            memory.stamp = current.stamp;
            memory.resolved.clear();
            memory.used.retain(|digest, _| current.index.images.contains_key(digest));
        }
        memory.resolved.insert(reference.clone(), Arc::clone(&resolved));
        Ok(resolved)
    }

    /// A hold on the image; `None` where it can't be had any more.
    fn hold(
        &self,
        catalog: &Catalog,
        resolved: &Resolved,
    ) -> Result<Option<Arc<Layers>>, ImageError> {
        let held = self.memory().used.get(&resolved.digest).and_then(|used| used.layers.upgrade());
        if held.is_some() {
            return Ok(held);
        }
        let lease = lease(catalog, &resolved.digest).map_err(failed::at("a lease"))?;
        let layers = lease.map(|lease| Arc::new(Layers::new(resolved.ids.clone(), lease)));
        if let Some(layers) = &layers {
            let mut memory = self.memory();
            let used = memory.used.entry(resolved.digest.clone()).or_default();
            used.layers = Arc::downgrade(layers);
        }
        Ok(layers)
    }

    /// Writes the use down. Where that can't be done it is not: the order in which images go is
    /// worth no failed execution.
    fn touch(&self, catalog: &Catalog, digest: &str) {
        let mut memory = self.memory();
        let used = memory.used.entry(digest.to_owned()).or_default();
        if used.touched.is_some_and(|touched| touched.elapsed() < TOUCH) {
            return;
        }
        used.touched = Some(Instant::now());
        drop(memory);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let same = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: same, last_modification: now };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let _ = utimensat(&catalog.folder.leases, hex(digest), &times, flags);
    }

    fn memory(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The image's lease, shared with all who use it; `None` where the image goes or has gone.
fn lease(catalog: &Catalog, digest: &str) -> io::Result<Option<File>> {
    let Some(lease) = folder::existing(&catalog.folder.leases, hex(digest))? else {
        return Ok(None);
    };
    let held = lock::shared(&lease)? && fstat(&lease)?.st_nlink > 0;
    Ok(held.then_some(lease))
}

/// An image's configuration, as it came.
pub(super) fn config(catalog: &Catalog, digest: &str) -> Result<Config, ImageError> {
    let blob = folder::existing(&catalog.folder.blobs, hex(digest));
    let blob = blob.map_err(failed::at("a configuration"))?;
    let blob = blob.ok_or_else(|| failed::broken(format_args!("{digest} is not there")))?;
    let mut text = Vec::new();
    blob.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(failed::at("a configuration"))?;
    if sha256(&text) != digest {
        return Err(failed::broken(format_args!("{digest} is damaged")));
    }
    Config::parse(&text).map_err(|e| failed::broken(format_args!("{digest}: {e}")))
}

/// `sha256:…` of these bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:?}", LayerId(Sha256::digest(bytes).into()))
}

/// Resolves when a name or digest leads elsewhere than now, by this process's doing or another's.
pub(super) fn changed(catalog: &Arc<Catalog>) -> BoxFuture<'static, ()> {
    let (catalog, mut changes) = (Arc::clone(catalog), catalog.changes.subscribe());
    let Ok(mut known) = catalog.current() else {
        // Whoever waits asks again, and hears then what is wrong.
        return sleep(LOOK).boxed();
    };
    async move {
        loop {
            if let Ok(Err(_)) = timeout(LOOK, changes.changed()).await {
                return pending().await;
            }
            if catalog.stamp() == known.stamp {
                continue;
            }
            let reading = Arc::clone(&catalog);
            match blocking(move || reading.current().map_err(failed::at("the index"))).await {
                Ok(now) if now.index.names() == known.index.names() => known = now,
                _ => return,
            }
        }
    }
    .boxed()
}
