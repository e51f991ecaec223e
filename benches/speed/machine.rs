//! The machine: what it is, how busy its processors are, where its memory goes.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Engine;

/// How often the machine did not come to rest in time.
static RESTLESS: AtomicUsize = AtomicUsize::new(0);
/// How long to wait for that.
const NOT_QUIET: Duration = Duration::from_secs(2);

/// A look at the processors' clocks.
pub struct Cpu {
    at: Instant,
    free: Duration,
}

impl Cpu {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
        let all = stat.lines().next().expect("its first line");
        let field = |n: usize| -> u64 {
            all.split_whitespace().nth(n).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        // idle, iowait, and steal, which other machines have had.
        let ticks = field(4) + field(5) + field(8);
        let free =
            Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Self { at: Instant::now(), free }
    }

    /// Processor time that the whole machine has spent since, all its cores together. It is what
    /// was not free: the kernel measures idleness, but only samples work, and misses short work.
    pub fn spent(&self) -> Duration {
        let now = Self::now();
        let all = (now.at - self.at) * u32::try_from(cores()).unwrap();
        all.saturating_sub(now.free.saturating_sub(self.free))
    }
}

/// Waits until nothing is done behind an answer any more, so that nobody pays for another's work.
pub fn quiet(engine: Engine) {
    // A daemon pauses between the steps of its work.
    let window = Duration::from_millis(if engine == Engine::Docker { 200 } else { 40 });
    let began = Instant::now();
    while began.elapsed() < NOT_QUIET {
        let cpu = Cpu::now();
        std::thread::sleep(window);
        if cpu.spent() <= window / 2 {
            return;
        }
    }
    RESTLESS.fetch_add(1, Ordering::Relaxed);
}

/// How often [`quiet`] has waited in vain since the last question.
pub fn restless() -> usize {
    RESTLESS.swap(0, Ordering::Relaxed)
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cores, processor, kernel and memory, in one line.
pub fn description() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let kernel = text("/proc/sys/kernel/osrelease");
    let memory = meminfo(&["MemTotal"]) as f64 / f64::from(1 << 20);
    format!("{} cores, {model}, Linux {}, {memory:.0} GiB", cores(), kernel.trim())
}

/// The sum of these fields of `/proc/meminfo`, in KiB.
pub fn meminfo(fields: &[&str]) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| fields.contains(name)).map(|(_, value)| kib(value)).sum()
}

/// A size as `/proc` writes it, `1234 kB`, in KiB.
pub fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
