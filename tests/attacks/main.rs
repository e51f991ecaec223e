//! The attacks that a stranger's script, file or image may try: one row, one test, which bears the
//! row's id, on each engine that it concerns.
//!
//! Rows about the HTTP API (W), about registries (G), and those that tell of the server's own words
//! (I18, I19) are in the suite `it`, beside what else is shown of the same thing. `rows` holds that
//! every row has its test; `DEVIATIONS.md` says where one expects something else than the row does,
//! and why. With `ONCEBOX_TEST_LENGTH=full` what has to hold many times is tried as often as its row says;
//! without it, less often.
//!
//! Nothing here harms the machine where the sandbox fails: whatever makes the containers stands
//! under ceilings of memory, processes and processor time (`guard`), and privileged calls bear
//! arguments that the kernel refuses.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, unreachable_pub)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

mod clean;
mod files;
mod guard;
mod kernel;
mod leaks;
mod neighbour;
mod programs;
mod promises;
mod resources;
mod rows;
mod scripts;
mod stage;
