//! `clients/typescript`, in Node and in a browser.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::service::{free_address, oncebox};
use crate::support::{Engine, Service};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Seconds for npm, and for the client's own tests.
const DEADLINE: &str = "900";

fn its_own_tests_pass(engine: Engine) {
    let folder = TempDir::with_prefix("oncebox-it-typescript-").expect("a folder");
    let client = client(folder.path());
    let keys = folder.path().join("keys.toml");
    let key = new_key(engine, &keys, &["client", "--scopes", "execute,images,admin"]);
    let other = new_key(engine, &keys, &["other", "--scopes", "execute", "--rate", "1/s"]);
    let registry = Registry::start();
    Image::marked("the TypeScript client's").push(&registry, "clients/typescript", "1");
    let (store, address) = (folder.path().join("images"), registry.address());
    let page = format!("http://{}", free_address());
    let service = Service::start(
        engine,
        &[
            ("API_KEYS_FILE", keys.to_str().expect("text")),
            ("CORS_ORIGINS", &page),
            ("IMAGE_STORE", store.to_str().expect("text")),
            ("INSECURE_REGISTRIES", &address),
        ],
    );
    let tests = npm(&client)
        .arg("test")
        .env("ONCEBOX_URL", format!("http://{}", service.address()))
        .env("ONCEBOX_API_KEY", key)
        .env("ONCEBOX_OTHER_KEY", other)
        .env("ONCEBOX_TEST_IMAGE", registry.name("clients/typescript:1"))
        .env("ONCEBOX_PAGE", &page)
        .env("TMPDIR", folder.path())
        .succeeds();
    assert!(tests.contains("\n# fail 0\n") && !tests.contains("\n# pass 0\n"), "{tests}");
}

/// The client as it is in a clone, since building it writes beside its sources.
fn client(folder: &Path) -> PathBuf {
    let client = folder.join("clients/typescript");
    std::fs::create_dir_all(&client).expect("a folder");
    for name in ["package.json", "tsconfig.json", "README.md", "src", "test"] {
        let from = Path::new(ROOT).join("clients/typescript").join(name);
        Command::new("cp").arg("-R").args([&from, &client]).succeeds();
    }
    symlink(Path::new(ROOT).join("docs"), folder.join("docs")).expect("a link");
    symlink(modules(), client.join("node_modules")).expect("a link");
    client
}

/// What it is built and tested with, from npm's registry, once for each list of it.
fn modules() -> PathBuf {
    let from = Path::new(ROOT).join("clients/typescript");
    let list = std::fs::read(from.join("package-lock.json")).expect("package-lock.json");
    let name: String = Sha256::digest(list).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let all = Path::new(ROOT).join("target/test-data/typescript-client");
    let folder = all.join(name);
    if !folder.exists() {
        std::fs::create_dir_all(&all).expect("a folder");
        // What is there is there as a whole.
        let partial = TempDir::new_in(&all).expect("a folder");
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(from.join(name), partial.path().join(name)).expect("a copy");
        }
        npm(partial.path()).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).succeeds();
        std::fs::rename(partial.keep(), &folder).expect("a folder of its own");
    }
    folder.join("node_modules")
}

/// A new key in this file.
fn new_key(engine: Engine, file: &Path, arguments: &[&str]) -> String {
    let mut command = oncebox("key", engine);
    let key = command.arg("new").args(arguments).env("API_KEYS_FILE", file).succeeds();
    key.trim().to_owned()
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args([DEADLINE, "npm"]).current_dir(folder);
    command
}

trait Succeeds {
    fn succeeds(&mut self) -> String;
}

impl Succeeds for Command {
    /// What it prints.
    #[track_caller]
    fn succeeds(&mut self) -> String {
        let output = self.output().expect("a program");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{}:\n{stdout}{stderr}", output.status);
        stdout
    }
}

on_both_engines! { together: ; native: its_own_tests_pass }
