//! The real guest as PID 1 of a real pid namespace, driven by real frames, one life at a time.
//!
//! Needs root, or user namespaces that an ordinary user may make, and util-linux's `unshare` and
//! `setpriv`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;
mod harness;
mod isolation;
mod prestart;
mod refusals;
mod results;
mod start;
mod streams;
