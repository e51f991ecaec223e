//! What a waiting container holds: the difference between a pool of 1 and one of 200.

use std::time::{Duration, Instant};

use crate::docker::Daemon;
use crate::machine::{meminfo, quiet};
use crate::processes::{containers, memory, resident};
use crate::results::{Bar, Report, Table};
use crate::service::Service;
use crate::stats::figure;
use crate::{Bench, Engine};

/// Limits that let a large pool into the service's budgets. What waits uses little of either.
const SMALL: [(&str, &str); 3] =
    [("MEMORY_LIMIT", "32m"), ("PIDS_LIMIT", "16"), ("TMP_SIZE", "8m")];

/// Where the kernel keeps what it needs for containers; pages of programs are not among them.
const KERNEL: [&str; 5] = ["Slab", "PageTables", "KernelStack", "Shmem", "Percpu"];

/// A pool that has not grown for so long has its size.
const SETTLED: Duration = Duration::from_secs(5);

/// One look at a service with a full pool, in KiB.
struct Look {
    containers: usize,
    pss: u64,
    charged: u64,
    kernel: u64,
    taken: u64,
    service: u64,
}

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let mut report = Report::default();
    let (small, large) = (look(bench, engine, 1), look(bench, engine, bench.pick(200, 20)));
    let more = large.containers.saturating_sub(small.containers);
    if more == 0 {
        report.note("No more containers waited with a larger POOL_SIZE: nothing to measure.");
        return report;
    }
    let each = |large: u64, small: u64| (large as f64 - small as f64) / more as f64;
    let pss = each(large.pss, small.pss);
    let kernel = each(large.kernel, small.kernel);
    if engine == Engine::Native {
        let name = "MiB of a waiting sh container, PSS + kernel".into();
        report.bars.push(Bar::at_most(name, (pss + kernel) / 1024.0, 1.0, None));
    }
    let mut table = Table::new(&["KiB", "each", "smallest pool", "largest pool"]);
    let mut row = |name: &str, large: u64, small: u64| {
        let [each, small, large] = [each(large, small), small as f64, large as f64].map(figure);
        table.row([name.into(), each, small, large]);
    };
    if engine == Engine::Native {
        row("PSS of the containers' processes", large.pss, small.pss);
        row("kernel memory charged to their cgroups", large.charged, small.charged);
    }
    row(
        &format!("kernel memory of the machine: {}", KERNEL.join(", ")),
        large.kernel,
        small.kernel,
    );
    row("memory of the machine that is not available", large.taken, small.taken);
    row("RSS of the service", large.service, small.service);
    let (least, most) = (small.containers, large.containers);
    report.table(&format!("Pools of {least} and {most} waiting containers, found as such"), &table);
    report
}

fn look(bench: &Bench, engine: Engine, size: usize) -> Look {
    let pool = Pool::filled(bench, engine, size);
    quiet(engine);
    let containers = containers(pool.service.pid());
    let held = memory(&containers);
    Look {
        containers: pool.waiting(bench),
        pss: held.pss,
        charged: held.kernel,
        kernel: meminfo(&KERNEL),
        taken: meminfo(&["MemTotal"]) - meminfo(&["MemAvailable"]),
        service: resident(pool.service.pid()).0,
    }
}

/// A service whose pool is as full as it gets.
pub struct Pool {
    pub service: Service,
    /// From the service's start to its last container's.
    pub took: Duration,
    engine: Engine,
    /// Containers that the daemon ran before.
    others: usize,
}

impl Pool {
    pub fn filled(bench: &Bench, engine: Engine, size: usize) -> Self {
        let others = bench.daemon.as_ref().map_or(0, Daemon::running);
        let size_text = size.to_string();
        let settings = [SMALL.as_slice(), &[("POOL_SIZE", size_text.as_str())]].concat();
        let began = Instant::now();
        let service = bench.start(engine, &settings);
        let mut pool = Self { service, took: began.elapsed(), engine, others };
        let mut most = 0;
        while began.elapsed() - pool.took < SETTLED {
            let now = pool.waiting(bench);
            if now > most {
                (most, pool.took) = (now, began.elapsed());
            }
            if most >= size {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        pool
    }

    /// How many containers there are, counted from outside.
    pub fn waiting(&self, bench: &Bench) -> usize {
        match (self.engine, &bench.daemon) {
            (Engine::Docker, Some(daemon)) => daemon.running().saturating_sub(self.others),
            _ => containers(self.service.pid()).len(),
        }
    }
}
