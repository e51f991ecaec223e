//! Where the images of an engine come from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{info, warn};

use super::launch::NoStore;
use crate::config::Settings;
use crate::registry::client::Client;
use crate::registry::store::{Store, StoreOptions};
use crate::registry::{HostOnly, ImageErrorKind, Images, PullPolicy, Reference, Registry};

/// How often a pull that is waited for says that it goes on.
const WORD: Duration = Duration::from_secs(10);
/// On top of the pull's own deadline, which says better what went wrong.
const GRACE: Duration = Duration::from_secs(10);

/// What asks registries.
///
/// # Errors
/// A sentence that names the setting.
pub(crate) fn client(settings: &Settings) -> Result<Client, String> {
    Client::new(settings.images.client()).map_err(|why| format!("REGISTRY_CA: {why}"))
}

/// The native engine's images. Where they have no place, only `host` is left.
///
/// # Errors
/// As [`client`].
pub(super) fn of_the_native_engine(
    settings: &Settings,
    prepared: Result<StoreOptions, NoStore>,
) -> Result<Arc<dyn Images>, String> {
    let opened = match prepared {
        // The certificates of this machine are many, and nobody is to be asked anything.
        Err(why @ NoStore::NotAskedFor) => return Ok(Arc::new(HostOnly(why.to_string()))),
        Err(NoStore::Unusable(why)) => Err(why),
        Ok(options) => Store::open(options, Some(client(settings)?)),
    };
    Ok(match opened {
        Ok(store) => store,
        Err(why) => {
            warn!("only the image host can be run: {why}");
            Arc::new(HostOnly(why))
        }
    })
}

/// Has an image here before the first script waits for it. What is wrong with it, the script will
/// say.
pub(super) async fn fetch(registry: &Registry, image: &Reference, settings: &Settings) {
    let missing = match registry.images().find(image).await {
        Ok(_) => false,
        Err(error) => error.kind == ImageErrorKind::NotFound,
    };
    if !missing || settings.images.policy.pull == PullPolicy::Never {
        return;
    }
    let began = Instant::now();
    info!("image {image} is not here yet: pulling it");
    let mut pull =
        std::pin::pin!(timeout(settings.images.pull.timeout + GRACE, registry.named(image)));
    let pulled = loop {
        match timeout(WORD, &mut pull).await {
            Ok(pulled) => break pulled,
            Err(_) => info!("still pulling {image}, for {} s now", began.elapsed().as_secs()),
        }
    };
    match pulled {
        Ok(Ok(_)) => info!("pulled {image} in {:.1?}", began.elapsed()),
        Ok(Err(error)) => warn!(cause = crate::telemetry::clean(&error.cause), "{error}"),
        Err(_) => warn!("the pull of {image} did not end in time"),
    }
}
