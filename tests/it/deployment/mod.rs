//! How the service is shipped: its image, the compose project, and what stands beside it.
//!
//! `tests/service-image` builds the image beforehand. The projects here are made of the files as they
//! are, by both Composes, on the daemon of the suite.

mod bench;
mod beside;
mod daemon;
mod files;
mod image;
mod life;
mod project;
mod tools;
