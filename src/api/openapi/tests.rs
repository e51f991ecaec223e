use std::path::Path;

use super::*;

/// Set to write the file anew.
const UPDATE: &str = "ONCEBOX_UPDATE_OPENAPI";

#[test]
fn the_file_in_docs_is_this_document() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document = [&DOCUMENT, &b"\n"[..]].concat();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &document).unwrap();
    }
    let kept = std::fs::read(&file).unwrap();
    assert!(kept == document, "{} is another one; {UPDATE}=1 writes it anew", file.display());
}
