//! The guest: PID 1 of every Oncebox container, on every engine.
//!
//! This library half is what the service and the guest share: the wire format ([`wire`]), what
//! patterns of result files mean ([`glob`]) and what control groups say ([`cgroup`]); it needs
//! nothing but `std`. The binary half (`main.rs`, feature `pid1`) is the guest itself.
//!
//! One life of a guest:
//!
//! 1. It starts, makes itself non-dumpable, looks at the privileges and limits it was given and
//!    sends them as [`wire::Report::Ready`]; the service refuses a container that differs from
//!    what was asked for.
//! 2. If it is told to, it starts an interpreter before there is a script, with a FIFO for its
//!    program.
//! 3. It reads one job as a run of [`wire::Order`] frames and writes the files beneath
//!    [`WORKDIR`].
//! 4. It starts the script, or lets the waiting interpreter read it, passes its output on under the
//!    byte caps, and kills whatever is left in the container when the script's own process has
//!    ended.
//! 5. It reports how the script ended, sends the result files asked for, and exits; with PID 1
//!    the kernel ends everything else.
//!
//! If its control stream closes at any time it kills everything and exits, so that a container
//! never outlives the service that made it.

pub mod cgroup;
pub mod glob;
pub mod wire;

/// The working directory of every script: request files live beneath it, and so does the script.
pub const WORKDIR: &str = "/tmp/work";

/// The longest script, in bytes, that an interpreter started ahead may be given: what its FIFO takes
/// at once (pipe(7), "Pipe capacity", leaves twice that).
pub const PROGRAM_CAP: usize = 32 * 1024;

/// The Linux `exec` answer of every shell for a program that was not found.
pub const EXIT_NOT_FOUND: u8 = 127;

/// The Linux `exec` answer of every shell for a program that was found and could not be run.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
