//! slowhttptest and wrk against the door: whoever comes from elsewhere is served meanwhile, and all
//! that the service holds stays bounded and is given back.

use super::{outside, record, served_beside};
use crate::stage::Stage;
use crate::support::length::rounds;
use crate::support::{Engine, Service, host};

/// As many as the service takes at once; half of them from one address.
const CONNECTIONS: usize = 400;
const SETTINGS: &[(&str, &str)] = &[
    ("MAX_CONNECTIONS", "400"),
    ("HEAD_TIMEOUT", "2"),
    ("BODY_TIMEOUT", "2"),
    ("WRITE_TIMEOUT", "2"),
    ("QUEUE_LIMIT", "128"),
    ("QUEUE_TIMEOUT", "30"),
];
const EXECUTE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks/programs/execute.lua");

/// Runs an attack twice: what the service keeps for so many connections it keeps once.
fn besiege(stage: &Stage, what: &str, attack: impl Fn(&Service) -> String) {
    attack(stage.service());
    let before = host::descriptors(stage.service().pid());
    let mut most = 0;
    let told = stage.clean_after(|service| {
        let look = || most = most.max(host::descriptors(service.pid()));
        served_beside(service, look, || attack(service))
    });
    record(&format!("{what}: {told}; {most} descriptors at most, {before} before"));
    assert!(most <= before + CONNECTIONS, "{most} descriptors, {before} before");
}

/// More connections than one address may have, for a while.
fn slowhttptest(stage: &Stage, what: &str, path: &str, how: &[&str]) {
    let (connections, seconds) = (CONNECTIONS.to_string(), rounds(4, 20).to_string());
    besiege(stage, what, |service| {
        let url = format!("http://{}{path}", service.address());
        let fixed = ["-c", &connections, "-r", "200", "-l", &seconds, "-u", &url];
        let printed = outside("slowhttptest", &[&fixed, how].concat());
        assert!(printed.contains("Exit status"), "{printed}");
        let told = printed.lines().rev().find(|line| line.contains("Exit status"));
        told.expect("it is there").replace("\u{1b}[1;36m", "").trim().to_owned()
    });
}

fn slowhttptest_holds_nobody_up(engine: Engine) {
    let stage = Stage::with(engine, SETTINGS);
    slowhttptest(&stage, "slow heads", "/health", &["-H", "-i", "1", "-x", "24"]);
    let json = ["-B", "-i", "1", "-x", "10", "-s", "8192", "-f", "application/json"];
    slowhttptest(&stage, "slow bodies", "/execute", &json);
    let read = ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "3"];
    slowhttptest(&stage, "slow reading", "/openapi.json", &read);
}

fn wrk_is_served(engine: Engine) {
    let stage = Stage::with(engine, SETTINGS);
    let seconds = format!("{}s", rounds(2, 20));
    let fixed = ["-t", "2", "-c", "64", "-d", &seconds, "--timeout", "30s"];
    for (path, script) in [("/health", vec![]), ("/execute", vec!["-s", EXECUTE])] {
        besiege(&stage, &format!("wrk at {path}"), |service| {
            let url = format!("http://{}{path}", service.address());
            let printed = outside("wrk", &[&fixed, &script[..], &[url.as_str()]].concat());
            let line =
                |what: &str| printed.lines().find(|line| line.trim_start().starts_with(what));
            for wrong in ["Socket errors", "Non-2xx"] {
                assert_eq!(line(wrong), None, "{printed}");
            }
            line("Requests/sec").unwrap_or_else(|| panic!("{printed}")).to_owned()
        });
    }
}

on_both_engines! { together: ; native: slowhttptest_holds_nobody_up, wrk_is_served }
