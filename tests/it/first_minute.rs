//! The first minute: what the README tells a newcomer to type, and what the service says when it
//! can't start.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::images::{Archive, Image, Packing};
use crate::support::service::oncebox;
use crate::support::{Engine, Shared, until};

/// The commands of the README's code blocks with this mark, as in "```sh first-minute".
pub fn readme_commands(mark: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
        .expect("README.md");
    let mut commands = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if !(line.starts_with("```") && line.ends_with(mark)) {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = block.join("\n").replace("\\\n", " ");
        let block = block.lines().map(|line| line.trim_start_matches("$ ").trim());
        commands.extend(
            block.filter(|line| !line.is_empty() && !line.starts_with('#')).map(ToOwned::to_owned),
        );
    }
    commands
}

/// Every command of the README works as it stands, but for the port; the commands that build and
/// start the service have been carried out by then.
fn the_readme_s_commands_work(engine: Engine) {
    let service = Shared::get(engine);
    let commands = readme_commands("first-minute");
    let (started, typed): (Vec<_>, Vec<_>) =
        commands.iter().partition(|command| command.starts_with("cargo run"));
    assert!(
        !started.is_empty() && !typed.is_empty(),
        "README.md has no first minute: {commands:?}"
    );
    for command in typed {
        assert!(command.starts_with("curl "), "the suite does not know how to check {command:?}");
        let here = command.replace("localhost:8080", &service.address().to_string());
        let output = Command::new("sh").args(["-c", &here]).output().expect("sh runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if command.contains("text/event-stream") {
            let last = stdout.trim_end().rsplit("\n\n").next().expect("an event");
            assert!(last.starts_with("event: result\n"), "{command}: {stdout}");
        } else if command.contains("/execute") {
            let answer: Value = serde_json::from_str(&stdout).expect("an answer is JSON");
            assert_eq!(answer["status"], "completed", "{command}: {answer}");
        }
        if command.contains("/executions") {
            let accepted: Value = serde_json::from_str(&stdout).expect("an answer is JSON");
            assert!(accepted["state"].is_string(), "{command}: {accepted}");
        }
        if command.contains("/runtimes") {
            let answer: Value = serde_json::from_str(&stdout).expect("an answer is JSON");
            assert!(answer["resources"].is_array(), "{command}: {answer}");
        }
        if command.contains("/images") {
            let answer: Value = serde_json::from_str(&stdout).expect("an answer is JSON");
            assert!(answer["images"].is_array(), "{command}: {answer}");
        }
    }
}

/// What the README says about images by hand, one command after the other, where there is an
/// `app.tar`.
fn the_readme_s_image_commands_work(engine: Engine) {
    let folder = tempfile::Builder::new().prefix("oncebox-it-readme-").tempdir().expect("a folder");
    let app = Image::new([Archive::new().file("app", 0o755, "an app").packed(Packing::Plain)]);
    std::fs::write(folder.path().join("app.tar"), app.docker_archive("app:1")).expect("a file");
    let commands = readme_commands("images");
    assert!(commands.len() >= 5, "README.md says little of images: {commands:?}");
    let mut said = String::new();
    for command in commands {
        let args = command.strip_prefix("oncebox image ").expect("a command of the image's");
        let output = oncebox("image", engine)
            .args(args.split_whitespace())
            .env("IMAGE_STORE", folder.path().join("store"))
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
        said.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    for told in ["REFERENCE", "app:1", "app:2", "untagged app:1", "deleted sha256:", "freed"] {
        assert!(said.contains(told), "nothing of {told}:\n{said}");
    }
}

/// The check list says that all is well where all is well.
fn the_doctor_is_content(engine: Engine) {
    let output = oncebox("doctor", engine).output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let fine = text.lines().filter(|line| line.split_whitespace().any(|word| word == "ok")).count();
    assert!(fine >= 5, "{text}");
    for topic in ["seccomp", "cgroup", "namespace"] {
        assert!(text.to_lowercase().contains(topic), "nothing about {topic}:\n{text}");
    }
}

/// The start-up log says what a newcomer wants to know.
fn the_start_is_explained(engine: Engine) {
    let service = Shared::get(engine);
    let log = service.log();
    for told in [engine.to_string(), service.address().to_string(), "curl".into()] {
        assert!(log.contains(&told), "nothing about {told}:\n{log}");
    }
}

/// A start that must be refused, and what it says.
#[track_caller]
pub fn refused_start(engine: Engine, settings: &[(&str, &str)], flags: &[&str]) -> String {
    let mut child = oncebox("serve", engine)
        .env("PORT", "0")
        .envs(settings.iter().copied())
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the service starts");
    let began = Instant::now();
    let status = until("the refusal to start", Duration::from_secs(20), || {
        let ended = child.try_wait().expect("a child");
        if ended.is_none() && began.elapsed() > Duration::from_secs(15) {
            child.kill().expect("a running service");
        }
        ended
    });
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "started with {settings:?} {flags:?}: {said}"
    );
    assert!(!status.success(), "started with {settings:?} {flags:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A bad value names the key, the value and where it came from.
fn a_bad_setting_is_refused(engine: Engine) {
    for (key, value) in [
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("MEMORY_LIMIT", "lots"),
        ("CPU_LIMIT", "-1"),
        ("PIDS_LIMIT", "none"),
        ("TMP_SIZE", "64q"),
        ("OUTPUT_LIMIT", "1.5.5m"),
        ("PORT", "99999"),
        ("HOST", "not an address"),
        ("ENGINE", "podman"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("BASE_IMAGE", "UPPER//case"),
        ("MAX_CONCURRENT", "0"),
        ("CUSTOM_IMAGE_REGISTRY", "https://registry.example"),
        ("CUSTOM_IMAGE_PULL_TIMEOUT", "0"),
        ("CUSTOM_IMAGE_PULL_RETRIES", "some"),
        ("TRUSTED_REGISTRIES", "registry.example/team"),
        ("ALLOWED_IMAGES", "two words"),
        ("REQUIRE_PINNED", "yes"),
        ("PULL_POLICY", "sometimes"),
        ("INSECURE_REGISTRIES", "http://registry.example"),
        ("REGISTRY_CA", "/nowhere/ca.pem"),
        ("REGISTRY_AUTH_FILE", "/nowhere/config.json"),
        ("DOCKER_CONFIG", "docker"),
        ("IMAGE_STORE", "images"),
        ("IMAGE_STORE_SIZE", "lots"),
        ("MAX_IMAGE_SIZE", "0"),
        ("EXECUTION_STORE", "executions"),
        ("RESULT_TTL", "0"),
        ("RESULT_STORE_SIZE", "0"),
        ("MAX_BACKGROUND", "0"),
        ("WEBHOOK_HOSTS", "https://example.org"),
        ("WEBHOOK_SECRET_FILE", "/nowhere/secret"),
    ] {
        let said = refused_start(engine, &[(key, value)], &[]);
        for told in [key, value, "environment"] {
            assert!(said.contains(told), "{key}={value}: nothing about {told}: {said}");
        }
    }
    let said = refused_start(engine, &[], &["--timeout", "soon"]);
    assert!(said.contains("timeout") && said.contains("soon"), "{said}");
}

/// Credentials are refused where they would end up in logs, and are not in this one.
fn credentials_in_a_setting_are_refused(engine: Engine) {
    for key in ["CUSTOM_IMAGE_REGISTRY", "TRUSTED_REGISTRIES", "BASE_IMAGE"] {
        let value = "somebody:open-sesame@registry.example/x";
        let said = refused_start(engine, &[(key, value)], &[]);
        assert!(said.contains(key) && said.contains("registry.example"), "{said}");
        assert!(!said.contains("open-sesame") && !said.contains("somebody"), "{said}");
    }
}

/// A default above its own ceiling can't be meant.
fn a_default_above_its_ceiling_is_refused(engine: Engine) {
    let said = refused_start(engine, &[("TIMEOUT", "60"), ("MAX_TIMEOUT", "30")], &[]);
    assert!(said.contains("TIMEOUT") && said.contains("60") && said.contains("30"), "{said}");
}

/// Without keys the door stays on this machine.
fn a_public_door_without_keys_is_refused(engine: Engine) {
    let said = refused_start(engine, &[("HOST", "0.0.0.0")], &[]);
    assert!(said.contains("ALLOW_ANONYMOUS"), "{said}");
}

/// An engine that can't be had is a refusal that says why, never another engine.
#[test]
fn docker_that_does_not_answer_is_refused() {
    let _turn = crate::support::turn::alone();
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let said = refused_start(Engine::Docker, &nowhere, &[]);
    assert!(said.contains("/nowhere/docker.sock"), "{said}");
}

on_both_engines! {
    together: the_readme_s_commands_work, the_start_is_explained;
    alone: the_doctor_is_content, a_bad_setting_is_refused, a_default_above_its_ceiling_is_refused,
        a_public_door_without_keys_is_refused, credentials_in_a_setting_are_refused;
    native: the_readme_s_image_commands_work
}
