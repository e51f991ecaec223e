//! The client libraries: each by its own tests, against a service of their own.

mod python;
mod typescript;
