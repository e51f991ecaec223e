//! Honest programs: what they do anywhere else they do in an execution, too.
//!
//! The default run takes those of CPython's own test modules that matter most; with
//! `ONCEBOX_TEST_LENGTH=full` it takes all that there are, some minutes more.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, unreachable_pub)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

mod cpython;
mod runtimes;
mod shells;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::Engine;

/// The base image with more of Debian's programs, and with CPython's own tests.
const PROGRAMS: &str = "oncebox-test/programs:latest";

/// Executions at once.
const AT_A_TIME: usize = 4;

/// The image that holds the programs: on native, this machine itself.
fn image(engine: Engine) -> &'static str {
    match engine {
        Engine::Native => engine.base_image(),
        Engine::Docker => PROGRAMS,
    }
}

/// A file or folder beside this one.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/honest").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files of a folder with this ending, by name.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == ending));
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {folder}");
    files
}

/// Does this with each, several at once, and collects what went wrong.
fn each<T: Sync>(all: &[T], run: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = run(one) {
                        wrong.lock().expect("no panic").push(what);
                    }
                }
            });
        }
    });
    wrong.into_inner().expect("no panic")
}
