//! What the kernel says of mounts and control groups: what it writes is read back, and whatever
//! else is there leads no further than the mounts do. As text, it is `/proc/self/mountinfo`, an
//! empty line, and `/proc/self/cgroup`; as choices, it is what a kernel writes of them.

use std::path::{Component, Path, PathBuf};

use oncebox_guest::cgroup::{limits_v1, limits_v2, number};

use super::Draw;
use crate::engine::native::cgroup::mountinfo::mounts;
use crate::engine::native::cgroup::{Controller, Layout, Version, discover};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mountinfo, own) = text.split_once("\n\n").unwrap_or((&text, &text));
    if let Ok(layout) = discover(mountinfo, own) {
        sound(mountinfo, &layout);
    }
    assert_eq!(discover(mountinfo, own), discover(mountinfo, own));
    for key in [None, Some("oom_kill"), Some(own)] {
        let _ = number(mountinfo, key);
    }
    let _ = (limits_v1(|_| Some(text.clone().into())), limits_v2(|_| Some(text.clone().into())));
    as_written(&mut Draw::new(bytes));
    counted(&mut Draw::new(bytes));
}

/// Each directory lies in a mount of its version, and every controller is in one of them.
fn sound(mountinfo: &str, layout: &Layout) {
    let kind = if layout.version == Version::V1 { "cgroup" } else { "cgroup2" };
    for (directory, controllers) in &layout.directories {
        let within = mounts(mountinfo).any(|mount| {
            let beneath = directory.strip_prefix(&*mount.point);
            let inside = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
            mount.kind == kind && beneath.is_ok_and(inside)
        });
        assert!(within, "{}", directory.display());
        assert!(!controllers.is_empty());
    }
    let mut found: Vec<_> = layout.directories.iter().flat_map(|(_, some)| some).collect();
    found.sort_unstable();
    assert_eq!(found, Controller::ALL.iter().collect::<Vec<_>>());
}

/// A path of names as they may be.
fn path(draw: &mut Draw<'_>) -> String {
    const NAMES: &[&str] = &[
        "a",
        "system.slice",
        r"run-my\x2dapp.scope",
        "with space",
        "tab\tand\nline",
        r"\",
        r"\040",
        "-",
        "é",
    ];
    (0..draw.below(4)).map(|_| format!("/{}", draw.one_of(NAMES))).collect()
}

/// As the kernel does it (fs/seq_file.c, `mangle_path`).
fn escaped(path: &str) -> String {
    let whole = if path.is_empty() { "/" } else { path };
    whole.replace('\\', r"\134").replace(' ', r"\040").replace('\t', r"\011").replace('\n', r"\012")
}

/// Mounts and groups as they are, written as the kernel does, are found where they are.
fn as_written(draw: &mut Draw<'_>) {
    let version = if draw.flag() { Version::V1 } else { Version::V2 };
    let mut mountinfo = String::from("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    let mut own = String::new();
    let mut expected: Vec<(PathBuf, Vec<Controller>)> = Vec::new();
    let together = draw.flag();
    let hierarchies: Vec<Vec<Controller>> = match (version, together) {
        (Version::V2, _) | (_, true) => vec![Controller::ALL.to_vec()],
        (Version::V1, false) => Controller::ALL.iter().map(|one| vec![*one]).collect(),
    };
    for (number, controllers) in hierarchies.into_iter().enumerate() {
        let names: Vec<&str> = controllers.iter().map(|one| one.name()).collect();
        let names = names.join(",");
        // A group's path has no line feed: it would not fit into the other file.
        let root = path(draw).replace('\n', "");
        let beneath = path(draw).replace('\n', "");
        let point = format!("/sys/fs/cgroup/{number}{}", path(draw));
        let (kind, options, in_own) = match version {
            Version::V1 => ("cgroup", format!("rw,{names}"), names),
            Version::V2 => ("cgroup2", "rw,nsdelegate".to_owned(), String::new()),
        };
        let (r, p) = (escaped(&root), escaped(&point));
        mountinfo +=
            &format!("3{number} 22 0:2{number} {r} {p} rw shared:4 - {kind} none {options}\n");
        let group = format!("{root}{beneath}");
        let group = if group.is_empty() { "/" } else { &group };
        own += &match version {
            Version::V1 => format!("{}:{in_own}:{group}\n", number + 1),
            Version::V2 => format!("0::{group}\n"),
        };
        let directory = Path::new(&point).join(beneath.trim_start_matches('/'));
        expected.push((directory, controllers));
    }
    expected.sort();
    let found = discover(&mountinfo, &own);
    assert_eq!(found, Ok(Layout { version, directories: expected }), "{mountinfo}{own}");
}

/// Numbers and limits as they are.
fn counted(draw: &mut Draw<'_>) {
    let (one, other) = (draw.number(), draw.number());
    let text = format!("low {other}\noom_kill_disable {other}\noom_kill {one}\nmax {other}\n");
    assert_eq!(number(&text, Some("oom_kill")), Some(one));
    assert_eq!(number(&format!("{one}\n"), None), Some(one));
    let files = |path: &str| {
        Some(match path {
            "memory.swap.max" => "0\n".to_owned(),
            "cpu.max" => format!("{} 100000\n", one % 1_000_000),
            "cpu/cpu.cfs_period_us" => "100000\n".to_owned(),
            "cpu/cpu.cfs_quota_us" => format!("{}\n", one % 1_000_000),
            _ => format!("{one}\n"),
        })
    };
    let v2 = limits_v2(files);
    assert_eq!((v2.memory, v2.memory_and_swap, v2.pids), (Some(one), Some(one), Some(one)));
    let v1 = limits_v1(files);
    assert_eq!((v1.memory, v1.pids), (Some(one).filter(|one| *one < 1 << 62), Some(one)));
    for cpu in [v1.cpu_us_per_s, v2.cpu_us_per_s] {
        assert_eq!(cpu, Some(one % 1_000_000 * 10));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let mount = "[0-9]{1,2} 1 0:2 (/|/\\.\\.|/a(\\\\040)?b) /sys(/fs|\\\\134|\\\\999){0,2} rw( shared:1)? - \
                     (cgroup|cgroup2|tmpfs) none (rw|rw,(memory|cpu|cpu,cpuacct|pids|memory,cpu,cpuacct,pids))";
        let own = "[0-9]{1,2}:(|memory|cpu,cpuacct|pids|memory,cpu,cpuacct,pids):/(\\.\\.|a b|a|\\\\x)?(/\\.\\./x)?";
        let lines = |line: &str, most| {
            prop::collection::vec(proptest::string::string_regex(line).unwrap(), 1..most)
        };
        let texts = (lines(mount, 6), lines(own, 5)).prop_map(|(mounts, own)| {
            format!("{}\n\n{}\n", mounts.join("\n"), own.join("\n")).into_bytes()
        });
        twin::run("control_groups", 500, texts, super::check);
    }
}
