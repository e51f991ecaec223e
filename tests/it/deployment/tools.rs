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

/// Files of the repository, by their path in it; what was built or fetched is left out.
pub fn files(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    const MADE: [&str; 4] = ["target", "node_modules", ".git", "__pycache__"];
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder").flatten() {
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() && !MADE.iter().any(|made| entry.file_name() == *made) {
                folders.push(path);
            } else if kind.is_file() {
                found.extend(path.to_str().filter(|name| wanted(name)).map(ToOwned::to_owned));
            }
        }
    }
    found.sort();
    found
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
