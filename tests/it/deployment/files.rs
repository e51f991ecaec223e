//! The shipped files against one another and against the table of settings; nothing is started.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use oncebox::config::KEYS;
use serde_json::Value;

use super::project::Compose;
use super::tools::{fetched, files, read, run, said, yaml};

const OVERRIDES: &[&str] = &[
    "deploy/compose.registry.yml",
    "deploy/compose.observability.yml",
    "deploy/compose.daemon.yml",
];

/// Settings that the compose file leaves out.
const LEFT_OUT: &[(&str, &str)] = &[
    ("ACCEPT_UNENFORCED", "of the native engine: the daemon enforces all of them"),
    ("DOCKER_CONFIG", "the caller's own names the folder of his command line; REGISTRY_AUTH_FILE"),
    ("IMAGE_STORE", "of the native engine: images are the daemon's"),
    ("IMAGE_STORE_SIZE", "of the native engine"),
    ("MAX_IMAGE_SIZE", "of the native engine"),
    ("REGISTRY_CA", "of the native engine: the daemon pulls, by its own certificates"),
];

/// Settings that it gives, and nobody changes from outside.
const FIXED: &[(&str, &str)] = &[
    ("HOST", "within the container"),
    ("PORT", "within the container; HOST_PORT is outside"),
    ("PUBLISHED_ON", "HOST_ADDRESS"),
    ("ENGINE", "the image has the means of this one only"),
    ("DOCKER_HOST", "the socket's place within; the caller's own is for his command line"),
    ("USER_NAME", "the owner of the volume"),
    ("EXECUTION_STORE", "in the volume"),
];

/// Defaults that are written out where the table leaves them to the engine.
const WRITTEN_OUT: &[(&str, &str)] = &[("BASE_IMAGE", "alpine:latest")];

/// What it takes apart from the service's own settings.
const ABOUT_IT: &[&str] = &[
    "CONFIG_FOLDER",
    "DOCKER_SOCKET",
    "FORWARD_ENV_FILE",
    "HEALTH_INTERVAL",
    "HOST_ADDRESS",
    "HOST_PORT",
    "ONCEBOX_IMAGE",
    "RUNTIME_IMAGE",
    "RUST_IMAGE",
    "SERVICE_CPUS",
    "SERVICE_MEMORY",
    "STOP_GRACE_PERIOD",
];

/// `NAME` and `default` of every `${NAME:-default}`.
fn variables(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for part in text.split("${").skip(1) {
        let (inside, _) = part.split_once('}').expect("an end");
        let (name, default) = inside.split_once(":-").expect("a default");
        let before = found.insert(name.to_owned(), default.to_owned());
        assert!(before.is_none_or(|before| before == default), "{name} has two defaults");
    }
    found
}

#[test]
fn docker_every_setting_is_in_the_compose_file_with_its_default() {
    let compose = yaml("docker-compose.yml");
    let environment = compose["services"]["script-executor"]["environment"].as_object();
    let environment = environment.expect("an environment");
    for key in KEYS {
        let name = key.variable();
        let is_in = |list: &[(&str, &str)]| list.iter().any(|(listed, _)| *listed == name);
        let Some(value) = environment.get(&name) else {
            assert!(is_in(LEFT_OUT), "{name} is missing in docker-compose.yml");
            continue;
        };
        assert!(!is_in(LEFT_OUT), "{name} is there after all");
        let value = value.as_str().unwrap_or_else(|| panic!("{name} is no text"));
        let written_out = WRITTEN_OUT.iter().find(|(written, _)| *written == name);
        let default = written_out.map(|(_, default)| *default).or(key.default).unwrap_or_default();
        let variable = value == format!("${{{name}:-{default}}}");
        assert_ne!(variable, is_in(FIXED), "{name}: {value}");
    }
    let known: BTreeSet<String> = KEYS.iter().map(oncebox::config::Key::variable).collect();
    let unknown: Vec<_> = environment.keys().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "no such settings: {unknown:?}");
}

#[test]
fn the_example_has_what_the_compose_file_takes() {
    let taken = variables(&read("docker-compose.yml"));
    let example = read(".env.example");
    let shown = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let shown = shown.filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    let shown: BTreeMap<_, _> = shown.map(|(n, value)| (n.to_owned(), value.to_owned())).collect();
    assert_eq!(shown, taken);
    let about: Vec<&str> = {
        let own: BTreeSet<String> = KEYS.iter().map(oncebox::config::Key::variable).collect();
        taken.keys().filter(|name| !own.contains(*name)).map(String::as_str).collect()
    };
    assert_eq!(about, ABOUT_IT);
}

/// Half a minute of drain, and the time that the daemon takes to remove what waits.
#[test]
fn a_stop_has_more_time_than_the_drain() {
    let taken = variables(&read("docker-compose.yml"));
    let seconds = |name: &str| taken[name].trim_end_matches('s').parse::<u64>().expect("seconds");
    assert!(seconds("STOP_GRACE_PERIOD") >= seconds("DRAIN_TIMEOUT") + 20);
}

#[test]
fn docker_both_composes_read_all_the_files_without_a_doubt() {
    let mut sets: Vec<Vec<&str>> = vec![vec![]];
    sets.extend(OVERRIDES.iter().map(|file| vec![*file]));
    sets.push(OVERRIDES.to_vec());
    for (compose, files) in
        [Compose::V1, Compose::V2].iter().flat_map(|c| sets.iter().map(move |files| (c, files)))
    {
        let mut command = compose.command();
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(super::tools::root());
        command.env("GRAFANA_PASSWORD", "x").env("DOCKER_SOCKET", "/run/docker.sock");
        command.args(["--env-file", ".env.example", "-f", "docker-compose.yml"]);
        command.args(files.iter().flat_map(|file| ["-f", file])).arg("config");
        let read = run(&mut command);
        let doubts = String::from_utf8_lossy(&read.stderr);
        assert!(doubts.is_empty(), "{compose:?} of {files:?}: {doubts}");
    }
}

/// One example file for all means that none of them is hardened less than the service.
#[test]
fn docker_what_stands_beside_is_pinned_published_on_loopback_and_hardened_alike() {
    for file in OVERRIDES {
        let compose = yaml(file);
        let services = compose["services"].as_object().expect("services");
        for (name, service) in services.iter().filter(|(name, _)| *name != "script-executor") {
            let text = |field: &str| service[field].to_string();
            let (_, default) = service["image"].as_str().and_then(|i| i.split_once(":-")).unwrap();
            let (_, tag) = default.trim_end_matches('}').rsplit_once(':').expect("a tag");
            assert!(tag.split('.').count() == 3, "{name}: {default} is not pinned");
            for port in service["ports"].as_array().expect("ports") {
                assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port}");
            }
            assert_eq!(text("cap_drop"), r#"["ALL"]"#, "{name}");
            assert_eq!(service["cap_add"], Value::Null, "{name}");
            assert_eq!(text("security_opt"), r#"["no-new-privileges:true"]"#, "{name}");
            assert_eq!(service["read_only"], true, "{name}");
            for field in ["mem_limit", "cpus", "pids_limit", "healthcheck", "logging", "tmpfs"] {
                assert_ne!(service[field], Value::Null, "{name} has no {field}");
            }
        }
    }
}

#[test]
fn docker_what_grafana_finds_is_there() {
    let sources = yaml("deploy/grafana/datasources.yml");
    assert_eq!(sources["datasources"][0]["url"], "http://prometheus:9090");
    let dashboards = yaml("deploy/grafana/dashboards.yml");
    let path = &dashboards["providers"][0]["options"]["path"];
    let compose = yaml("deploy/compose.observability.yml");
    let volumes = compose["services"]["grafana"]["volumes"].as_array().expect("volumes");
    let volumes: Vec<&str> = volumes.iter().filter_map(Value::as_str).collect();
    assert!(volumes.contains(&&*format!("./docs/grafana:{}:ro", path.as_str().unwrap())));
    for volume in volumes.iter().filter_map(|volume| volume.strip_prefix("./")) {
        let here = volume.split(':').next().expect("a source");
        assert!(super::tools::root().join(here).exists(), "{here}");
    }
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/oncebox.json")).expect("JSON");
    assert_eq!(dashboard["uid"], "oncebox");
}

#[test]
fn docker_bake_builds_the_same_for_both_machines() {
    let mut bake = Command::new(fetched("docker-buildx"));
    bake.env_clear().current_dir(super::tools::root());
    bake.env("DOCKER_CONFIG", env!("CARGO_TARGET_TMPDIR"));
    let printed =
        run(bake.args(["bake", "-f", "docker-bake.hcl", "--print", "service", "release"]));
    let plan: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let release = &plan["target"]["release"];
    assert_eq!(release["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(release["args"], plan["target"]["service"]["args"]);
    let dockerfile = read("Dockerfile");
    let compose = variables(&read("docker-compose.yml"));
    for (name, value) in release["args"].as_object().expect("arguments") {
        let line = format!("ARG {name}={}", value.as_str().unwrap());
        assert!(dockerfile.lines().any(|l| l == line), "Dockerfile has no {line}");
        assert!(compose.get(name).is_none_or(|v| v == value), "docker-compose.yml: {name}");
    }
    assert_eq!(release["args"]["VERSION"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn docker_every_dockerfile_and_script_is_linted() {
    let dockerfiles = files(|name| name.ends_with("Dockerfile"));
    assert!(dockerfiles.iter().any(|file| file == "Dockerfile"), "{dockerfiles:?}");
    let mut hadolint = Command::new(fetched("bin/hadolint"));
    hadolint.arg("--no-color").args(["--failure-threshold", "warning"]).args(dockerfiles);
    let found = run(hadolint.current_dir(super::tools::root()));
    println!("{}", said(&found));
    let scripts = files(|name| {
        let bytes = std::fs::read(super::tools::root().join(name)).unwrap_or_default();
        bytes.starts_with(b"#!/usr/bin/env bash") || bytes.starts_with(b"#!/bin/sh")
    });
    assert!(scripts.iter().any(|file| file == "tests/run"), "{scripts:?}");
    let mut shellcheck = Command::new("shellcheck");
    run(shellcheck.args(["--severity", "warning"]).args(scripts).current_dir(super::tools::root()));
}
