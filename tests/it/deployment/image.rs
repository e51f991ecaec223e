//! The service's image, as the shipped Dockerfile builds it.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::project::inspect;
use super::tools::{RUNTIME, SERVICE};
use crate::support::layers::gzip;
use crate::support::turn;

const MIB: usize = 1024 * 1024;

/// One layer that the image has over its base: its size when it is compressed, and what is in it.
struct Layer {
    compressed: usize,
    /// Path, mode and owner.
    entries: Vec<(String, u32, u64)>,
}

fn layers_over(base: &str) -> Vec<Layer> {
    let mut save = Command::new("docker").args(["save", SERVICE]).stdout(Stdio::piped()).spawn();
    let save = save.as_mut().expect("docker runs");
    let mut files = std::collections::BTreeMap::new();
    let mut archive = tar::Archive::new(save.stdout.take().expect("its output"));
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        files.insert(path, bytes);
    }
    assert!(save.wait().expect("an end").success());
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let names = manifest[0]["Layers"].as_array().expect("layers");
    let below = inspect(base)["RootFS"]["Layers"].as_array().expect("layers").len();
    let above = names[below..].iter().map(|name| {
        let bytes = &files[name.as_str().expect("a name")];
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            (path, header.mode().expect("a mode") & 0o7777, header.uid().expect("an owner"))
        });
        Layer { entries: entries.collect(), compressed: gzip(bytes).len() }
    });
    above.collect()
}

#[test]
fn docker_the_image_is_the_binary_and_a_folder() {
    let _turn = turn::together();
    let layers = layers_over(RUNTIME);
    let compressed: usize = layers.iter().map(|layer| layer.compressed).sum();
    println!("over its base, compressed: {:.1} MiB", compressed as f64 / MIB as f64);
    assert!(compressed < 50 * MIB, "{compressed} bytes over the base");
    let entries: Vec<_> = layers.into_iter().flat_map(|layer| layer.entries).collect();
    let own = entries.iter().filter(|(path, _, _)| {
        // Folders of the base on the way.
        !["usr/", "usr/local/", "usr/local/bin/", "var/", "var/lib/"].contains(&path.as_str())
    });
    let own: Vec<(&str, u32, u64)> = own.map(|(p, mode, owner)| (&**p, *mode, *owner)).collect();
    assert_eq!(own, [("usr/local/bin/oncebox", 0o755, 0), ("var/lib/oncebox/", 0o755, 65532)]);
    for (path, mode, owner) in &entries {
        assert_eq!(mode & 0o6022, 0, "{path} is set-id, or others may write it: {mode:o}");
        assert!(*owner == 0 || path == "var/lib/oncebox/", "{path} belongs to {owner}");
    }
}

#[test]
fn docker_the_image_says_what_it_is() {
    let _turn = turn::together();
    let image = inspect(SERVICE);
    let config = &image["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/oncebox"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    let check = json!(["CMD", "/usr/local/bin/oncebox", "healthcheck"]);
    assert_eq!(config["Healthcheck"]["Test"], check);
    assert_eq!(config["ExposedPorts"], json!({"8080/tcp": {}}));
    let label = |name: &str| &config["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(label("title"), "Oncebox");
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("base.name"), RUNTIME);
    for name in ["revision", "created"] {
        assert!(label(name).is_string(), "{name}");
    }
    // What a build needs, and secrets, are in no layer and no variable.
    let environment = config["Env"].to_string();
    assert!(!environment.contains("CARGO"), "{environment}");
}

#[test]
fn docker_the_image_has_no_shell() {
    let _turn = turn::together();
    let run = |program: &str, arguments: &[&str]| {
        let mut docker = Command::new("docker");
        docker.args(["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"]);
        docker.args(["--entrypoint", program, SERVICE]).args(arguments);
        docker.output().expect("docker runs")
    };
    for shell in ["/bin/sh", "/bin/bash", "/bin/busybox", "sh"] {
        let output = run(shell, &["-c", "exit 0"]);
        assert_eq!(output.status.code(), Some(127), "{shell}: {output:?}");
    }
    let version = run("/usr/local/bin/oncebox", &["--version"]);
    assert!(version.status.success(), "{version:?}");
}
