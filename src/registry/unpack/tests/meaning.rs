//! What an honest archive becomes.

use super::*;

#[test]
fn modes_and_times_arrive_on_everything() {
    let mut archive = Tar::default().with_mode(b'5', "ro/", 0o555);
    archive.header(b'0', b"ro/file", b"", 0, 0o400);
    let archive = archive.with_mode(b'5', "ro/none", 0).file("ro/none/x", "x").symlink("l", "ro");
    let archive = archive.with_mode(b'6', "fifo", 0o640).with_mode(b'5', ".", 0o711);
    let (_room, tree) = unpacked(&archive.end());
    for (path, node) in &tree {
        assert_eq!(node.mtime, (MTIME.cast_signed(), 0), "{path:?}");
    }
    for (path, mode) in [("", 0o711), ("ro", 0o555), ("ro/none", 0), ("ro/file", 0o400)] {
        assert_eq!(tree[Path::new(path)].mode, mode, "{path}");
    }
}

#[test]
fn directories_that_are_only_implied_are_usual_ones() {
    let (_room, tree) = unpacked(&Tar::default().file("a/b/c", "x").end());
    assert_eq!(tree[Path::new("a")].mode, 0o755);
    assert_eq!(tree[Path::new("a/b")].mode, 0o755);
    // Unless the archive says something about them later.
    let archive = Tar::default().file("a/b/c", "x").with_mode(b'5', "a/b", 0o700);
    assert_eq!(unpacked(&archive.end()).1[Path::new("a/b")].mode, 0o700);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let full = || Tar::default().directory("x").directory("x/y").file("x/y/z", "z");
    for (archive, expected) in [
        (Tar::default().file("x", "1").file("x", "2"), "x file \"2\"\n"),
        (Tar::default().file("x", "1").directory("x"), "x directory\n"),
        (Tar::default().symlink("x", "y").directory("x"), "x directory\n"),
        (full().file("x", "1"), "x file \"1\"\n"),
        (full().symlink("x", "y"), "x link to \"y\"\n"),
        (full().with_mode(b'6', "x", 0o600), "x fifo\n"),
        (full().directory("x"), "x directory\nx/y directory\nx/y/z file \"z\"\n"),
        (full().file("a", "a").hard_link("x", "a"), "a file \"a\"\nx file \"a\"\n"),
        // A directory made anew is not what it was.
        (full().file("x", "1").directory("x"), "x directory\n"),
    ] {
        assert_eq!(listing(&unpacked(&archive.end()).1), expected);
    }
    let archive = Tar::default().with_mode(b'5', "x", 0o700).file("x", "").file("x", "");
    let archive = archive.with_mode(b'5', "x", 0o711);
    assert_eq!(unpacked(&archive.end()).1[Path::new("x")].mode, 0o711);
}

#[test]
fn hard_links_are_one_file() {
    let archive = Tar::default().file("d/a", "a").hard_link("b", "./d/a").hard_link("c", "/b");
    let (_room, tree) = unpacked(&archive.clone().end());
    for name in ["b", "c", "d/a"] {
        assert_eq!(tree[Path::new(name)].same_as, Path::new("b"));
    }
    // A link to itself loses nothing.
    let (_room, tree) = unpacked(&archive.hard_link("b", "b").hard_link("b", "d/a").end());
    assert_eq!(listing(&tree), "b file \"a\"\nc file \"a\"\nd directory\nd/a file \"a\"\n");
    let refused = refused(&Tar::default().directory("d").hard_link("x", "d").end());
    assert!(refused.to_string().contains("directory"), "{refused}");
    let refused = super::refused(&Tar::default().hard_link("x", "elsewhere").end());
    assert!(refused.to_string().contains("another layer"), "{refused}");
    let archive = Tar::default().directory("x").file("x/t", "").hard_link("x", "x/t");
    assert!(matches!(super::refused(&archive.end()), UnpackError::Unsupported(_)));
}

/// As with `lib -> usr/lib` of most distributions.
#[test]
fn links_within_the_layer_are_followed() {
    for target in ["usr/lib", "/usr/lib", "./usr/../usr/lib", "../../usr/lib"] {
        let archive = Tar::default().directory("usr/lib").symlink("lib", target);
        let archive = archive.file("lib/x", "x").directory("lib/d").hard_link("y", "lib/x");
        let (_room, tree) = unpacked(&archive.end());
        assert_eq!(tree[Path::new("usr/lib/x")].same_as, Path::new("usr/lib/x"), "{target}");
        assert_eq!(tree[Path::new("y")].same_as, Path::new("usr/lib/x"));
        assert_eq!(tree[Path::new("usr/lib/d")].kind, "directory");
        assert_eq!(tree[Path::new("lib")].kind, format!("link to {target:?}"));
    }
    let refused = refused(&Tar::default().symlink("lib", "usr/lib").file("lib/x", "x").end());
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
}

#[test]
fn whiteouts_become_what_an_overlay_reads() {
    let archive = Tar::default().directory("d").file("d/.wh.gone", "").file(".wh.also gone", "");
    let archive = archive.directory("o").file("o/.wh..wh..opq", "").file("o/new", "n");
    let (room, tree) = unpacked(&archive.end());
    assert_eq!(
        listing(&tree),
        "also gone device 0:0\nd directory\nd/gone device 0:0\no directory\no/new file \"n\"\n"
    );
    assert!(is_opaque(&room.layer().join("o")));
    assert!(!is_opaque(&room.layer().join("d")));
    let (room, _tree) = unpacked(&Tar::default().file(".wh..wh..opq", "").end());
    assert!(is_opaque(&room.layer()));
    let aufs = Tar::default()
        .directory(".wh..wh.plnk")
        .file(".wh..wh.aufs", "x")
        .file("d/.wh..wh.plnk/1.2", "x");
    assert_eq!(listing(&unpacked(&aufs.end()).1), "");
}

/// They concern lower layers, so it does not matter what comes first.
#[test]
fn what_the_layer_adds_wins_over_its_whiteouts() {
    let orders = |one: fn(Tar) -> Tar, other: fn(Tar) -> Tar| {
        [other(one(Tar::default())).end(), one(other(Tar::default())).end()]
    };
    let gone = |tar: Tar| tar.file(".wh.x", "");
    for archive in orders(gone, |tar| tar.file("x", "new")) {
        assert_eq!(listing(&unpacked(&archive).1), "x file \"new\"\n");
    }
    for archive in orders(gone, |tar| tar.symlink("x", "new")) {
        assert_eq!(listing(&unpacked(&archive).1), "x link to \"new\"\n");
    }
    // What lower layers have in the directory is gone all the same.
    for add in [|tar: Tar| tar.directory("x").file("x/y", "y"), |tar: Tar| tar.file("x/y", "y")] {
        for archive in orders(gone, add) {
            let (room, tree) = unpacked(&archive);
            assert_eq!(listing(&tree), "x directory\nx/y file \"y\"\n");
            assert!(is_opaque(&room.layer().join("x")));
            assert_eq!(tree[Path::new("x")].mode, 0o755);
        }
    }
    for archive in orders(|tar| tar.file("x/.wh..wh..opq", ""), |tar| tar.file("x/y", "y")) {
        let (room, tree) = unpacked(&archive);
        assert_eq!(listing(&tree), "x directory\nx/y file \"y\"\n");
        assert!(is_opaque(&room.layer().join("x")));
    }
    for archive in orders(gone, gone) {
        assert_eq!(listing(&unpacked(&archive).1), "x device 0:0\n");
    }
    let linked = Tar::default().file(".wh.x", "").hard_link("y", "x");
    assert!(refused(&linked.end()).to_string().contains("another layer"));
}

#[test]
fn what_containers_make_themselves_is_left_out() {
    let archive = Tar::default().directory("dev").file("dev/null", "").file("./proc/1/x", "");
    let archive = archive.with_mode(b'5', "sys", 0o555).file("sys/.wh.x", "").file("devs/x", "");
    let archive = archive.symlink("etc/dev/x", "y");
    assert_eq!(
        listing(&unpacked(&archive.end()).1),
        "dev directory\ndevs directory\ndevs/x file \"\"\netc directory\netc/dev directory\n\
         etc/dev/x link to \"y\"\nsys directory\n"
    );
}

#[test]
fn what_was_unpacked_is_counted_and_named() {
    use sha2::{Digest, Sha256};
    let mut archive =
        Tar::default().file("a", "12345").file("b/c", "678").hard_link("d", "a").end();
    // Whatever comes after the end is part of the layer's identity.
    archive.extend([7; 5000]);
    let (_room, result) = unpack(&archive);
    let id = super::super::LayerId(Sha256::digest(&archive).into());
    // The directory that is only implied counts as well.
    assert_eq!(result, Ok(Unpacked { id, bytes: 8, entries: 4 }));
    let (_room, result) = unpack(&[]);
    let empty = super::super::LayerId(Sha256::digest([]).into());
    assert_eq!(result, Ok(Unpacked { id: empty, bytes: 0, entries: 0 }));
}

/// An old archive's directories are files whose names end in a slash; blank fields mean zero.
#[test]
fn the_oldest_form_is_read() {
    let mut header = Header::new_old();
    header.as_old_mut().name[..2].copy_from_slice(b"d/");
    header.as_old_mut().mode = *b"0000750\0";
    header.as_old_mut().size = [b' '; 12];
    header.set_cksum();
    let (_room, tree) = unpacked(&Tar(header.as_bytes().to_vec()).end());
    assert_eq!(listing(&tree), "d directory\n");
    assert_eq!((tree[Path::new("d")].mode, tree[Path::new("d")].mtime), (0o750, (0, 0)));
}

#[test]
fn times_before_1970_arrive() {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[0] = b'x';
    header.as_old_mut().mtime = [0xff; 12];
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let (_room, tree) = unpacked(&Tar(header.as_bytes().to_vec()).end());
    assert_eq!(tree[Path::new("x")].mtime, (-1, 0));
}
