//! The right to run now.

use std::time::Duration;

/// How many executions run at once, how many may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionOptions {
    pub max_concurrent: usize,
    pub queue_limit: usize,
    pub queue_timeout: Duration,
}

/// Gives permits.
pub struct Admission;
