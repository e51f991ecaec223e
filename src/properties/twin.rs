//! A property as a test.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestError, TestRunner};

/// Holds `check` against every seed of its target, against bytes of any kind, and against `likely`
/// bytes and seeds, as they are and damaged. What breaks it belongs among the seeds.
pub fn run(
    target: &str,
    cases: u32,
    likely: impl Strategy<Value = Vec<u8>> + 'static,
    check: fn(&[u8]),
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let seed = fs::read(&path).unwrap();
        let held = std::panic::catch_unwind(|| check(&seed));
        assert!(held.is_ok(), "the seed {} breaks it", path.display());
        seeds.push(seed);
    }
    let likely = likely.boxed();
    let any = prop::collection::vec(any::<u8>(), 0..300);
    let damaged = (prop_oneof![likely.clone(), select(seeds)], damages())
        .prop_map(|(bytes, damages)| damages.into_iter().fold(bytes, damage));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(&prop_oneof![1 => any, 2 => likely, 3 => damaged], |bytes| {
            check(&bytes);
            Ok(())
        });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, bytes)) => panic!("{reason}\nby {}", bytes.escape_ascii()),
        Err(aborted) => panic!("{aborted}"),
    }
}

/// What happens to bytes.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Changed(Index, u8),
    Inserted(Index, Vec<u8>),
    /// From there on, so many bytes come twice.
    Doubled(Index, usize),
    Removed(Index, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let one = prop_oneof![
        1 => at().prop_map(Damage::Cut),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Changed(at, byte)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..5))
            .prop_map(|(at, bytes)| Damage::Inserted(at, bytes)),
        1 => (at(), 1_usize..40).prop_map(|(at, length)| Damage::Doubled(at, length)),
        1 => (at(), 1_usize..40).prop_map(|(at, length)| Damage::Removed(at, length)),
    ];
    prop::collection::vec(one, 1..4)
}

fn damage(mut bytes: Vec<u8>, damage: Damage) -> Vec<u8> {
    let (Damage::Cut(at)
    | Damage::Changed(at, _)
    | Damage::Inserted(at, _)
    | Damage::Doubled(at, _)
    | Damage::Removed(at, _)) = &damage;
    let at = at.index(bytes.len() + 1);
    let behind = |length: usize| at..(at + length).min(bytes.len());
    match damage {
        Damage::Cut(_) => bytes.truncate(at),
        Damage::Changed(_, byte) => {
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
        }
        Damage::Inserted(_, inserted) => {
            bytes.splice(at..at, inserted);
        }
        Damage::Doubled(_, length) => {
            let doubled = bytes[behind(length)].to_vec();
            bytes.splice(at..at, doubled);
        }
        Damage::Removed(_, length) => {
            bytes.drain(behind(length));
        }
    }
    bytes
}
