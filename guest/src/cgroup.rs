//! What the files of a control group say, on both versions of the interface.

use crate::wire::CgroupLimits;

/// A cgroup v1 limit this high is "no limit": the kernel rounds it down from `i64::MAX`.
const V1_NO_LIMIT: u64 = 1 << 62;

/// A number from a file that holds one, or from the line `key number` of a file that holds many.
#[must_use]
pub fn number(text: &str, key: Option<&str>) -> Option<u64> {
    match key {
        None => text.trim_end().parse().ok(),
        Some(key) => text.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == key).then(|| value.trim_end().parse().ok())?
        }),
    }
}

/// The limits of cgroup v1, from its files beneath `/sys/fs/cgroup`.
pub fn limits_v1(read: impl Fn(&str) -> Option<String>) -> CgroupLimits {
    let number = |path: &str| number(&read(path)?, None);
    let bytes = |path: &str| number(path).filter(|bytes| *bytes < V1_NO_LIMIT);
    let cpu = |name: &str| {
        number(&format!("cpu/{name}")).or_else(|| number(&format!("cpu,cpuacct/{name}")))
    };
    CgroupLimits {
        memory: bytes("memory/memory.limit_in_bytes"),
        memory_and_swap: bytes("memory/memory.memsw.limit_in_bytes"),
        pids: number("pids/pids.max"),
        // A quota of -1 is no limit, and no number here.
        cpu_us_per_s: share(cpu("cpu.cfs_quota_us"), cpu("cpu.cfs_period_us")),
    }
}

/// The limits of cgroup v2, in the same way.
pub fn limits_v2(read: impl Fn(&str) -> Option<String>) -> CgroupLimits {
    let number = |path: &str| number(&read(path)?, None);
    let memory = number("memory.max");
    let cpu = read("cpu.max").unwrap_or_default();
    let mut cpu = cpu.split_whitespace().map(|word| word.parse().ok());
    CgroupLimits {
        memory,
        memory_and_swap: memory.and_then(|memory| memory.checked_add(number("memory.swap.max")?)),
        pids: number("pids.max"),
        cpu_us_per_s: share(cpu.next().flatten(), cpu.next().flatten()),
    }
}

/// Microseconds per second from a quota and its period.
fn share(quota: Option<u64>, period: Option<u64>) -> Option<u64> {
    quota?.checked_mul(1_000_000)?.checked_div(period?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number("17\n", None), Some(17));
        assert_eq!(number("max\n", None), None);
        let events = "low 0\nhigh 0\nmax 5\noom 1\noom_kill 3\n";
        assert_eq!(number(events, Some("oom_kill")), Some(3));
        assert_eq!(number(events, Some("oom")), Some(1));
        assert_eq!(number(events, Some("swap")), None);
    }

    #[test]
    fn no_limit_is_none() {
        let unlimited = |path: &str| match path {
            "cpu/cpu.cfs_quota_us" => Some("-1\n".to_owned()),
            "cpu/cpu.cfs_period_us" => Some("100000\n".to_owned()),
            "memory/memory.limit_in_bytes" => Some("9223372036854771712\n".to_owned()),
            "pids/pids.max" => Some("max\n".to_owned()),
            "cpu.max" => Some("max 100000\n".to_owned()),
            _ => None,
        };
        assert_eq!(limits_v1(unlimited), CgroupLimits::default());
        assert_eq!(limits_v2(unlimited), CgroupLimits::default());
    }
}
