//! What every test uses: a service, a client, a deadline, and a look at what is left behind.

// Several suites share this, and none uses all of it.
#![allow(dead_code, unused_imports)]

pub mod answer;
pub mod chance;
pub mod disk;
pub mod events;
pub mod faults;
pub mod group;
pub mod host;
pub mod http;
pub mod images;
pub mod layers;
pub mod length;
pub mod meanwhile;
pub mod metrics;
pub mod processes;
pub mod raw;
pub mod registry;
pub mod relay;
pub mod residue;
pub mod service;
pub mod tokens;
pub mod turn;
pub mod wait;

use std::fmt;

pub use answer::{Answer, Problem, Reply};
pub use raw::Raw;
pub use registry::Registry;
pub use service::{Service, Shared};
pub use wait::until;

/// Images that `tests/images` builds in the Docker engine.
pub const DEBIAN: &str = "oncebox-test/debian:latest";
pub const BUSYBOX: &str = "oncebox-test/busybox:latest";
pub const NOSHELL: &str = "oncebox-test/noshell:latest";
pub const HOSTILE: &str = "oncebox-test/hostile:latest";

/// The engines under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Native,
    Docker,
}

impl Engine {
    /// The image that holds this machine's own interpreters, on either engine.
    pub fn base_image(self) -> &'static str {
        match self {
            Self::Native => "host",
            Self::Docker => DEBIAN,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Docker => "docker",
        })
    }
}

/// The engines that `ONCEBOX_TEST_ENGINES` names; both when it is not set.
pub fn engines() -> Vec<Engine> {
    let names = std::env::var("ONCEBOX_TEST_ENGINES").unwrap_or_else(|_| "native,docker".into());
    let engines = [Engine::Native, Engine::Docker];
    engines.into_iter().filter(|e| names.split(',').any(|n| n == e.to_string())).collect()
}

/// Makes two tests of each function named, `native::name` and `docker::name`. Those listed as
/// `together` run beside others; those listed as `alone` measure time, look at the whole machine or
/// kill something, and nothing else runs meanwhile. Those listed as `native` run beside others, on
/// that engine only: on the other one, the daemon does what they look at.
macro_rules! on_both_engines {
    (together: $($name:ident),* $(,)?) => {
        on_both_engines! { together: $($name),*; alone: }
    };
    (together: $($together:ident),* $(,)?; native: $($native:ident),* $(,)?) => {
        on_both_engines! { together: $($together),*; alone: ; native: $($native),* }
    };
    (together: $($together:ident),* $(,)?; alone: $($alone:ident),* $(,)?) => {
        on_both_engines! { together: $($together),*; alone: $($alone),*; native: }
    };
    (together: $($together:ident),* $(,)?; alone: $($alone:ident),* $(,)?; native: $($native:ident),* $(,)?) => {
        mod native {
            on_both_engines! { @tests Native, together, $($together),* }
            on_both_engines! { @tests Native, together, $($native),* }
            on_both_engines! { @tests Native, alone, $($alone),* }
        }
        mod docker {
            on_both_engines! { @tests Docker, together, $($together),* }
            on_both_engines! { @tests Docker, alone, $($alone),* }
        }
    };
    (@tests $engine:ident, $turn:ident, $($name:ident),*) => {
        $(#[test]
        fn $name() {
            let _turn = $crate::support::turn::$turn();
            super::$name($crate::support::Engine::$engine);
        })*
    };
}
