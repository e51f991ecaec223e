//! Runtimes and templates that the operator offers: `RUNTIMES_FILE`.

use std::path::PathBuf;

use super::images::Naming;
use super::{SettingsError, values::Values};
use crate::api::runtimes::file::RuntimeFile;
use crate::execution::limits::Ceilings;
use crate::execution::runtime::Offered;

/// The file, and what is in it.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    pub file: RuntimeFile,
    pub offered: Offered,
}

impl RuntimeSettings {
    /// How many containers wait for them.
    pub(super) fn waiting(&self) -> usize {
        let pools = self.offered.runtimes.iter().map(|runtime| runtime.pool);
        pools.fold(0, usize::saturating_add)
    }
}

/// Reads the file. Its images are named as requests name theirs.
pub(super) fn runtimes(
    values: &Values,
    ceilings: Ceilings,
    naming: Naming,
) -> Result<RuntimeSettings, SettingsError> {
    let path = values.text("runtimes_file").map(PathBuf::from);
    let file = RuntimeFile { path, ceilings, naming };
    let offered = file.read().map_err(|why| values.refused("runtimes_file", &why))?;
    Ok(RuntimeSettings { file, offered })
}
