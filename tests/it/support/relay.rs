//! The Docker daemon behind a socket of the caller's own, with an owner and a mode as he wants them.

use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::{fs, thread};

use tempfile::TempDir;

pub struct Relay {
    folder: TempDir,
}

impl Relay {
    pub fn start(gid: u32, mode: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
        let relay = Self { folder };
        let listener = UnixListener::bind(relay.path()).expect("a socket");
        chown(relay.path(), Some(0), Some(gid)).expect("root may");
        fs::set_permissions(relay.path(), fs::Permissions::from_mode(mode)).expect("its owner");
        // They end with the process of the suite.
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let daemon = UnixStream::connect(daemon()).expect("the daemon");
                let again = |stream: &UnixStream| stream.try_clone().expect("a second handle");
                let (back, forth) = (again(&client), again(&daemon));
                thread::spawn(move || pass(&client, &daemon));
                thread::spawn(move || pass(&forth, &back));
            }
        });
        relay
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// As a `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path().display())
    }
}

fn daemon() -> String {
    let host =
        std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    host.strip_prefix("unix://").expect("a daemon behind a socket").to_owned()
}

fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    // Either side may leave.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
