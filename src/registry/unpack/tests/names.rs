//! Long names, in every form an archive has for them, and sizes that lie.

use super::*;

fn name(length: usize) -> String {
    // Names of 100 bytes and a slash, and what is left.
    let mut name = String::new();
    while name.len() < length {
        let left = length - name.len();
        name += &if left > 101 { "n".repeat(100) + "/" } else { "e".repeat(left) };
    }
    name
}

#[test]
fn g09_names_of_every_length_arrive_or_are_refused() {
    for length in [1, 99, 100, 101, 255, 256, 1000, 4094, 4095] {
        let name = name(length);
        assert_eq!(name.len(), length);
        for archive in [
            Tar::default().file(&name, "x"),
            Tar::default().pax(&[("path", name.as_bytes())]).file("other", "x"),
        ] {
            let (_room, tree) = unpacked(&archive.end());
            assert!(tree.contains_key(Path::new(&name)), "{length}");
        }
    }
    for bad in [name(4096), name(5000), "c".repeat(256), format!("d/{}", "c".repeat(4096))] {
        for archive in [
            Tar::default().file(&bad, "x"),
            Tar::default().pax(&[("path", bad.as_bytes())]).file("other", "x"),
            Tar::default().file("t", "x").hard_link("x", &bad),
        ] {
            let refused = refused(&archive.end());
            assert!(matches!(refused, UnpackError::Unsupported(_)), "{}: {refused:?}", bad.len());
        }
    }
}

#[test]
fn links_lead_as_far_as_a_path_may() {
    for length in [100, 101, 4095] {
        let target = "t/".repeat(length / 2) + &"t".repeat(length % 2);
        let (_room, tree) = unpacked(&Tar::default().symlink("x", &target).end());
        assert_eq!(tree[Path::new("x")].kind, format!("link to {target:?}"));
        let archive = Tar::default().pax(&[("linkpath", target.as_bytes())]).symlink("x", "other");
        assert_eq!(unpacked(&archive.end()).1[Path::new("x")].kind, format!("link to {target:?}"));
    }
    let refused = refused(&Tar::default().symlink("x", &"t".repeat(4096)).end());
    assert!(matches!(refused, UnpackError::Unsupported(_)), "{refused:?}");
    assert!(matches!(
        super::refused(&Tar::default().symlink("x", "").end()),
        UnpackError::Corrupt(_)
    ));
}

/// The prefix of ustar, which GNU's own form has something else in.
#[test]
fn a_prefix_comes_first() {
    let mut header = Header::new_ustar();
    let ustar = header.as_ustar_mut().unwrap();
    ustar.prefix[..3].copy_from_slice(b"a/b");
    ustar.name[..1].copy_from_slice(b"c");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let (_room, tree) = unpacked(&Tar(header.as_bytes().to_vec()).end());
    assert!(tree.contains_key(Path::new("a/b/c")));
}

#[test]
fn g09_sizes_in_extended_headers_do_not_shift_what_follows() {
    // What the extended header says is what counts, and the next entry starts right behind it.
    let hidden = Tar::default().file("hidden", "x").0;
    let mut archive = Tar::default().pax(&[("size", hidden.len().to_string().as_bytes())]);
    archive.header(b'0', b"outer", b"", 0, 0o644);
    let archive = archive.content(&hidden).file("next", "y");
    let (_room, tree) = unpacked(&archive.end());
    let names: Vec<_> = tree.keys().skip(1).map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["next", "outer"]);
    // It says nothing about the extension entries in between.
    let mut archive = Tar::default().pax(&[("size", b"3")]);
    archive.long(b'L', "n".repeat(200).as_bytes());
    archive.header(b'0', b"short", b"", 0, 0o644);
    let (_room, tree) = unpacked(&archive.content(b"abc").end());
    assert_eq!(tree[Path::new(&"n".repeat(200))].kind, "file \"abc\"");
    // A longer one than there is, and some that are no sizes.
    for size in ["100000", "9223372036854775807"] {
        let refused =
            refused(&Tar::default().pax(&[("size", size.as_bytes())]).file("x", "y").end());
        assert!(matches!(refused, UnpackError::Corrupt(_)), "{size}: {refused:?}");
    }
    for size in ["-1", "18446744073709551616", "1 ", "0x10", "1e3"] {
        let refused =
            refused(&Tar::default().pax(&[("size", size.as_bytes())]).file("x", "y").end());
        assert!(matches!(refused, UnpackError::Corrupt(_)), "{size}: {refused:?}");
    }
}

/// As Docker sees it: a link or a directory has no content, whatever its header says.
#[test]
fn what_has_no_content_has_none() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let mut archive = Tar::default().file("t", "");
        archive.header(kind, b"x", b"t", 1 << 20, 0o755);
        let (_room, tree) = unpacked(&archive.file("next", "y").end());
        assert!(tree.contains_key(Path::new("next")), "{kind}");
    }
}

#[test]
fn an_attribute_s_value_is_never_a_path() {
    let value = b"x\n\n19 path=../../evil\n";
    let archive = Tar::default()
        .pax(&[("SCHILY.xattr.security.capability", value), ("path", b"good")])
        .file("short", "x");
    assert_eq!(listing(&unpacked(&archive.end()).1), "good file \"x\"\n");
}

#[test]
fn an_extended_header_has_a_bound() {
    for kind in [b'x', b'L', b'K'] {
        let mut archive = Tar::default();
        archive.header(kind, b"long", b"", 1 << 30, 0o644);
        let refused = refused(&archive.end());
        assert!(matches!(refused, UnpackError::Unsupported(_)), "{kind}: {refused:?}");
        let mut archive = Tar::default();
        archive.header(kind, b"last", b"", 0, 0o644);
        assert!(matches!(super::refused(&archive.end()), UnpackError::Corrupt(_)), "{kind}");
    }
    let global = Tar::default().entry(b'g', b"pax", b"", b"14 path=../x\n").file("x", "y");
    assert_eq!(listing(&unpacked(&global.end()).1), "x file \"y\"\n");
    let volume = Tar::default().entry(b'V', b"volume", b"", b"").file("x", "y");
    assert_eq!(listing(&unpacked(&volume.end()).1), "x file \"y\"\n");
}

#[test]
fn an_empty_path_is_not_said() {
    let archive = Tar::default().pax(&[("path", b""), ("mtime", b"12.5")]).file("x", "y");
    let (_room, tree) = unpacked(&archive.end());
    assert_eq!(tree[Path::new("x")].mtime, (12, 500_000_000));
}
