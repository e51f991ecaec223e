//! `clients/typescript`, in Node and in a browser.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Succeeds, needed, new_key};
use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::service::free_address;
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
    // However this Node says it.
    assert!(tests.contains(" fail 0\n") && !tests.contains(" pass 0\n"), "{tests}");
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

/// What it is built and tested with, from npm's registry.
fn modules() -> PathBuf {
    let from = Path::new(ROOT).join("clients/typescript");
    let list = from.join("package-lock.json");
    let folder = needed("typescript-client", &list, |folder| {
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(from.join(name), folder.join(name)).expect("a copy");
        }
        npm(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).succeeds();
    });
    folder.join("node_modules")
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args([DEADLINE, "npm"]).current_dir(folder);
    command
}

on_both_engines! { together: ; native: its_own_tests_pass }
