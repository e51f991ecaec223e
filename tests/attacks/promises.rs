//! What `SECURITY.md` promises is proved by tests that exist.

use std::fs;
use std::path::Path;

use crate::rows;

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).expect("the page");
    let promises = page.lines().filter_map(|line| {
        let (promise, tests) = line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | ")?;
        (tests != "proved by").then_some((promise, tests))
    });
    let tested = rows::with_tests();
    let mut count = 0;
    for (promise, tests) in promises {
        let tests: Vec<_> = tests.split(' ').map(|test| test.trim_matches('`')).collect();
        for test in tests {
            let exists = match test.split_once("::") {
                Some((file, name)) => fs::read_to_string(root.join(file))
                    .is_ok_and(|source| source.contains(&format!("fn {name}("))),
                None => tested.contains(&test.to_lowercase()),
            };
            assert!(exists, "{test}, which is to prove: {promise}");
        }
        count += 1;
    }
    assert!(count > 30, "{count} promises");
}
