//! One script without a service: the engine that a service would use, for as long as the script
//! takes.

use tokio_util::sync::CancellationToken;

use super::choose::{Ready, choose_by, why};
use super::{Launched, close, offline};
use crate::config::{EngineChoice, Pools, Settings};
use crate::execution::Failure;
use crate::execution::admission::Caller;
use crate::execution::observer::Observer;
use crate::execution::outcome::Outcome;
use crate::execution::request::Execution;

/// What is done before there are threads.
pub(crate) struct Once {
    settings: Settings,
    launched: Option<Launched>,
}

/// Hears what happens, and knows whether the script has begun.
pub(crate) trait Witness: Observer {
    fn has_begun(&self) -> bool;
}

impl Once {
    /// Starts what makes containers. As root it becomes whom the service's images belong to, where
    /// the script needs one of them. To be called while there is one thread.
    ///
    /// # Errors
    /// A sentence, when that can't be done.
    pub(crate) fn begin(settings: &Settings, execution: &Execution) -> Result<Self, String> {
        let mut settings = settings.clone();
        settings.pools = Pools::none();
        let image = execution.image.as_ref().or(settings.base_image.as_ref());
        let on_host = image.is_none_or(|image| image.is_host());
        if on_host {
            settings.images.store = None;
        }
        let owner = offline::owner(&settings)?;
        let launched = match settings.engine {
            EngineChoice::Docker => None,
            _ if on_host => Some(Launched::for_host(&settings)),
            _ => Some(Launched::now(&settings, owner)),
        };
        offline::become_owner(&mut settings, owner, !on_host)?;
        Ok(Self { settings, launched })
    }

    /// Runs the script. It is its engine's canary as well: one that fails before the script begins
    /// can't run here. Nothing is left when this returns.
    ///
    /// # Errors
    /// A sentence when no engine can run it; its own failure where an engine could.
    pub(crate) async fn run(
        self,
        mut execution: Execution,
        witness: &dyn Witness,
        cancel: &CancellationToken,
    ) -> Result<Result<Outcome, Failure>, String> {
        let Self { settings, launched } = self;
        if let Some(image) = &execution.image {
            let whole = settings.images.naming().whole(image).map_err(|e| e.to_string())?;
            execution.image = Some(whole);
        }
        let prove = async |Ready { engine, executor, .. }: Ready| {
            let ended = executor.run(execution.clone(), &Caller::SERVICE, witness, cancel).await;
            close(&*engine, &executor).await;
            match ended {
                Err(Failure::Engine(error)) if !witness.has_begun() => Err(why(error)),
                Err(Failure::Image(error)) if execution.image.is_none() => {
                    Err(format!("{error}; name another image by BASE_IMAGE"))
                }
                ended => Ok(ended),
            }
        };
        choose_by(&settings, launched, prove).await.map_err(|e| e.to_string())
    }
}
