//! A script's output under its cap.

/// One stream of output: the first bytes up to the cap, exactly, and how many there were in all.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    pub bytes: Vec<u8>,
    /// Bytes the script wrote, those past the cap included.
    pub total: u64,
}

impl Captured {
    /// Output past the cap was dropped.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}
