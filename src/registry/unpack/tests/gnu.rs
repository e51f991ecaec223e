//! The same archive gives the same tree as GNU tar's own unpacking.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tar::{Builder, EntryType};

use super::*;

/// Unpacks with GNU tar, as root.
fn with_gnu_tar(archive: &[u8]) -> (TempDir, Tree) {
    let folder = TempDir::new().unwrap();
    let mut tar = Command::new("sh")
        .args(["-c", "umask 022; exec tar -xf - "])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(archive).unwrap();
    assert!(tar.wait().unwrap().success());
    let mut tree = tree(folder.path());
    for node in tree.values_mut() {
        node.mode &= 0o1777;
    }
    (folder, tree)
}

/// Everything of both trees, but for the root, and the times of what does not keep its own.
#[track_caller]
fn same(archive: &[u8], keeps_its_time: impl Fn(&Path) -> bool) {
    let (_folder, mut gnu) = with_gnu_tar(archive);
    let (_room, mut ours) = unpacked(archive);
    for tree in [&mut gnu, &mut ours] {
        tree.remove(Path::new(""));
        for (_, node) in tree.iter_mut().filter(|(path, _)| !keeps_its_time(path)) {
            node.mtime = (0, 0);
        }
    }
    let paths: BTreeSet<_> = gnu.keys().chain(ours.keys()).collect();
    for path in paths {
        assert_eq!(ours.get(path), gnu.get(path), "{path:?}");
    }
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    File {
        length: usize,
        again: bool,
    },
    Symlink(String),
    /// To the file of this number, modulo their number.
    HardLink(usize),
    Fifo,
}

#[derive(Debug, Clone)]
struct Planned {
    what: What,
    mode: u32,
    mtime: u32,
    pax: bool,
}

fn a_name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-d]",
        2 => "[a-zäöü .\\\\'-]{1,20}[a-z]",
        1 => "[a-z]{90,200}",
    ]
}

fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(a_name(), 1..5).prop_map(|names| names.join("/"))
}

fn planned() -> impl Strategy<Value = Planned> {
    let what = prop_oneof![
        3 => Just(What::Directory),
        4 => (0..1500_usize, any::<bool>()).prop_map(|(length, again)| What::File { length, again }),
        // GNU tar makes links that may lead out only when it has made everything else.
        2 => a_path().prop_map(What::Symlink),
        2 => any::<usize>().prop_map(What::HardLink),
        1 => Just(What::Fifo),
    ];
    (what, 0_u32..0o10000, 0_u32..1_700_000_000, any::<bool>())
        .prop_map(|(what, mode, mtime, pax)| Planned { what, mode, mtime, pax })
}

/// Leaves out what lies beneath something that is no directory.
fn consistent(planned: Vec<(String, Planned)>) -> Vec<(String, Planned)> {
    let mut kept: BTreeMap<String, bool> = BTreeMap::new();
    let mut fits = |(path, planned): &(String, Planned)| {
        let is_directory = matches!(planned.what, What::Directory);
        let mut above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        let free = !kept.contains_key(path)
            && above.all(|above| kept.get(above).copied().unwrap_or(true))
            && (is_directory || !kept.keys().any(|key| key.starts_with(&format!("{path}/"))))
            && !["dev", "proc", "sys"].contains(&path.split('/').next().unwrap_or(""))
            && !path.contains(".wh.");
        if free {
            kept.insert(path.clone(), is_directory);
        }
        free
    };
    planned.into_iter().filter(|one| fits(one)).collect()
}

fn built(planned: &[(String, Planned)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut files: Vec<&str> = Vec::new();
    for (path, Planned { what, mode, mtime, pax }) in planned {
        let mut header = Header::new_gnu();
        header.set_mode(*mode);
        header.set_mtime((*mtime).into());
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let mut name = path.as_str();
        if *pax {
            builder.append_pax_extensions([("path", path.as_bytes())]).unwrap();
            name = "short";
        }
        match what {
            What::Directory => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
            What::File { length, again } => {
                header.set_entry_type(EntryType::Regular);
                if *again && !pax {
                    header.set_size(3);
                    builder.append_data(&mut header, name, &b"old"[..]).unwrap();
                }
                let content: Vec<u8> = path.bytes().cycle().take(*length).collect();
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, &content[..]).unwrap();
                files.push(path);
            }
            What::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, name, target).unwrap();
            }
            What::HardLink(_) if files.is_empty() => {
                header.set_entry_type(EntryType::Fifo);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
            What::HardLink(number) => {
                header.set_entry_type(EntryType::Link);
                builder.append_link(&mut header, name, files[number % files.len()]).unwrap();
            }
            What::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn random_trees_are_the_same(
        planned in proptest::collection::vec((a_path(), planned()), 1..40)
    ) {
        let planned = consistent(planned);
        let archive = built(&planned);
        // GNU tar forgets a directory's time when it comes back to it.
        let keeps_its_time = |path: &Path| {
            let mut files = planned.iter().filter(|(_, one)| !matches!(one.what, What::Directory));
            files.any(|(said, _)| Path::new(said) == path)
        };
        same(&archive, keeps_its_time);
    }
}

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
