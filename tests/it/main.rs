//! The integration suite: one binary, one module per promise.
//!
//! Every test sees the service as a stranger does, as a process that speaks HTTP. A behaviour that
//! both engines have is written once and makes two tests, `native::…` and `docker::…`. What the
//! suite needs on the machine is installed by `tests/run`.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, unreachable_pub)]

#[macro_use]
mod support;

mod access;
mod admission;
mod clean;
mod clients;
mod conformance;
mod custom_images;
mod deployment;
mod docker_user;
mod ends;
mod executions;
mod first_minute;
mod forward;
mod healthcheck;
mod http;
mod humaneval;
mod isolation;
mod languages;
mod metrics;
mod observed;
mod openapi;
mod pool;
mod posture;
mod privileges;
mod registry;
mod run;
mod runtimes;
mod stops;
mod streaming;
mod unpack;
