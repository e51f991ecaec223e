//! What the service holds while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::host;

const EVERY: Duration = Duration::from_millis(500);

/// What the service and the spawner beneath it hold at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub resident_kib: f64,
    pub descriptors: f64,
}

/// Looks at it again and again until it is told to end.
pub struct Resources {
    over: Arc<AtomicBool>,
    watch: JoinHandle<Vec<Sample>>,
}

impl Resources {
    pub fn watch(service: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let watch = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !told.load(Ordering::SeqCst) {
                samples.push(sample(service));
                std::thread::sleep(EVERY);
            }
            samples
        });
        Self { over, watch }
    }

    pub fn end(self) -> Vec<Sample> {
        self.over.store(true, Ordering::SeqCst);
        self.watch.join().expect("no panic")
    }
}

pub fn sample(service: u32) -> Sample {
    let own = |pid: &u32| {
        *pid == service || host::args(*pid).get(1).is_some_and(|command| command == "spawner")
    };
    let mut pids = host::descendants(service);
    pids.push(service);
    pids.retain(own);
    let resident = |pid: &u32| {
        let line = host::status(*pid, "VmRSS").unwrap_or_default();
        line.split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default()
    };
    let descriptors = |pid: &u32| {
        std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0.0, |fds| fds.count() as f64)
    };
    Sample {
        resident_kib: pids.iter().map(resident).sum(),
        descriptors: pids.iter().map(descriptors).sum(),
    }
}
