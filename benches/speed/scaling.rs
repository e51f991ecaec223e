//! What a larger request costs: time per unit of script, output, files and pool.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Request;
use crate::latency::echo;
use crate::machine::quiet;
use crate::memory::Pool;
use crate::results::{Report, Table};
use crate::service::Service;
use crate::stats::{Times, figure};
use crate::{Bench, Engine};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SCRIPT: [usize; 6] = [KIB, 16 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB];
const OUTPUT: [usize; 6] = [KIB, 64 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB];
const FILES: [usize; 5] = [1, 10, 50, 100, 200];
const POOL: [usize; 4] = [1, 10, 50, 200];

/// What the largest requests need.
const WIDE: [(&str, &str); 4] = [
    ("MAX_BODY", "64m"),
    ("MAX_OUTPUT_LIMIT", "128m"),
    ("MEMORY_LIMIT", "512m"),
    ("MAX_CONCURRENT", "8"),
];

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let mut report = Report::default();
    {
        let service = bench.start(engine, &WIDE);
        let requests = SCRIPT.map(|size| (size, script(size)));
        series(bench, engine, &service, &mut report, "KiB of script", KIB, &requests);
        let requests = OUTPUT.map(|size| (size, output(size)));
        series(bench, engine, &service, &mut report, "KiB of output", KIB, &requests);
        let requests = FILES.map(|count| (count, files(count)));
        series(bench, engine, &service, &mut report, "files of 1 KiB", 1, &requests);
    }
    pools(bench, engine, &mut report);
    report
}

/// It ends before the padding: the shell reads a part, everything else handles all of it.
fn script(size: usize) -> Request {
    let head = "echo hi\nexit\n";
    let padding = format!("# {}\n", "x".repeat(61)).repeat(size / 64);
    let script = &format!("{head}{padding}")[..size];
    Request::printing("hi\n", &json!({ "script": script }))
}

/// Lines of 64 bytes, made by one program and cut by another.
fn output(size: usize) -> Request {
    let script = format!("yes {} | head -c {size}", "x".repeat(63));
    let body = json!({"script": script, "output_limit": size, "cpu_limit": 1});
    Request::expecting(format!(r#""stdout_bytes":{size},"#), &body)
}

fn files(count: usize) -> Request {
    let content = "x".repeat(KIB);
    let file = |n| json!({"path": format!("d/{n}"), "content": content});
    let files: Vec<Value> = (0..count).map(file).collect();
    let body = json!({"script": "set -- d/*; echo $#", "files": files});
    Request::printing(&format!("{count}\n"), &body)
}

/// The sizes take turns; each costs what it costs above the smallest.
fn series(
    bench: &Bench,
    engine: Engine,
    service: &Service,
    report: &mut Report,
    what: &str,
    unit: usize,
    requests: &[(usize, Request)],
) {
    let mut connection = service.connect();
    let mut times = vec![Vec::new(); requests.len()];
    for round in 0..=bench.pick(15, 2) {
        for ((_, request), times) in requests.iter().zip(&mut times) {
            quiet(engine);
            let took = connection.run(request);
            // The first round is for warming up.
            if round > 0 {
                times.push(took);
            }
        }
    }
    let mut table = Table::new(&[what, "µs a unit above the smallest", "p50 / p95 / p99, ms"]);
    let times: Vec<Times> = times.into_iter().map(Times::new).collect();
    let (smallest, least) = (requests[0].0, times[0].at(50.0));
    for ((size, _), times) in requests.iter().zip(&times) {
        let units = (size - smallest) as f64 / unit as f64;
        let each = (times.at(50.0) - least) * 1e3 / units;
        let each = if units > 0.0 { figure(each) } else { String::new() };
        table.row([(size / unit).to_string(), each, times.to_string()]);
    }
    report.table(&format!("Time by {what}"), &table);
}

/// A larger pool takes longer to fill, each container as long as before, and answers no slower.
fn pools(bench: &Bench, engine: Engine, report: &mut Report) {
    let mut table = Table::new(&[
        "POOL_SIZE",
        "ms from start to full, each",
        "ms above a pool of 1, each",
        "echo hi from rest, p50 / p95 / p99, ms",
        "found waiting",
    ]);
    let echo = Request::printing("hi\n", &echo());
    let mut smallest = None;
    for size in POOL.into_iter().take(bench.pick(POOL.len(), 2)) {
        let pool = Pool::filled(bench, engine, size);
        let found = pool.waiting(bench);
        let filled = pool.took.as_secs_f64() * 1e3;
        let (first, first_filled) = *smallest.get_or_insert((size, filled));
        let each = (filled - first_filled) / (size - first) as f64;
        let mut connection = pool.service.connect();
        let run = |_| -> Duration {
            quiet(engine);
            connection.run(&echo)
        };
        let times = (0..bench.pick(30, 5)).map(run).collect();
        table.row([
            size.to_string(),
            figure(filled / size as f64),
            if size > first { figure(each) } else { String::new() },
            Times::new(times).to_string(),
            found.to_string(),
        ]);
    }
    report.table("Pools", &table);
}
