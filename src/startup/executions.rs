//! Executions that outlive their requests.

use std::sync::Arc;

use tracing::warn;

use crate::api::Reports;
use crate::config::Settings;
use crate::execution::Executor;
use crate::execution::background::Executions;
use crate::execution::store::{FileStore, Place};
use crate::telemetry::metrics::Fault;

/// Has a place for them. To be called while the process still has its privileges; `owner` is whom it
/// will be.
///
/// # Errors
/// A sentence that names the setting. Where nothing was named, memory will do, and the log says so.
pub(super) fn place(settings: &Settings, owner: Option<(u32, u32)>) -> Result<Place, String> {
    let executions = &settings.executions;
    let made = match &executions.store {
        Some(path) => Place::prepare(path, owner),
        None => Err("there is no HOME for a file of them".into()),
    };
    match made {
        Ok(place) => Ok(place),
        Err(why) if executions.store_is_named => Err(format!("EXECUTION_STORE: {why}")),
        Err(why) => {
            warn!(
                "executions are lost when the service stops: {why}; EXECUTION_STORE names a file"
            );
            Ok(Place::Memory)
        }
    }
}

/// Makes the folder of the usual place for them, where there is none, for the user that this process
/// will be. Where that fails, the user fails as well, and says why.
pub(super) fn make_folder(settings: &Settings, owner: (u32, u32)) {
    if let Some(path) = &settings.executions.store {
        let _ = Place::make_folder(path, owner);
    }
}

/// What is kept there.
///
/// # Errors
/// A sentence that names the setting.
pub(super) fn store(settings: &Settings, place: Place) -> Result<FileStore, String> {
    FileStore::open(place, settings.executions.kept)
}

/// Goes on with what is kept.
///
/// # Errors
/// A sentence for the operator.
pub(super) async fn open(
    settings: &Settings,
    store: FileStore,
    executor: Arc<Executor>,
) -> Result<Arc<Executions>, String> {
    if store.was_cut_short() {
        executor.metrics().fault(Fault::CutShort);
        warn!(
            "the last life of this service did not end in order; what it had accepted is looked after"
        );
    }
    let options = settings.executions.background.clone();
    Executions::open(executor, store, Box::new(Reports), options).await
}
