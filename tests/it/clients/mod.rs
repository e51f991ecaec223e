//! The client libraries: each by its own tests, against a service of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::Engine;
use crate::support::service::oncebox;

mod python;
mod typescript;

/// A new key in this file.
fn new_key(engine: Engine, file: &Path, arguments: &[&str]) -> String {
    let mut command = oncebox("key", engine);
    let key = command.arg("new").args(arguments).env("API_KEYS_FILE", file).succeeds();
    key.trim().to_owned()
}

/// A folder that is filled once for each content of this list, and kept.
fn needed(client: &str, list: &Path, fill: impl FnOnce(&Path)) -> PathBuf {
    let hash = Sha256::digest(std::fs::read(list).expect("a list"));
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-data").join(client);
    let folder = all.join(name);
    if !folder.exists() {
        std::fs::create_dir_all(&all).expect("a folder");
        // What is there is there as a whole.
        let partial = TempDir::new_in(&all).expect("a folder");
        fill(partial.path());
        std::fs::rename(partial.keep(), &folder).expect("a folder of its own");
    }
    folder
}

trait Succeeds {
    /// What it prints.
    fn succeeds(&mut self) -> String;
}

impl Succeeds for Command {
    #[track_caller]
    fn succeeds(&mut self) -> String {
        let output = self.output().expect("a program");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{}:\n{stdout}{stderr}", output.status);
        stdout
    }
}
