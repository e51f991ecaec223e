//! A key file of a test's own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::token::Token;

pub struct KeyFile {
    _folder: TempDir,
    path: PathBuf,
}

impl KeyFile {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        let file = Self { _folder: folder, path };
        file.write("");
        file.chmod(0o600);
        file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("its text")
    }

    pub fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("written");
    }

    pub fn chmod(&self, mode: u32) {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode)).expect("its owner");
    }

    pub fn clear(&self) {
        self.write("");
    }

    pub fn remove(&self) {
        fs::remove_file(&self.path).expect("removed");
    }

    /// Adds a key with these lines, and says it in plain.
    pub fn add(&mut self, name: &str, lines: &str) -> String {
        let token = Token::new().expect("random bytes");
        let mut text = self.text();
        writeln!(text, "[[keys]]\nname = {name:?}\nhash = \"{}\"\n{lines}", token.hash())
            .expect("in memory");
        self.write(&text);
        token.reveal().to_owned()
    }
}
