//! What the kernel says of this process, under the names that every Prometheus client gives it.
//! Containers are processes of their own, and so is what makes the native engine's.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Read when somebody asks.
#[derive(Debug)]
struct Process {
    started: f64,
}

/// What of `/proc/self/stat` is of interest.
#[derive(Debug, Default, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    resident: u64,
}

pub(super) fn registry() -> Registry {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process { started: started.as_secs_f64() }));
    registry
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let e = &mut encoder;
        if let Ok(Stat { cpu_seconds, resident }) = Stat::now() {
            let help = "Processor time of the service";
            say(e, "process_cpu_seconds", help, &ConstCounter::new(cpu_seconds))?;
            let help = "Memory of the service, in bytes";
            say(e, "process_resident_memory_bytes", help, &count(resident))?;
        }
        // A process that gave up root may not look at itself.
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            let open = count(open.count() as u64);
            say(e, "process_open_fds", "Open files of the service", &open)?;
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        say(e, "process_max_fds", "The most files that the service may open", &count(most))?;
        let help = "When the service started, in seconds since 1970";
        say(e, "process_start_time_seconds", help, &ConstGauge::new(self.started))
    }
}

fn count(number: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))
}

fn say(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

impl Stat {
    fn now() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/self/stat")?;
        Self::read(&text).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    /// proc_pid_stat(5). The process's name stands in brackets and may hold anything.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        // The first of the rest is the third field.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        Some(Self {
            cpu_seconds: ticks as f64 / clock_ticks_per_second() as f64,
            resident: field(24)? * page_size() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_no_field() {
        let before = "1 (a) S (b) R 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 4096 7 ";
        let ticks = clock_ticks_per_second() as f64;
        let page = page_size() as u64;
        let stat = Stat { cpu_seconds: 200.0 / ticks, resident: 7 * page };
        assert_eq!(Stat::read(before), Some(stat));
        assert_eq!(Stat::read("1 (a) S 1"), None);
        assert_eq!(Stat::read(""), None);
    }

    #[test]
    fn the_process_says_how_it_is() {
        let text = super::super::Metrics::new().encode();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = value.and_then(|value| value.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name} in {text}");
        }
    }
}
