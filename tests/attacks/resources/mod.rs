//! R: scripts that take all they can get, and do not end.

mod beside;
mod cores;
mod disk;
mod endings;
mod group;
mod memory;
mod output;
mod processes;
mod time;
