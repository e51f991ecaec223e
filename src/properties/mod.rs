//! What must hold of whatever comes from outside, whoever has written it: one file for each place
//! where bytes of others are read, with a `check` that panics where something does not hold.
//!
//! Each is called in two ways: by its target in `fuzz/`, which looks for bytes that break it for as
//! long as one likes, and by its twin, a test, with the bytes that are kept in `fuzz/seeds/` and
//! with random ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod challenge;
pub mod control_groups;
pub mod frames;
pub mod head;
pub mod keys;
pub mod layer;
pub mod layer_tree;
pub mod manifest;
pub mod output;
pub mod path;
pub mod quantity;
pub mod reference;
pub mod request;
pub mod resume;
pub mod stream;

mod draw;
#[cfg(test)]
mod twin;

use draw::Draw;

/// Hostile words made fit for a log: one line, with no sign that a terminal would obey.
#[track_caller]
fn one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// The names in a folder of this project, without their extension.
    fn names(folder: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn text(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    /// Nothing of `fuzz/` is built here, so this holds it together.
    #[test]
    fn each_target_has_its_property_its_seeds_and_its_twin() {
        let mut properties = names("src/properties");
        for other in ["draw", "mod", "twin"] {
            assert!(properties.remove(other), "{other}");
        }
        assert!(properties.len() >= 10);
        assert_eq!(names("fuzz/fuzz_targets"), properties);
        assert_eq!(names("fuzz/seeds"), properties);
        let manifest = text("fuzz/Cargo.toml");
        for name in properties {
            let call = format!(
                "#![no_main]\n\
                 libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oncebox::properties::{name}::check(bytes));\n"
            );
            assert_eq!(text(&format!("fuzz/fuzz_targets/{name}.rs")), call);
            assert!(!names(&format!("fuzz/seeds/{name}")).is_empty(), "{name}");
            assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name}");
            let property = text(&format!("src/properties/{name}.rs"));
            assert!(property.contains("pub fn check(bytes: &[u8])"), "{name}");
            assert!(property.contains(&format!("twin::run(\"{name}\", ")), "{name}");
        }
    }
}
