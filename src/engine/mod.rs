//! What makes containers. Two engines, one behaviour: the guest inside is the same, and so is the
//! [`hardening`] profile both build from.

mod channel;
mod container;
pub mod docker;
pub mod hardening;
pub mod native;
mod owner;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;

use futures_util::future::BoxFuture;

pub use channel::Channel;
pub use container::{
    Container, Hold, Job, JobFile, Prestarted, ResultContent, ResultFile, RunEnd, RunError, Sink,
    Stop,
};

use crate::registry::{Image, ImageError, ImageErrorKind};

/// The engines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineName {
    Docker,
    Native,
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Native => "native",
        })
    }
}

/// Makes containers, each for one script.
///
/// Every future here ends within a deadline of the engine's own; an engine that does not answer
/// is an [`EngineError`], never a hang.
pub trait Engine: Send + Sync + 'static {
    fn name(&self) -> EngineName;

    /// Makes a container and waits until its guest is ready for a job, with every limit of `spec`
    /// applied and read back.
    fn make<'a>(&'a self, spec: &'a ContainerSpec)
    -> BoxFuture<'a, Result<Container, EngineError>>;

    /// As [`Engine::make`], for a container that nobody waits for yet: where an engine can make only
    /// so many at a time, those that somebody waits for go first.
    fn make_ahead<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        self.make(spec)
    }

    /// Whether it answers now; one that lives and dies with the service always does.
    ///
    /// # Errors
    /// Why it does not.
    fn answers(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Resolves when this engine can never make a container again, so that the service has to be
    /// started anew; for most engines that is never.
    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Ends every container of this engine and waits until they are proven gone.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a container is made from: everything that must hold before a script is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    pub image: Image,
    /// Bytes, `/tmp` included, no swap.
    pub memory: u64,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    /// Processes and threads, the guest's own included.
    pub pids: u32,
    /// Bytes of `/tmp`.
    pub tmp: u64,
}

/// We failed, or the engine did. The text is for the log; callers see a sentence that names
/// neither paths nor daemon texts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer or refuses work; trying again later may help.
    #[error("engine unavailable: {0}")]
    Unavailable(String),
    /// A deadline of ours on the engine passed.
    #[error("engine too slow: {0}")]
    Slow(String),
    /// A container could not be made, or a limit could not be applied and verified.
    #[error("container could not be made: {0}")]
    Make(String),
    /// The container went away under a running script, for no reason of the script's.
    #[error("container lost: {0}")]
    Lost(String),
    /// The guest spoke nonsense.
    #[error("guest protocol: {0}")]
    Protocol(String),
    /// A file of the request does not fit into the container: the caller must change something.
    #[error("file refused: {path}: {reason}")]
    FileRefused { path: String, reason: String },
    /// No container can be made of this image: the caller must name another.
    #[error("{0}")]
    Unfit(ImageError),
}

impl From<EngineError> for ImageError {
    /// For an engine that was asked about its images.
    fn from(error: EngineError) -> Self {
        let (kind, detail) = match &error {
            EngineError::Unavailable(_) => {
                (ImageErrorKind::EngineAway, "the engine that keeps the images does not answer")
            }
            EngineError::Slow(_) => {
                (ImageErrorKind::EngineSlow, "the engine that keeps the images took too long")
            }
            _ => (ImageErrorKind::EngineFailed, "the engine that keeps the images failed"),
        };
        Self::new(kind, detail, error.to_string())
    }
}

impl From<ImageError> for EngineError {
    /// For an image that was found before and can't be had now.
    fn from(error: ImageError) -> Self {
        let ImageError { kind, detail, cause, .. } = error;
        match kind {
            ImageErrorKind::EngineAway => Self::Unavailable(cause),
            ImageErrorKind::EngineSlow => Self::Slow(cause),
            _ => Self::Make(format!("{detail}: {cause}")),
        }
    }
}
