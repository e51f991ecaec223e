//! G09: whatever an archive tries, it stays inside or is refused.

use super::*;

#[test]
fn g09_dot_dot_is_refused() {
    for name in ["../canary", "a/../../canary", "a/../b", "/../canary", ".."] {
        for archive in [
            Tar::default().file(name, "dead"),
            Tar::default().directory(name),
            Tar::default().symlink(name, "x"),
            Tar::default().file("a", "x").hard_link(name, "a"),
            Tar::default().file("x", "x").hard_link("y", name),
            Tar::default().with_mode(b'6', name, 0o666),
            Tar::default().pax(&[("path", name.as_bytes())]).file("x", "dead"),
        ] {
            let refused = refused(&archive.end());
            assert!(matches!(refused, UnpackError::Unsupported(_)), "{name}: {refused:?}");
        }
    }
}

#[test]
fn g09_absolute_names_are_inside() {
    let room = Room::new();
    let canary = room.canary();
    let name = canary.to_str().unwrap();
    room.unpack(&Tar::default().file(name, "dead").end(), CAPS).unwrap();
    let inside = room.layer().join(name.trim_start_matches('/'));
    assert_eq!(fs::read_to_string(inside).unwrap(), "dead");
}

#[test]
fn g09_a_file_through_a_symlink_is_inside_or_refused() {
    let canary = "canary";
    for target in ["..", "../..", "/", "../../../../../../../../..", ".", "/.."] {
        // All of these are the root itself, inside.
        let archive =
            Tar::default().symlink("out", target).file(&format!("out/{canary}"), "inside");
        let (_room, tree) = unpacked(&archive.end());
        assert_eq!(tree[Path::new(canary)].kind, "file \"inside\"", "{target}");
    }
    for target in ["../canary", "/etc", "/proc/self/root", "/proc/self/fd/0", "../layer2", "out"] {
        let archive = Tar::default().symlink("out", target).file("out/canary", "dead");
        let refused = refused(&archive.end());
        assert!(matches!(refused, UnpackError::Unsupported(_)), "{target}: {refused:?}");
    }
}

#[test]
fn g09_a_symlink_itself_is_replaced_and_not_followed() {
    for target in ["../canary", "/etc/hostname", "inner"] {
        let archive = Tar::default().file("inner", "inner").symlink("x", target).file("x", "new");
        let (_room, tree) = unpacked(&archive.end());
        assert_eq!(listing(&tree), "inner file \"inner\"\nx file \"new\"\n");
    }
}

#[test]
fn g09_hard_links_stay_inside() {
    let room = Room::new();
    let canary = room.canary();
    for target in [canary.to_str().unwrap(), "/etc/passwd", "etc/passwd", "canary"] {
        let result = room.unpack(&Tar::default().hard_link("x", target).end(), CAPS);
        assert!(matches!(result, Err(UnpackError::Unsupported(_))), "{target}: {result:?}");
    }
    // Nor through a link that leads out.
    for out in ["..", "/", "../../.."] {
        let archive = Tar::default().symlink("out", out).hard_link("x", "out/canary");
        let refused = refused(&archive.end());
        assert!(matches!(refused, UnpackError::Unsupported(_)), "{out}: {refused:?}");
    }
    // A link to a link is a link to the link.
    let archive =
        Tar::default().symlink("out", "../canary").hard_link("x", "out").file("out", "new");
    let (_room, tree) = unpacked(&archive.end());
    assert_eq!(listing(&tree), "out file \"new\"\nx link to \"../canary\"\n");
    // Writing through a link would change what another name shows.
    let archive = Tar::default().file("a", "a").hard_link("b", "a").file("b", "b");
    let (_room, tree) = unpacked(&archive.end());
    assert_eq!(listing(&tree), "a file \"a\"\nb file \"b\"\n");
}

#[test]
fn g09_devices_are_left_out_and_fifos_kept() {
    let mut archive = Tar::default().with_mode(b'6', "fifo", 0o622);
    for (kind, name) in [(b'3', "mem"), (b'4', "sda"), (b'3', "zero")] {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.as_old_mut().linkflag = [kind];
        header.set_device_major(u32::from(name != "zero")).unwrap();
        header.set_device_minor(u32::from(name != "zero")).unwrap();
        header.set_size(0);
        header.set_mode(0o666);
        header.set_mtime(0);
        header.set_cksum();
        archive.0.extend(header.as_bytes());
    }
    let (_room, tree) = unpacked(&archive.end());
    assert_eq!(listing(&tree), "fifo fifo\n");
    assert_eq!(tree[Path::new("fifo")].mode, 0o622);
}

#[test]
fn g09_set_uid_and_set_gid_are_taken_away() {
    let mut archive = Tar::default();
    archive.header(b'0', b"su", b"", 0, 0o4755);
    let archive = archive.with_mode(b'0', "sg", 0o2711).with_mode(b'5', "dir", 0o7777);
    let archive = archive.with_mode(b'6', "fifo", 0o6600).with_mode(b'5', "./", 0o6755);
    let (_room, tree) = unpacked(&archive.end());
    let modes: Vec<_> =
        tree.iter().map(|(path, node)| (path.to_str().unwrap(), node.mode)).collect();
    let expected = [("", 0o755), ("dir", 0o1777), ("fifo", 0o600), ("sg", 0o711), ("su", 0o755)];
    assert_eq!(modes, expected);
}

#[test]
fn g09_no_extended_attribute_arrives() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let archive = Tar::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("LIBARCHIVE.xattr.user.x", b"eA=="),
            ("SCHILY.acl.access", b"user::rwx,user:1:rwx"),
        ])
        .with_mode(b'5', "dir", 0o755)
        .pax(&[("SCHILY.xattr.security.capability", capability)])
        .file("file", "x");
    let (room, _tree) = unpacked(&archive.end());
    for name in ["dir", "file"] {
        let mut list = [0; 256];
        let length = rustix::fs::llistxattr(room.layer().join(name), &mut list[..]).unwrap();
        assert_eq!(list[..length].escape_ascii().to_string(), "", "{name}");
    }
}

#[test]
fn g09_everything_is_ours() {
    let mut archive = Tar::default().pax(&[("uid", b"12345"), ("gid", b"54321")]);
    archive.header(b'0', b"file", b"", 0, 0o644);
    let (room, _tree) = unpacked(&archive.end());
    let metadata = fs::metadata(room.layer().join("file")).unwrap();
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!((metadata.uid(), metadata.gid()), ours);
}

#[test]
fn g09_whiteouts_that_lead_out_are_refused() {
    for name in [".wh..", ".wh...", "a/.wh...", ".wh."] {
        let refused = refused(&Tar::default().directory("a").file(name, "").end());
        assert!(matches!(refused, UnpackError::Unsupported(_)), "{name}: {refused:?}");
    }
    // Beneath a link, it is what the link leads to, inside.
    let archive = Tar::default().symlink("out", "../..").file("out/.wh.canary", "");
    assert_eq!(listing(&unpacked(&archive.end()).1), "canary device 0:0\nout link to \"../..\"\n");
}

#[test]
fn g09_a_directory_swapped_for_a_symlink_leads_nowhere() {
    let before = Tar::default().directory("d").file("d/a", "a");
    for target in ["..", "/"] {
        let archive = before.clone().symlink("d", target).file("d/canary", "inside");
        let (_room, tree) = unpacked(&archive.end());
        let expected = format!("canary file \"inside\"\nd link to \"{target}\"\n");
        assert_eq!(listing(&tree), expected);
    }
    // A directory that is remembered is not written into behind the link.
    let archive = before.directory("e").file("d/b", "b").symlink("d", "e").file("d/c", "c");
    assert_eq!(
        listing(&unpacked(&archive.end()).1),
        "d link to \"e\"\ne directory\ne/c file \"c\"\n"
    );
}

#[test]
fn g09_no_mode_is_set_through_a_symlink() {
    let room = Room::new();
    for archive in [
        Tar::default().symlink("x", "../canary").with_mode(b'0', "x", 0o777),
        Tar::default().symlink("x", "..").with_mode(b'5', "x", 0o777),
        Tar::default().symlink("x", "..").with_mode(b'5', "x/", 0o777),
        Tar::default().symlink("x", "..").with_mode(b'5', "x/.", 0o777),
        Tar::default().directory("d").with_mode(b'5', "d", 0o777).symlink("d", ".."),
    ] {
        // The room looks at modes and times around it.
        room.unpack(&archive.end(), CAPS).unwrap();
    }
}

#[test]
fn a_link_to_a_link_to_a_link_ends() {
    let archive = Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(matches!(refused(&archive.end()), UnpackError::Unsupported(_)));
    let archive = Tar::default().symlink("a", "a/a").hard_link("x", "a/y");
    assert!(matches!(refused(&archive.end()), UnpackError::Unsupported(_)));
}

/// Whoever walks through the tree later must not run out of stack.
#[test]
fn links_do_not_make_it_deeper_than_a_path_may_be() {
    let deep = "d/".repeat(200);
    let mut archive = Tar::default().directory(&deep);
    for step in 0..3 {
        archive = archive.symlink(&format!("l{step}"), &deep);
        archive = archive.directory(&format!("l{step}/{deep}"));
    }
    let refused = refused(&archive.end());
    assert!(matches!(refused, UnpackError::Unsupported(_)), "{refused:?}");
}

#[test]
fn what_lies_beneath_a_file_is_refused() {
    let refused = refused(&Tar::default().file("a", "").file("a/b", "").end());
    assert!(matches!(refused, UnpackError::Unsupported(_)), "{refused:?}");
    let refused = super::refused(&Tar::default().file("./", "").end());
    assert!(matches!(refused, UnpackError::Unsupported(_)), "{refused:?}");
}

#[test]
fn what_is_not_known_is_refused() {
    for kind in [b'D', b'M', b'N', b'z', b'A', 0xff] {
        let refused = refused(&Tar::default().entry(kind, b"x", b"", b"").end());
        assert!(matches!(refused, UnpackError::Unsupported(_)), "{kind}: {refused:?}");
    }
    let sparse = Tar::default().pax(&[("GNU.sparse.major", b"1")]).file("x", "");
    assert!(matches!(refused(&sparse.end()), UnpackError::Unsupported(_)));
}
