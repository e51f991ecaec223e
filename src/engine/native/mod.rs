//! The native engine: containers made by our own spawner, with no daemon.

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Container, ContainerSpec, Engine, EngineError, EngineName};
use crate::registry::{Image, ImageError, Reference};

/// The privileged process that makes the containers.
#[derive(Debug)]
pub struct Spawner;

impl Spawner {
    /// Starts it. To be called before any thread exists.
    pub fn launch() -> Result<Self, EngineError> {
        Err(EngineError::Unavailable("the native engine is not built yet".into()))
    }
}

/// A limit that a host may be unable to enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenforced {
    Memory,
    Cpu,
    Pids,
}

/// What the operator says about this engine.
#[derive(Debug, Clone)]
pub struct NativeOptions {
    pub accept_unenforced: Vec<Unenforced>,
}

/// Makes containers through the spawner.
pub struct NativeEngine;

impl NativeEngine {
    pub async fn start(_: Spawner, _: NativeOptions) -> Result<Arc<Self>, EngineError> {
        Err(EngineError::Unavailable("the native engine is not built yet".into()))
    }
}

impl Engine for NativeEngine {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn image<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async move { Err(ImageError::NotFound(reference.clone())) })
    }

    fn make<'a>(&'a self, _: &'a ContainerSpec) -> BoxFuture<'a, Result<Container, EngineError>> {
        Box::pin(async { Err(EngineError::Unavailable("the native engine is not built yet".into())) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The whole life of the spawner process.
pub fn spawner_main() -> ExitCode {
    ExitCode::FAILURE
}
