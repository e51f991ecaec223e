//! The life of one script: permit, container, run, outcome.

pub mod admission;
pub mod language;
pub mod limits;
pub mod outcome;
pub mod output;
pub mod request;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError};
use crate::registry::{ImageError, Reference};
use admission::Admission;
use limits::Ceilings;
use outcome::Outcome;
use request::Execution;

/// Runs executions on one engine.
pub struct Executor {
    engine: Arc<dyn Engine>,
    base_image: Reference,
    ceilings: Ceilings,
    admission: Admission,
}

/// Why there is no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The caller must change something.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No permit now; worth another try after that long.
    #[error("too busy; retry after {retry_after:?}")]
    Busy { code: &'static str, retry_after: Duration },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A request that can't be run as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    /// A stable word for programs.
    pub code: &'static str,
    /// The field's name in the API.
    pub field: &'static str,
    /// A sentence for people: the value, the rule, the way out.
    pub detail: String,
}

impl Executor {
    /// Runs one script in a container of its own. Dropping the future kills the container.
    ///
    /// # Errors
    /// [`Failure`] when the script did not run; however it ends once it ran, that is an outcome.
    pub async fn run(
        &self,
        execution: Execution,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let _ =
            (execution, cancel, &self.engine, &self.base_image, &self.ceilings, &self.admission);
        Err(Failure::Busy { code: "unfinished", retry_after: Duration::from_secs(1) })
    }
}
