//! A disk that is soon full.

use std::ffi::CString;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A disk of so many bytes, gone when this is dropped.
pub struct Disk(TempDir);

impl Disk {
    pub fn of(size: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-disk-").tempdir();
        let folder = folder.expect("a folder");
        let options = CString::new(format!("size={size},mode=0755")).expect("text");
        let flags = MountFlags::empty();
        mount("tmpfs", folder.path(), "tmpfs", flags, options.as_c_str())
            .expect("a tmpfs, as root");
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self) -> &str {
        self.folder().to_str().expect("text")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let flags = UnmountFlags::DETACH;
        let _ = unmount(self.0.path(), flags);
    }
}
