//! What the operator says of connections.

use std::time::Duration;

use super::SettingsError;
use super::values::Values;

/// How many connections there may be, and how long each may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    pub max_connections: usize,
    pub timeouts: Timeouts,
}

/// For the parts of a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a head, from its first byte on.
    pub head: Duration,
    /// For a body.
    pub body: Duration,
    /// For which a client may take none of its answer.
    pub write: Duration,
    /// Between an answer and the next head.
    pub idle: Duration,
}

pub(super) fn http(values: &Values) -> Result<HttpSettings, SettingsError> {
    let time = |name| {
        let time = values.need(name, super::seconds)?;
        if time.is_zero() { Err(values.refused(name, "write a time above 0")) } else { Ok(time) }
    };
    Ok(HttpSettings {
        max_connections: values.need("max_connections", super::count)? as usize,
        timeouts: Timeouts {
            head: time("head_timeout")?,
            body: time("body_timeout")?,
            write: time("write_timeout")?,
            idle: time("idle_timeout")?,
        },
    })
}
