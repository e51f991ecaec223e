//! Attackers of other people's, as Debian has them.
//!
//! With `ONCEBOX_TEST_LENGTH=full` they attack for longer, with all they have: a quarter of an hour
//! for each engine, and minutes for the door.

mod door;
mod stress_ng;
mod trinity;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clean::SETTLE;
use crate::stage::Stage;
use crate::support::length::rounds;
use crate::support::meanwhile::meanwhile;
use crate::support::{Answer, Engine, Service};

/// For a neighbour's answer, on a machine that is under attack.
const PATIENCE: Duration = Duration::from_secs(5);
/// Docker's daemon hears of each process that the kernel kills for memory before it hears of the end,
/// one by one: some 300 a second, of which these programs bring about thousands.
const DAEMON_HEARS: Duration = Duration::from_secs(30);

/// The image that holds them: on native, this machine itself.
fn image(engine: Engine) -> &'static str {
    match engine {
        Engine::Native => engine.base_image(),
        Engine::Docker => "oncebox-test/programs:latest",
    }
}

/// Lets a program attack from within an execution, of which only the end matters, and looks whether
/// neighbours are served meanwhile and all is as it was before.
#[track_caller]
fn attack(stage: &Stage, command: &str) -> Answer {
    // No longer than the client waits: under these limits some never get to their end.
    let request = json!({
        "script": format!("exec {command} 2>&1"), "image": image(stage.engine),
        "pull_policy": "never", "timeout": rounds(15, 100), "memory_limit": "256m", "pids_limit": 256,
        "tmp_size": "64m", "output_limit": "1m",
    });
    let settled = if stage.engine == Engine::Docker { DAEMON_HEARS } else { SETTLE };
    let answer = stage
        .clean_within(settled, |service| served_beside(service, || {}, || service.run(&request)));
    assert_eq!(stage.service().get("/ready").expect("an answer").http, 200);
    answer
}

/// Attacks while a neighbour, who comes from another address, has one script after the other run, and
/// looks at the service after each.
#[track_caller]
fn served_beside<T>(
    service: &Service,
    mut look: impl FnMut() + Send,
    attack: impl FnOnce() -> T,
) -> T {
    let post = service.poster_from(Ipv4Addr::new(127, 0, 0, 2));
    let again = || {
        let began = Instant::now();
        let answer = post(&json!({"script": "echo ok"})).expect("an answer").ran();
        assert_eq!((answer.text(), answer.exit_code()), ("ok\n".to_owned(), 0), "{}", answer.0);
        assert!(began.elapsed() < PATIENCE, "served after {:?}", began.elapsed());
        look();
    };
    let (outcome, served) = meanwhile(again, attack);
    assert!(!served.is_empty(), "none was served");
    outcome
}

/// What a program prints that attacks from outside.
fn outside(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; tests/run installs it"));
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&printed).into_owned()
}

/// Past the test runner's capture, for the record.
fn record(what: &str) {
    writeln!(std::io::stderr(), "{what}").expect("stderr");
}
