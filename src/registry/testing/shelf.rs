//! Images that come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use tokio_util::sync::CancellationToken;

use super::image;
use crate::registry::{
    Details, HistoryEntry, Image, ImageError, ImageErrorKind, Images, LayerDetails, LayerPhase,
    LayerState, Progress, PullState, Reference, Removed, Summary,
};

/// Images by their familiar names. A pull of `slow` reports some progress and goes on until it is
/// dropped, one of `lost` fails for reasons that only the log may say, one of `later` goes on until
/// `arrive` is cancelled, and every other one succeeds at once; `busy` is in use.
#[derive(Default)]
pub(crate) struct Shelf {
    images: Mutex<BTreeMap<String, Reference>>,
    /// Cancelled when a pull of `slow` was given up.
    pub(crate) given_up: CancellationToken,
    pub(crate) arrive: CancellationToken,
}

impl Shelf {
    pub(crate) fn with(names: &[&str]) -> Arc<Self> {
        let shelf = Self::default();
        for name in names {
            shelf.put(&name.parse().unwrap());
        }
        Arc::new(shelf)
    }

    /// The digest that an image has here.
    pub(crate) fn digest(reference: &Reference) -> String {
        format!("sha256:{:0>64x}", reference.to_string().len())
    }

    fn put(&self, reference: &Reference) -> Image {
        self.images().insert(reference.to_string(), reference.clone());
        Image { digest: Some(Self::digest(reference)), ..image(reference) }
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<String, Reference>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(reference: &Reference) -> Summary {
        Summary {
            digest: Self::digest(reference),
            references: vec![reference.to_string()],
            size: 7_340_032,
            created: Some(951_782_400),
            last_used: None,
        }
    }

    fn have(&self, reference: &Reference) -> Result<Image, ImageError> {
        match self.images().contains_key(&reference.to_string()) {
            true => Ok(Image { digest: Some(Self::digest(reference)), ..image(reference) }),
            false => Err(ImageError::not_found(reference)),
        }
    }
}

impl Images for Shelf {
    fn find<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        ready(self.have(reference)).boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        let layer = |done| LayerState {
            digest: "sha256:aa".into(),
            done,
            total: Some(100),
            phase: LayerPhase::Downloading,
        };
        let name = reference.repository();
        async move {
            progress.update(|state| *state = PullState { attempt: 1, layers: vec![layer(50)] });
            match name {
                "library/slow" => {
                    let _left = self.given_up.clone().drop_guard();
                    pending().await
                }
                "library/lost" => {
                    tokio::task::yield_now().await;
                    let detail = "the registry registry.example does not answer";
                    let cause = "secret 10.0.0.7: reset";
                    Err(ImageError {
                        attempts: 4,
                        ..ImageError::new(ImageErrorKind::Unavailable, detail, cause)
                    })
                }
                "library/later" => {
                    self.arrive.cancelled().await;
                    Ok(self.put(reference))
                }
                _ => Ok(self.put(reference)),
            }
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Summary>, ImageError>> {
        let images = self.images().values().map(Self::summary).collect();
        ready(Ok(images)).boxed()
    }

    fn describe<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Details, ImageError>> {
        let details = self.have(reference).map(|_| Details {
            summary: Self::summary(reference),
            os: "linux".into(),
            architecture: "amd64".into(),
            config: serde_json::json!({"Cmd": ["/bin/sh"]}),
            layers: vec![LayerDetails { diff_id: "sha256:aa".into(), size: Some(7_340_032) }],
            history: vec![HistoryEntry {
                created: Some("2000-02-29T00:00:00Z".into()),
                created_by: Some("COPY / /".into()),
                ..HistoryEntry::default()
            }],
        });
        ready(details).boxed()
    }

    fn remove<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Removed, ImageError>> {
        let removed = self.have(reference).and_then(|_| {
            if reference.repository() == "library/busy" {
                let detail = format!("image {reference} is in use");
                return Err(ImageError::new(ImageErrorKind::InUse, detail, ""));
            }
            self.images().remove(&reference.to_string());
            Ok(Removed {
                references: vec![reference.to_string()],
                digests: vec![Self::digest(reference)],
                freed: 7_340_032,
            })
        });
        ready(removed).boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<Removed, ImageError>> {
        ready(Ok(Removed::default())).boxed()
    }
}
