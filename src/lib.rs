//! Oncebox runs a stranger's script in a container that was made for it alone and is destroyed
//! after it.
//!
//! # The house
//!
//! | Module | What is there |
//! |---|---|
//! | [`cli`] | arguments to subcommand to exit code; images looked after by hand |
//! | [`config`] | settings: default < file < environment < flag, validated, each with its origin |
//! | [`startup`] | the composition root: settings to engine, images, executor, HTTP; the order of stopping |
//! | [`api`] | the door: translates HTTP, decides nothing about execution |
//! | [`execution`] | the life of one script: permit, container, run, outcome |
//! | [`pool`] | containers made ahead, up to an interpreter that waits for its program |
//! | [`engine`] | what makes containers: `docker` and `native`, from one hardening profile |
//! | [`registry`] | images: references, policy, credentials, pulling, and the native store |
//! | `internet` | where a stranger's word may lead, for registries and webhooks |
//! | [`telemetry`] | logs, each event in one place, and every metric |
//! | [`doctor`] | what this machine can do, and how to mend it |
//!
//! The guest, PID 1 of every container, is the crate `oncebox-guest` beside this one. Only
//! `startup` knows every room. Nothing in `engine` or `registry` names HTTP, and nothing in `api`
//! names an engine's own interface.
//!
//! # One request, in one pass
//!
//! 1. [`api::access`] asks who it is and how often he has come, before a byte of the body is read;
//!    `api::execute` counts the request in, reads its body under a cap and a deadline, and turns JSON
//!    (`api::dto`) or a form (`api::multipart`) into a valid
//!    [`Execution`](execution::request::Execution); past that there are no bare strings.
//! 2. [`execution::limits`] holds what is asked for against the operator's ceilings. Too much is a
//!    [`Rejection`](execution::Rejection); nothing is clamped.
//! 3. [`execution::admission`] gives a permit, lets the request wait, or refuses it at once.
//! 4. [`Registry`](registry::Registry) turns the reference into an image under the operator's policy; normally no
//!    registry is asked.
//! 5. [`Pool::take`](pool::Pool::take) hands over a waiting container, at best with the script's
//!    interpreter already started, or has [`Engine::make`](engine::Engine::make) make one now:
//!    either way every limit is applied and read back, and the guest is ready.
//! 6. [`Container::run`](engine::Container::run) consumes it: the job goes in, output streams back
//!    under its caps, and the first of exit, deadline and cancel wins.
//! 7. The [`Outcome`](execution::outcome::Outcome) becomes the answer (`api::answer`), or the
//!    [`Failure`](execution::Failure) a problem document (`api::problem`). A client that leaves
//!    drops all of this, and the container is killed with it.
//!
//! What outlives its request goes the same way from 2 on, as a task of
//! [`execution::background`]: it is written down before it is accepted and before its end is told
//! ([`execution::store`]), and found again by `api::executions`.

pub mod api;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod execution;
pub mod guest_binary;
mod internet;
pub mod pool;
pub mod registry;
pub mod startup;
mod sys;
pub mod telemetry;
