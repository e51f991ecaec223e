//! Whether the service grows with what it has done.

use crate::client::Request;
use crate::latency::echo;
use crate::load::counted;
use crate::machine::quiet;
use crate::processes::resident;
use crate::results::{Bar, Report, Table};
use crate::{Bench, Engine};

const CONNECTIONS: usize = 8;

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let service = bench.start(engine, &[]);
    let echo = Request::printing("hi\n", &echo());
    let many = if engine == Engine::Native { 100_000 } else { 10_000 };
    let (early, late) = bench.pick((1000, many), (50, 200));
    let mut table = Table::new(&["executions", "RSS of the service, KiB", "of its spawner, KiB"]);
    let mut done = 0;
    let totals = [early, late].map(|executions| {
        counted(&service, &echo, CONNECTIONS, executions - done);
        done = executions;
        quiet(engine);
        let (service, spawner) = resident(service.pid());
        table.row([executions, service as usize, spawner as usize].map(|n| n.to_string()));
        (service + spawner) as f64
    });
    let mut report = Report::default();
    let name = format!("RSS after {late} executions ÷ after {early}");
    report.bars.push(Bar::at_most(name, totals[1] / totals[0], 1.2, None));
    report.table("Resident memory", &table);
    report
}
