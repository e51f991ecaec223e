//! Requests that Schemathesis makes up from the description, good ones and bad ones: none may break
//! the service, and no answer may be one that is not described.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Engine, Service};

/// Chosen once, so that a run that fails can be run again.
const SEED: &str = "20260101";
/// Requests of one operation that are made up, beside those that its rules suggest.
const EXAMPLES: &str = "15";
/// Seconds for all of it, many times what it takes.
const PATIENCE: &str = "240";

/// Nothing outside is asked, nothing takes long, and what is removed is nobody's.
fn service(engine: Engine, store: &TempDir) -> Service {
    let settings = [
        ("TIMEOUT", "2"),
        ("MAX_TIMEOUT", "2"),
        ("TRUSTED_REGISTRIES", "127.0.0.1:1"),
        ("CUSTOM_IMAGE_PULL_RETRIES", "0"),
        ("IMAGE_STORE", store.path().to_str().expect("text")),
    ];
    Service::start(engine, &settings)
}

fn no_request_breaks_what_is_described(engine: Engine) {
    let store = tempfile::tempdir().expect("a folder");
    let service = service(engine, &store);
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-data/schemathesis");
    let program = packages.join("bin/schemathesis");
    assert!(program.exists(), "{} is missing; tests/run fetches it", program.display());
    let run = Command::new("/usr/bin/timeout")
        .args([PATIENCE, "/usr/bin/python3"])
        .arg(program)
        .arg("run")
        .arg(format!("http://{}/openapi.json", service.address()))
        .args(["--seed", SEED, "--max-examples", EXAMPLES, "--generation-database", "none"])
        // A request can follow the description and still ask for more than the operator allows, or
        // for an image that there is not.
        // What is deleted of an execution is its run: it can be looked at as before.
        .args(["--exclude-checks", "positive_data_acceptance,use_after_free"])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
        .env("PYTHONPATH", &packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(store.path())
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&run.stdout);
    let summary = said.rsplit_once("= SUMMARY =").map_or(&*said, |(_, summary)| summary);
    let lines = summary.lines().filter(|line| line.contains("generated") || line.contains("Seed"));
    // Past the test runner's capture, for the record.
    writeln!(std::io::stderr(), "Schemathesis: {}", lines.collect::<Vec<_>>().join(", "))
        .expect("stderr");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{said}\n{errors}\n{}", run.status, service.last_words());
}

mod native {
    on_both_engines! { @tests Native, together, no_request_breaks_what_is_described }
}
