//! How far a pull has come, for whoever watches.

use std::sync::Arc;

use tokio::sync::watch;

/// Reported to by whoever pulls, watched by any number.
#[derive(Debug, Clone)]
pub struct Progress(Arc<watch::Sender<PullState>>);

/// How far a pull has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullState {
    /// Of the attempt that is going on; the first is 1, and 0 is before it.
    pub attempt: u32,
    /// Known once the manifest is there; the lowest first.
    pub layers: Vec<LayerState>,
}

/// How far one layer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerState {
    /// `sha256:…`, or the daemon's short form of it.
    pub digest: String,
    /// Compressed bytes so far.
    pub done: u64,
    /// Compressed bytes in all, where that is known.
    pub total: Option<u64>,
    pub phase: LayerPhase,
}

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerPhase {
    Waiting,
    Downloading,
    Unpacking,
    /// Unpacked, or here already.
    Done,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(PullState::default())))
    }
}

impl Progress {
    /// Changes what is known, and tells the watchers.
    pub fn update(&self, change: impl FnOnce(&mut PullState)) {
        self.0.send_modify(change);
    }

    /// Sees every change from now on; slow watchers see the latest.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<PullState> {
        self.0.subscribe()
    }
}
