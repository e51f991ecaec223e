//! `clients/python`, installed as its users do it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Succeeds, needed, new_key};
use crate::support::images::Image;
use crate::support::registry::Registry;
use crate::support::{Engine, Service};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");
/// Seconds for pip, and for the client's own tests.
const DEADLINE: &str = "900";

fn its_own_tests_pass(engine: Engine) {
    let folder = TempDir::with_prefix("oncebox-it-python-").expect("a folder");
    let packages = packages(&folder.path().join("client"));
    let keys = folder.path().join("keys.toml");
    let key = new_key(engine, &keys, &["client", "--scopes", "execute,images,admin"]);
    let other = new_key(engine, &keys, &["other", "--scopes", "execute", "--rate", "1/s"]);
    let registry = Registry::start();
    Image::marked("the Python client's").push(&registry, "clients/python", "1");
    let (store, address) = (folder.path().join("images"), registry.address().to_string());
    let service = Service::start(
        engine,
        &[
            ("API_KEYS_FILE", keys.to_str().expect("text")),
            ("IMAGE_STORE", store.to_str().expect("text")),
            ("INSECURE_REGISTRIES", &address),
        ],
    );
    python(&packages)
        .args(["-m", "pytest", "--quiet"])
        .env("ONCEBOX_URL", format!("http://{}", service.address()))
        .env("ONCEBOX_API_KEY", key)
        .env("ONCEBOX_OTHER_KEY", other)
        .env("ONCEBOX_TEST_IMAGE", registry.name("clients/python:1"))
        .succeeds();
}

/// Where Python finds the client, installed into this folder, and what it and its tests need.
fn packages(client: &Path) -> OsString {
    let needed = requirements();
    python(needed.as_os_str())
        .args(["-m", "pip", "--quiet", "install", "--no-deps", "--no-build-isolation"])
        .args(["--root-user-action", "ignore", "--target"])
        .args([client, Path::new(CLIENT)])
        .succeeds();
    std::env::join_paths([client, &needed]).expect("no colon")
}

/// What the client and its tests need, from PyPI.
fn requirements() -> PathBuf {
    let list = Path::new(CLIENT).join("requirements-test.txt");
    needed("python-client", &list, |folder| {
        python("".as_ref())
            .args(["-m", "pip", "--quiet", "install", "--require-hashes", "--only-binary", ":all:"])
            .args(["--root-user-action", "ignore", "--target"])
            .args([folder, Path::new("-r"), &list])
            .succeeds();
    })
}

/// Debian's Python, which leaves nothing in the source tree.
fn python(packages: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([DEADLINE, "/usr/bin/python3"])
        .current_dir(CLIENT)
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1,localhost");
    command
}

on_both_engines! { together: ; native: its_own_tests_pass }
