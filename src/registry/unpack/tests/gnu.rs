//! The same archive gives the same tree as GNU tar's own unpacking; `properties::layer_tree` has
//! archives of any tree.

use std::process::Command;

use super::*;

/// An archive made by GNU tar from this tree, in one of its formats.
fn made_by_gnu_tar(folder: &Path, options: &[&str]) -> Vec<u8> {
    let tar =
        Command::new("tar").args(options).args(["-cf", "-", "."]).current_dir(folder).output();
    let tar = tar.unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

#[test]
fn every_format_of_gnu_tar_is_the_same() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    fs::write(path("d/e/file"), "content").unwrap();
    fs::write(path("d/e").join("n".repeat(150)), "long").unwrap();
    fs::write(path("ünïcödé \\ name"), "").unwrap();
    fs::hard_link(path("d/e/file"), path("hard")).unwrap();
    std::os::unix::fs::symlink("t/".repeat(80), path("soft")).unwrap();
    for format in ["gnu", "oldgnu", "pax", "ustar"] {
        if format == "ustar" {
            // Which has no room for these.
            fs::remove_file(path("d/e").join("n".repeat(150))).unwrap();
            fs::remove_file(path("soft")).unwrap();
        }
        same(&made_by_gnu_tar(folder.path(), &["--format", format]), |_| true);
    }
}

#[test]
fn files_with_holes_are_the_same() {
    use std::os::unix::fs::FileExt;
    let folder = TempDir::new().unwrap();
    let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
    file("only a hole").set_len(1 << 20).unwrap();
    let ends = file("ends in a hole");
    ends.write_all_at(b"begins", 0).unwrap();
    ends.set_len(300_000).unwrap();
    file("begins with one").write_all_at(b"ends", 400_000).unwrap();
    let many = file("many");
    for at in 0..60 {
        many.write_all_at(b"x", at * 16_384 + 5).unwrap();
    }
    let archive = made_by_gnu_tar(folder.path(), &["--format", "gnu", "--sparse"]);
    assert!(archive.len() < 600_000, "GNU tar has found no holes");
    same(&archive, |_| true);
    let (room, _tree) = unpacked(&archive);
    let blocks = fs::metadata(room.layer().join("only a hole")).unwrap().blocks();
    assert!(blocks < 100, "the hole takes {blocks} blocks");
}
