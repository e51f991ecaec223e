//! Every row of the attacks has a test, and this file maps the rows' names to ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::Answer;

/// The rows: R resources and lifetime, I leaks, K privileges and the kernel, F files in and out,
/// W the HTTP API, G images and registries.
const ROWS: &str = "
    R01 R02 R03 R05 R06 R07 R08 R10 R11 R16 R17 R18 R21 R22 R23 R24 R25 R26 R27 R30 R31 R34 R39
    I01 I02 I03 I04 I05 I06 I08 I09 I10 I11 I12 I14 I15 I16 I18 I19
    K01 K02 K03 K04 K05 K06 K07 K08 K09 K10 K11 K12 K13 K18 K19 K20 K21 K26 K27
    F01 F02 F03 F04 F06 F07 F08 F09 F12
    W01 W02 W04 W05 W07 W08 W09 W10 W11 W12 W13 W14 W15 W16 W17 W18 W19 W21 W22 W24 W25 W26 W27 W28
    W29 W31
    G01 G02 G03 G04 G05 G06 G07 G08 G09 G11 G12 G13 G14 G16 G17
";

/// How an execution ended, in the rows' words: `completed`, `timeout`, `oom`, `signaled`.
pub fn ended(answer: &Answer) -> &str {
    match answer.status() {
        "timed_out" => "timeout",
        "out_of_memory" => "oom",
        other => other,
    }
}

/// `oom_killed` of the rows.
pub fn oom_killed(answer: &Answer) -> bool {
    answer.limits_hit().contains(&"memory")
}

/// The most processes and threads that there were at once.
pub fn most_pids(answer: &Answer) -> u64 {
    answer.0["usage"]["max_pids"].as_u64().expect("a count, which this kernel keeps")
}

/// The most memory that was used at once, in bytes.
pub fn most_memory(answer: &Answer) -> u64 {
    answer.0["usage"]["max_memory_bytes"].as_u64().expect("a count")
}

#[test]
fn every_row_has_a_test_that_bears_its_id() {
    let rows: BTreeSet<&str> = ROWS.split_whitespace().collect();
    assert_eq!(rows.len(), 108);
    let tests = with_tests();
    let untested: Vec<_> = rows.iter().filter(|row| !tests.contains(&row.to_lowercase())).collect();
    assert!(untested.is_empty(), "rows without a test: {untested:?}");
    let unknown: Vec<_> = tests.iter().filter(|id| !rows.contains(&*id.to_uppercase())).collect();
    assert!(unknown.is_empty(), "tests of no row: {unknown:?}");
}

/// The rows that have a test, in small letters.
pub fn with_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests", "src"].into_iter().flat_map(|folder| tested(&root.join(folder))).collect()
}

/// The ids in the names of a folder's functions: `fn r01_…`.
fn tested(folder: &Path) -> Box<dyn Iterator<Item = String>> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    Box::new(entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return tested(&path);
        }
        let text = if path.extension().is_some_and(|ending| ending == "rs") {
            fs::read_to_string(&path).expect("a source")
        } else {
            String::new()
        };
        let ids: Vec<String> = text.lines().filter_map(id).collect();
        Box::new(ids.into_iter())
    }))
}

fn id(line: &str) -> Option<String> {
    let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
    let (id, _) = name.split_once('_')?;
    let (letter, number) = id.split_at_checked(1)?;
    let row = "rikfwg".contains(letter) && number.len() == 2 && number.parse::<u8>().is_ok();
    row.then(|| id.to_owned())
}
