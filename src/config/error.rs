//! Settings the service refuses to start with.

use std::fmt;

/// A setting that can't be used: which, its value, where it came from, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("{name} is {value:?} ({origin}): {rule}")]
    Value { name: String, value: String, origin: Origin, rule: String },
    #[error("unknown setting {key:?} ({origin}): `oncebox --help` lists those there are")]
    Unknown { key: String, origin: Origin },
    #[error("the file {path} cannot be read: {reason}")]
    File { path: String, reason: String },
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(String),
    Environment,
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "from the file {path}"),
            Self::Environment => f.write_str("from the environment"),
            Self::Flag(flag) => write!(f, "from the flag --{flag}"),
        }
    }
}
