//! Starting the spawner, from the service's side.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::Options;
use crate::engine::EngineError;
use crate::engine::native::{Unenforced, socket};

/// A started spawner and the connection to it. To be made before the service has a second thread
/// and before it gives up its privileges.
pub struct Spawner {
    pub(in crate::engine::native) connection: OwnedFd,
    pub(in crate::engine::native) process: Child,
}

impl Spawner {
    /// Starts the spawner from a sealed copy of this program, with an empty environment.
    /// `accepted` are the limits that need not hold, and `layers` is the store's folder of unpacked
    /// layers, an absolute path.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the step that failed.
    pub fn launch(accepted: &[Unenforced], layers: Option<&Path>) -> Result<Self, EngineError> {
        let accept_unenforced = Unenforced::all_in(accepted);
        let options = Options { accept_unenforced, layers: layers.map(Path::to_owned) };
        let failed = |what: &str, e: io::Error| EngineError::Unavailable(format!("{what}: {e}"));
        let (ours, theirs) = socket::pair().map_err(|e| failed("socketpair", e))?;
        let own = File::open("/proc/self/exe");
        let mut own = own.map_err(|e| failed("reading this program", e))?;
        // Within the kernel: a program of this size is felt by whoever waits for one script.
        let copy = |file: &mut File| io::copy(&mut own, file).map(drop);
        let program = sealed(c"oncebox", copy).map_err(|e| failed("sealed memfd", e))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg("spawner").args(options.args());
        command.env_clear().current_dir("/").stdin(theirs).stdout(Stdio::null());
        let process = command.spawn().map_err(|e| failed("starting the spawner", e))?;
        Ok(Self { connection: ours, process })
    }
}

/// A program in memory that nothing can change any more once it is written, not even root through
/// `/proc/PID/exe` (memfd_create(2), "File sealing").
///
/// # Errors
/// What the kernel says.
pub fn sealed(
    name: &std::ffi::CStr,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 don't know MFD_EXEC and need no asking.
    let fd = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut file = File::from(fd);
    write(&mut file)?;
    let fd = OwnedFd::from(file);
    fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}
