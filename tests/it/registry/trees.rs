//! What a script sees of its image is what the layers say: compared, path by path, with GNU tar's
//! own unpacking and the few rules that layers add to it (OCI image spec, layer.md).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tar::EntryType;
use tempfile::TempDir;

use super::Here;
use crate::support::Engine;
use crate::support::images::{Archive, Image, Layer, busybox, digest, noise};
use crate::support::registry::Registry;

/// What a path is: its kind, permissions, and a link's target.
type Facts = (String, u32, String);

/// A tree by its paths from the root, as text where they are none.
type Tree = BTreeMap<String, Facts>;

/// What every container provides or hides, whatever its image says.
const OURS: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/tmp",
    "/.oncebox",
    "/.dockerenv",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
];

fn is_ours(path: &str) -> bool {
    OURS.iter().any(|ours| path == *ours || path.starts_with(&format!("{ours}/")))
}

/// Layers with every kind of thing that a layer can say.
fn layers(engine: Engine) -> Vec<Layer> {
    let long = |length: usize| "n".repeat(length);
    let deep = ["deep"; 80].join("/");
    let mut first = Archive::new()
        .dir("a", 0o755)
        .file("a/kept", 0o644, "kept")
        .file("a/gone", 0o644, "gone")
        .file("a/changed", 0o644, "before")
        .dir("a/folder-gone", 0o755)
        .file("a/folder-gone/inside", 0o644, "x")
        .dir("opaque", 0o755)
        .file("opaque/old", 0o644, "old")
        .dir("opaque/old-folder", 0o755)
        .file("opaque/old-folder/x", 0o644, "old")
        .file("file-then-folder", 0o644, "file")
        .dir("folder-then-file", 0o755)
        .file("folder-then-file/x", 0o644, "x")
        .symlink("link-then-folder", "a")
        .dir("folder-then-link", 0o755)
        .file("folder-then-link/x", 0o644, "x")
        .file("links/first", 0o644, "one content, three names")
        .link("links/second", "links/first")
        .link("links/deeper/third", "links/second")
        .symlink("links/relative", "../a/kept")
        .symlink("links/absolute", "/a/kept")
        .symlink("links/dangling", "nowhere/at/all")
        .symlink("links/to-folder", "../a")
        .symlink("links/itself", "itself")
        .symlink("links/long", &long(300))
        .fifo("fifo", 0o622)
        .file("empty", 0o644, "")
        .dir("empty-folder", 0o755)
        .dir("empty-folder/empty-too", 0o700)
        .dir("sticky", 0o1777)
        .dir("set-group", 0o2755)
        .file("setuid", 0o4755, "s")
        .file("setgid", 0o2755, "s")
        .dir("secret", 0o700)
        .file("secret/inside", 0o600, "root's only")
        .file("big", 0o644, noise(8, 8 << 20))
        .file(format!("{}/x", long(255)), 0o644, "255")
        .file(format!("{deep}/x"), 0o644, "deep")
        .file("second/x", 0o644, "in a folder that no layer names");
    if engine == Engine::Native {
        // The daemon takes no archive that has a path twice.
        first = first.file("twice", 0o644, "first").file("twice", 0o600, "second");
    }
    for length in [99, 100, 101, 154, 155, 156, 255] {
        first = first.file(format!("names/{}", long(length)), 0o644, length.to_string());
    }
    for mode in [0, 0o001, 0o111, 0o400, 0o444, 0o600, 0o644, 0o666, 0o700, 0o755, 0o777] {
        first = first.file(format!("modes/{mode:o}"), mode, format!("{mode:o}"));
        first = first.dir(&format!("modes/folder-{mode:o}"), mode);
    }
    for name in [
        "é",
        "e\u{301}",
        "🎈",
        "\u{202e}txt",
        "a b",
        " ",
        "'",
        "\"",
        "*",
        "\\",
        "-rf",
        "...",
        "..x",
        "x..",
        "%2e%2e",
        "$(id)",
        "a:b",
        "~",
        "#",
        ".wh",
        "wh.x",
        "\u{7f}",
    ] {
        first = first.file(format!("odd/{name}"), 0o644, name);
    }
    first = first.file(b"odd/latin-\xe9", 0o644, "no UTF-8");
    let second = Archive::new()
        .whiteout("a/gone")
        .whiteout("a/folder-gone")
        .whiteout("a/never-was")
        .file("a/changed", 0o600, "after")
        .file("opaque/new-before", 0o644, "new")
        .opaque("opaque")
        .file("opaque/new-after", 0o644, "new")
        .dir("file-then-folder", 0o750)
        .file("file-then-folder/x", 0o644, "x")
        .file("folder-then-file", 0o640, "file")
        .dir("link-then-folder", 0o755)
        .file("link-then-folder/x", 0o644, "not in a")
        .symlink("folder-then-link", "a")
        .whiteout("links/first")
        .whiteout("big")
        .dir("sticky", 0o1777)
        .file("sticky/new", 0o644, "new")
        .entry(EntryType::Regular, "./dotted/./x", 0o644, "", b"dotted");
    let mut third = Archive::new()
        .dir("a/folder-gone", 0o500)
        .file("a/folder-gone/new", 0o644, "new")
        .dir("secret", 0o700)
        .file("secret/more", 0o644, "root's only");
    if engine == Engine::Native {
        // The daemon unpacks no path beneath one that the same layer removes.
        third = third.whiteout("dotted").file("dotted/again", 0o644, "where it was removed");
    }
    let again = Archive::new().dir("a", 0o711).file("a/changed", 0o640, "once more").layer();
    vec![busybox(), first.layer(), second.layer(), again.clone(), third.layer(), again]
}

/// All layers in order, as GNU tar unpacks them.
fn unpacked(layers: &[Layer]) -> TempDir {
    let root = tempfile::Builder::new().prefix("oncebox-it-tree-").tempdir().expect("a folder");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
    let archive = root.path().with_extension("tar");
    for layer in layers {
        let bytes = layer.archive();
        make_room(root.path(), &bytes);
        fs::write(&archive, &bytes).expect("a file");
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--same-permissions", "--numeric-owner", "--warning=none"]);
        tar.args(["--delay-directory-restore", "--exclude=.wh.*", "--file"]).arg(&archive);
        let output = tar.arg("--directory").arg(root.path()).output().expect("tar runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_file(&archive).expect("a file");
    root
}

/// What a layer says about the ones beneath: what is gone, and what is of another kind now.
fn make_room(root: &Path, archive: &[u8]) {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().expect("an archive") {
        let entry = entry.expect("an entry");
        let path = entry.path_bytes().into_owned();
        let path = Path::new(OsStr::from_bytes(&path));
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        let folder = root.join(path.parent().unwrap_or(Path::new("")));
        if name == b".wh..wh..opq" {
            for lower in fs::read_dir(folder).into_iter().flatten().flatten() {
                remove(&lower.path());
            }
        } else if let Some(gone) = name.strip_prefix(b".wh.") {
            remove(&folder.join(OsStr::from_bytes(gone)));
        } else if let Ok(there) = fs::symlink_metadata(root.join(path))
            && !(there.is_dir() && entry.header().entry_type() == EntryType::Directory)
        {
            remove(&root.join(path));
        }
    }
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path).expect("root may"),
        Ok(_) => fs::remove_file(path).expect("root may"),
        Err(_) => {}
    }
}

/// Every path of an unpacked tree, and of those that anybody may read the content.
fn tree_of(root: &Path) -> (Tree, BTreeMap<String, String>) {
    let (mut tree, mut contents) = (Tree::new(), BTreeMap::new());
    // Folders with whether anybody may read what is in them.
    let mut folders = vec![(root.to_owned(), String::new(), true)];
    while let Some((folder, prefix, open)) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            if is_ours(&path) {
                continue;
            }
            let found = fs::symlink_metadata(entry.path()).expect("an entry");
            let mode = found.permissions().mode() & 0o7777;
            let kind = found.file_type();
            let (kind, target) = if kind.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link");
                ("link", target.to_string_lossy().into_owned())
            } else if kind.is_dir() {
                folders.push((entry.path(), path.clone(), open && mode & 0o5 == 0o5));
                ("folder", String::new())
            } else if kind.is_fifo() {
                ("fifo", String::new())
            } else {
                assert!(kind.is_file(), "{path}");
                if open && mode & 0o4 != 0 {
                    contents.insert(path.clone(), digest(&fs::read(entry.path()).expect("a file")));
                }
                ("file", String::new())
            };
            if open {
                tree.insert(path, (kind.into(), lasting(mode), target));
            }
        }
    }
    (tree, contents)
}

/// The bits that give a script its owner's or group's rights are taken away; nothing else is.
fn lasting(mode: u32) -> u32 {
    mode & !0o6000
}

/// The same, as a script sees it.
fn seen_by_a_script(here: &Here, image: &str) -> (Tree, BTreeMap<String, String>) {
    let ours: Vec<String> = OURS.iter().map(|path| format!("-path '{path}'")).collect();
    let find = format!("find / -mindepth 1 \\( {} \\) -prune -o", ours.join(" -o "));
    let script = format!(
        "{find} -print0 2>/dev/null | xargs -0 stat -c '%a\t%F\t%n\t%N'; echo ---
         {find} -type f -print0 2>/dev/null | xargs -0 sha256sum 2>/dev/null; :"
    );
    let answer = here.run(&json!({"image": image, "script": script, "output_limit": "1m"}));
    let text = String::from_utf8_lossy(&answer.stdout()).into_owned();
    let (facts, sums) = text.split_once("---\n").unwrap_or_else(|| panic!("{}", answer.0));
    let mut tree = Tree::new();
    for line in facts.lines() {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [mode, kind, path, link] = parts[..] else { panic!("{line}") };
        let target =
            link.strip_prefix(&format!("'{path}' -> '")).and_then(|t| t.strip_suffix('\''));
        let kind = match kind {
            "directory" => "folder",
            "symbolic link" => "link",
            "regular file" | "regular empty file" => "file",
            other => other,
        };
        let mode = u32::from_str_radix(mode, 8).expect("a mode");
        let target = target.unwrap_or_default().to_owned();
        tree.insert(path.to_owned(), (kind.into(), lasting(mode), target));
    }
    let sums = sums.lines().map(|line| {
        let (sum, path) = line.split_once("  ").unwrap_or_else(|| panic!("{line}"));
        (path.to_owned(), format!("sha256:{sum}"))
    });
    (tree, sums.collect())
}

/// Only the differences, for a failure that can be read.
#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: &BTreeMap<String, T>,
    seen: &BTreeMap<String, T>,
) {
    let paths: BTreeSet<&String> = wanted.keys().chain(seen.keys()).collect();
    let differ = paths.into_iter().filter(|path| wanted.get(*path) != seen.get(*path));
    let differ: Vec<String> = differ
        .map(|path| format!("{path:?}: {:?} became {:?}", wanted.get(path), seen.get(path)))
        .collect();
    assert!(differ.is_empty(), "{what}: {differ:#?}");
    assert!(!seen.is_empty(), "{what}: nothing was seen");
}

fn a_script_sees_what_the_layers_say(engine: Engine) {
    let registry = Registry::start();
    let layers = layers(engine);
    Image::new(layers.clone()).push(&registry, "tree", "1");
    let wanted = unpacked(&layers);
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("tree:1");
    let (tree, contents) = tree_of(wanted.path());
    assert!(tree.contains_key("/link-then-folder/x") && !tree.contains_key("/a/gone"));
    let (tree_seen, contents_seen) = seen_by_a_script(&here, &name);
    same("paths", &tree, &tree_seen);
    same("contents", &contents, &contents_seen);
    if engine == Engine::Native {
        the_store_has_the_rest(&here, &layers, wanted.path());
    }
}

/// What no script may read is nevertheless right: in the uppermost layer that has it.
fn the_store_has_the_rest(here: &Here, layers: &[Layer], wanted: &Path) {
    let folder = |layer: &Layer| {
        let id = layer.diff_id.strip_prefix("sha256:").expect("a digest");
        here.store().join("layers").join(id)
    };
    for path in ["secret/inside", "secret/more", "a/changed", "modes/0", "modes/400"] {
        let there: Option<PathBuf> =
            layers.iter().rev().map(|layer| folder(layer).join(path)).find(|p| p.exists());
        let there = there.unwrap_or_else(|| panic!("{path} is in no layer of the store"));
        let read = |path: &Path| fs::read(path).expect("root may read it");
        assert_eq!(read(&there), read(&wanted.join(path)), "{path}");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&there) & 0o777, mode(&wanted.join(path)) & 0o777, "{path}");
    }
}

/// Many layers, each of which changes what the one beneath says.
fn many_layers_are_one_tree(engine: Engine) {
    // The daemon takes its time for each.
    let many = if engine == Engine::Native { 100 } else { 20 };
    let registry = Registry::start();
    let mut layers = vec![busybox()];
    for n in 0..many {
        let archive = Archive::new().file("last", 0o644, n.to_string());
        let archive = archive.dir("each", 0o755).file(format!("each/{n}"), 0o644, n.to_string());
        layers.push(match n {
            0 => archive.layer(),
            _ => archive.whiteout(&format!("each/{}", n / 2)).layer(),
        });
    }
    Image::new(layers).push(&registry, "many", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let script = "cat /last; echo; ls /each | wc -l; ls /each | sort -n | head -n 1";
    let wanted = format!("{}\n{}\n{}\n", many - 1, many / 2, many / 2);
    assert_eq!(here.prints(&registry.name("many:1"), script), wanted);
}

on_both_engines! {
    together: a_script_sees_what_the_layers_say, many_layers_are_one_tree
}
