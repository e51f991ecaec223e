//! What the door costs: the same request to a service with API keys, a rate limit and a log of every
//! execution, and to one with nothing of it, in turns. Metrics are always on.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::client::Request;
use crate::latency::{Contender, Rhythm, count, echo, ours, ratio, take_turns, text};
use crate::results::{Bar, Report, Table};
use crate::{Bench, Engine};

/// What all of it together may cost.
const MOST: f64 = 1.1;
/// Keys that a request's is held against.
const KEYS: usize = 8;

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys.toml");
    let keys: Vec<String> = (0..KEYS).map(|number| new_key(&file, number)).collect();
    let log = File::create(folder.path().join("log")).expect("a log");
    let settings = [
        ("API_KEYS_FILE", file.to_str().expect("a path")),
        // It is kept count of, and never refuses.
        ("RATE_LIMIT", "100000/s"),
        ("LOG_LEVEL", "info"),
        ("LOG_FORMAT", "json"),
    ];
    let guarded = bench.start_logging(engine, &settings, log);
    let bare = bench.start(engine, &[]);
    let key = keys.last().expect("a key");
    let mut contenders: [Contender<'_>; 2] = [
        {
            let mut connection = guarded.connect();
            let request = Request::printing("hi\n", &echo()).with_key(key);
            Box::new(move || connection.run(&request))
        },
        ours(&bare, &echo()),
    ];

    let mut report = Report::default();
    let mut table = Table::new(&["", "ratio of p50", "with all of it", "bare", "runs"]);
    let rest = Rhythm { series: bench.pick(7, 2), rounds: bench.pick(60, 5), block: 1, lead: 0 };
    let (block, rounds) = if engine == Engine::Native { (50, 4) } else { (20, 1) };
    let streak = Rhythm {
        series: bench.pick(7, 2),
        rounds: bench.pick(rounds, 1),
        block: bench.pick(block, 10),
        lead: bench.pick(10, 5),
    };
    for (name, rhythm) in [("from rest", rest), ("back to back", streak)] {
        let [guarded, bare] = take_turns(engine, &mut contenders, &rhythm);
        let ratio = ratio(&guarded, &bare);
        let bar = format!("echo hi p50 with keys, rate limit and log ÷ without, {name}");
        report.bars.push(Bar::at_most(bar, ratio.median, MOST, None));
        let row = [name.into(), ratio.to_string(), text(&guarded), text(&bare), count(&guarded)];
        table.row(row);
    }
    let title = format!("echo hi with {KEYS} keys, p50 / p95 / p99 in milliseconds");
    report.table(&title, &table);
    report
}

/// Has the program itself make a key, and returns it.
fn new_key(file: &Path, number: usize) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_oncebox"))
        .args(["key", "new", &format!("bench-{number}"), "--scopes", "execute"])
        .env("API_KEYS_FILE", file)
        .stderr(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(made.status.success(), "no key: {}", made.status);
    String::from_utf8(made.stdout).expect("text").trim().to_owned()
}
