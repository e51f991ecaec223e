//! What breaks, and that nothing is lost by it.
//!
//! Each test starts a service, keeps four executions running and eight waiting while new ones
//! arrive, injects one fault, ends it, and checks what holds after any fault: no request hangs past
//! its deadline and a second; no fault of ours is told as a script's; every request is answered once;
//! nothing is left; the service is ready within five seconds; and its log and its metrics tell.
//!
//! Each fault prints a row with its seed; `ONCEBOX_FAULT_SEED` plays that schedule again. On Docker,
//! where each takes long, the seed also chooses among faults of one kind and among those that are not
//! the engine's; `ONCEBOX_TEST_LENGTH=full` injects all of them, and stops the daemon for 30 seconds.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(unreachable_pub)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

mod busy;
mod containers;
mod daemon;
mod daemons;
mod driver;
mod kills;
mod load;
mod machine;
mod proxy;
mod scarce;
mod seed;
mod sockets;
mod table;
mod task;

use std::process::Command;

use support::service::oncebox;
use support::{BUSYBOX, Engine, Service};

/// A service for faults, on the smallest image there is.
fn service(engine: Engine, own: &[(&str, &str)]) -> Service {
    service_of(oncebox("serve", engine), engine, own)
}

/// The same, started in some way of the caller's.
fn service_of(program: Command, engine: Engine, own: &[(&str, &str)]) -> Service {
    let mut settings = load::settings(own);
    if engine == Engine::Docker {
        settings.push(("BASE_IMAGE", BUSYBOX));
    }
    Service::start_program(program, &settings)
}
