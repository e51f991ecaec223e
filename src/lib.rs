//! Oncebox runs a stranger's script in a container that was made for it alone and is destroyed
//! after it.

pub mod engine;
pub mod execution;
pub mod guest_binary;
pub mod registry;
