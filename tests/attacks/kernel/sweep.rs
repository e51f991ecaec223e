//! Every system call there is (K26): those that are not refused equal a list that was read and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::stage::Stage;
use crate::support::Engine;

const SWEEP: &str = include_str!("sweep.py");

/// Linux from 6.14 on lets these two by every filter (`uretprobe` and `uprobe` of x86-64), and
/// refuses them to whoever is not in one of its own trampolines.
const UNFILTERED: &[(u32, &str)] = &[(335, "SIGILL"), (336, "ENXIO")];

/// The list for this architecture: numbers and names.
fn golden() -> BTreeMap<u32, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks/kernel");
    let file = Path::new(folder).join(format!("allowed-{}.txt", std::env::consts::ARCH));
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let line = |line: &str| {
        let (number, name) = line.split_once(' ').expect("a number and a name");
        (number.parse().expect("a number"), name.to_owned())
    };
    text.lines().map(line).collect()
}

/// Numbers and what became of them.
fn fates(printed: &str) -> BTreeMap<u32, String> {
    let line = |line: &str| {
        let (number, fate) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        (number.parse().expect("a number"), fate.to_owned())
    };
    printed.lines().map(line).collect()
}

/// Those of these calls that this machine's kernel has not at all.
fn missing(numbers: &[u32]) -> BTreeSet<u32> {
    if numbers.is_empty() {
        return BTreeSet::new();
    }
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", SWEEP]).args(numbers.iter().map(u32::to_string));
    let printed = python.output().expect("python3 runs").stdout;
    let fates = fates(&String::from_utf8(printed).expect("text"));
    fates.into_iter().filter(|(_, fate)| fate == "ENOSYS").map(|(number, _)| number).collect()
}

fn k26_allowed_calls_are_the_listed_ones(engine: Engine) {
    let answer = Stage::get(engine).attack(&json!({
        "script": SWEEP, "language": "python", "timeout": 30, "cpu_limit": 1, "memory_limit": "256m",
    }));
    let ended = (answer.status(), answer.exit_code(), answer.stderr());
    assert_eq!(ended, ("completed", 0, String::new()), "{}", answer.0);
    let mut fates = fates(&answer.text());
    assert_eq!(fates.len(), 607);
    fates.retain(|number, fate| !UNFILTERED.contains(&(*number, fate)));
    let refused = |fate: &str| ["EPERM", "ENOSYS", "SIGSYS"].contains(&fate);
    let allowed: BTreeSet<u32> =
        fates.iter().filter(|(_, fate)| !refused(fate)).map(|(number, _)| *number).collect();
    let golden = golden();
    let listed: BTreeSet<u32> = golden.keys().copied().collect();
    let told = |numbers: &mut dyn Iterator<Item = &u32>| {
        numbers.map(|number| format!("{number} {}", fates[number])).collect::<Vec<_>>()
    };
    let more = told(&mut allowed.difference(&listed));
    assert!(more.is_empty(), "allowed, and not on the list: {more:#?}");
    // Only allowed calls are made outside of the container, and only those that failed in it.
    let fewer: Vec<u32> = listed.difference(&allowed).copied().collect();
    let lost = fewer.iter().filter(|number| fates[*number] != "ENOSYS");
    let lost = told(&mut lost.chain(&[]));
    assert!(lost.is_empty(), "on the list, and refused: {lost:#?}");
    assert_eq!(
        missing(&fewer),
        fewer.into_iter().collect(),
        "refused, though this kernel has them"
    );
}

on_both_engines! { together: k26_allowed_calls_are_the_listed_ones }
