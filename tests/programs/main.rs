//! Programs of other people, as they are. Honest ones must run in an execution as they do anywhere
//! else; attackers must harm nobody but themselves.
//!
//! The default run takes those that matter most. All of them run where these are set:
//!
//! * `ONCEBOX_HONEST=full`: every module of CPython's tests, about half an hour for each engine.
//! * `ONCEBOX_ATTACKERS=full`: every class of stress-ng for ten seconds, and longer attacks by the
//!   others, about an hour for each engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    unused_imports
)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

mod honest;

use support::Engine;

/// The base image with CPython's own tests, stress-ng and trinity.
const PROGRAMS: &str = "oncebox-test/programs:latest";

/// The image that holds the programs: on native, this machine itself.
fn image(engine: Engine) -> &'static str {
    match engine {
        Engine::Native => engine.base_image(),
        Engine::Docker => PROGRAMS,
    }
}

/// Whether all of a part is asked for.
fn full(variable: &str) -> bool {
    match std::env::var(variable).as_deref() {
        Err(_) => false,
        Ok("full") => true,
        Ok(other) => panic!("{variable} is {other}; it can be full, or not set"),
    }
}
