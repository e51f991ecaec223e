//! Oncebox runs a stranger's script in a container that was made for it alone and is destroyed
//! after it.
//!
//! # The house
//!
//! | Module | What is there |
//! |---|---|
//! | [`cli`] | arguments to subcommand to exit code: a script run by hand, images and keys looked after |
//! | [`config`] | settings: default < file < environment < flag, validated, each with its origin |
//! | [`startup`] | the composition root: settings to engine, images, executor, HTTP; the order of stopping |
//! | [`api`] | the door: translates HTTP, decides nothing about execution |
//! | [`execution`] | the life of one script: permit, container, run, outcome |
//! | [`pool`] | containers made ahead, up to an interpreter that waits for its program |
//! | [`engine`] | what makes containers: `docker` and `native`, from one hardening profile |
//! | [`registry`] | images: references, policy, credentials, pulling, and the native store |
//! | `internet` | what all that goes out to others keeps to: public addresses, TLS, pauses |
//! | [`telemetry`] | logs, each event in one place, and every metric |
//! | [`doctor`] | what this machine can do, and how to mend it |
//!
//! What must hold of whatever others send is in `properties`, for tests and fuzzers alone.
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
//!    A runtime or a template that it names is looked up in the
//!    [`Catalogue`](execution::runtime::Catalogue).
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
//! A request that asks for events is run beside its answer and followed through its
//! [`Live`](execution::live::Live) (`api::follow`). One for `/executions`, or with an idempotency
//! key, belongs to no connection: [`background`](execution::background) accepts it once it is
//! written down in the [`store`](execution::store), runs it by the same steps from 3 on, and keeps
//! its end for whoever asks.

pub mod api;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod execution;
pub mod guest_binary;
mod internet;
pub mod pool;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod registry;
pub mod startup;
mod sys;
pub mod telemetry;
