//! The programs that these tests use, and the repository's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::layers::through;

/// The image that `tests/service-image` builds.
pub const SERVICE: &str = "oncebox-test/service:latest";
/// What it is built on.
pub const RUNTIME: &str = "oncebox-base/cc:latest";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// A file of YAML, with every `${…}` as it is written.
pub fn yaml(file: &str) -> Value {
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let json = through("/usr/bin/python3", &["-c", program], read(file).as_bytes());
    serde_json::from_slice(&json).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// What `tests/run` fetched.
pub fn fetched(program: &str) -> PathBuf {
    let path = root().join("target/test-data/deployment").join(program);
    assert!(path.exists(), "{} is missing; use tests/run", path.display());
    path
}

/// The files of the repository with such a name, wherever they are.
pub fn tracked(pattern: &str) -> Vec<String> {
    let mut git = Command::new("git");
    let listed = run(git.args(["ls-files", "--", pattern]).current_dir(root()));
    String::from_utf8(listed.stdout).expect("names").lines().map(ToOwned::to_owned).collect()
}

/// Runs it, and says what it said where it fails.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; use tests/run"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output
}

pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
