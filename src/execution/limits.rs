//! Limits: what a request asks for, held against the most the operator allows.

use std::time::Duration;

/// The limits that hold for one execution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub timeout: Duration,
    /// Bytes.
    pub memory: u64,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    pub pids: u32,
    /// Bytes of `/tmp`.
    pub tmp: u64,
    /// Bytes of stdout and of stderr, each.
    pub output: u64,
}

/// The operator's defaults, and the most a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    pub default: Limits,
    pub max: Limits,
}
