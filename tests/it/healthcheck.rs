//! `oncebox healthcheck`: what a container's HEALTHCHECK runs, without a shell.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::service::{free_address, oncebox};
use crate::support::{Engine, Service, turn, until};

fn check(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncebox"));
    command.arg("healthcheck").args(arguments).env_clear().envs(settings.iter().copied());
    command.current_dir("/").stdin(Stdio::null()).output().expect("the program runs")
}

#[test]
fn native_a_service_is_asked_at_its_own_settings() {
    let _turn = turn::together();
    let everywhere = [("HOST", "0.0.0.0"), ("PUBLISHED_ON", "127.0.0.1"), ("TIMEOUT", "20")];
    let service = Service::start(Engine::Native, &everywhere);
    let port = service.address().port().to_string();
    // A script's time limit is none of its business.
    let settings = [everywhere[0], everywhere[1], ("PORT", &*port), ("TIMEOUT", "0.001")];
    for arguments in [&[][..], &["--timeout", "2.5"], &["--port", &port]] {
        let output = check(&settings, arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    until("its pool", Duration::from_secs(30), || {
        check(&settings, &["--ready"]).status.success().then_some(())
    });
}

#[test]
fn native_a_service_that_is_not_ready_says_why() {
    let _turn = turn::together();
    let mut service = Service::start(Engine::Native, &[("DRAIN_TIMEOUT", "10")]);
    let port = service.address().port().to_string();
    let running = service.poster();
    let script = thread::spawn(move || running(&json!({"script": "sleep 3"})));
    thread::sleep(Duration::from_millis(500));
    service.terminate();
    let said = until("its refusal", Duration::from_secs(5), || {
        let output = check(&[("PORT", &port)], &["--ready"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code() == Some(1) && said.contains("503")).then_some(said)
    });
    assert!(said.starts_with("oncebox: http://127.0.0.1:"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(check(&[("PORT", &port)], &[]).status.success(), "it still lives");
    let answer = script.join().expect("a thread").expect("an answer");
    assert_eq!(answer.http, 200);
    assert!(service.wait().success());
}

#[test]
fn nobody_there_is_told_in_one_sentence() {
    let port = free_address().port().to_string();
    for (settings, told) in [
        (&[("PORT", &*port)][..], "does not answer"),
        (&[("PORT", "0")], "PORT"),
        (&[("HOST", "example.org")], "HOST"),
    ] {
        let output = check(settings, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("oncebox: ") && said.contains(told), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
    assert_eq!(check(&[], &["--timeout", "0"]).status.code(), Some(2));
}

/// A service whose port is published beyond loopback needs keys as one that listens there.
#[test]
fn native_what_is_published_beyond_loopback_is_refused() {
    let mut command = oncebox("serve", Engine::Native);
    command.env("HOST", "0.0.0.0").env("PUBLISHED_ON", "0.0.0.0").env("PORT", "0");
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("PUBLISHED_ON is \"0.0.0.0\"") && said.contains("API_KEYS_FILE"),
        "{said}"
    );
}
