//! Runtimes: what the operator offers, and what is kept of those that were registered.

use std::sync::Arc;

use crate::api::runtimes::file::Reloading;
use crate::config::Settings;
use crate::execution::Executor;
use crate::execution::background::Executions;
use crate::execution::runtime::Runtimes;

/// Goes on with what is kept.
///
/// # Errors
/// A sentence for the operator.
pub(super) async fn open(
    settings: &Settings,
    executor: &Arc<Executor>,
    executions: &Executions,
) -> Result<Arc<Runtimes>, String> {
    let (executor, keeper) = (Arc::clone(executor), Arc::clone(executions.keeper()));
    let offered = settings.runtimes.offered.clone();
    let opened = Runtimes::open(executor, keeper, offered, settings.pools.room).await;
    opened.map_err(|e| e.to_string())
}

/// The operator's file, where there is one.
pub(super) fn reloading(settings: &Settings, runtimes: &Arc<Runtimes>) -> Option<Arc<Reloading>> {
    let file = settings.runtimes.file.clone();
    let path = file.path.clone()?;
    let (runtimes, room) = (Arc::clone(runtimes), settings.pools.room);
    Some(Arc::new(Reloading { path, file, runtimes, room }))
}
