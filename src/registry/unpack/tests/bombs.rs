//! G08 and G17: too much of anything stops at its cap.

use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::*;

const SMALL: Caps = Caps { bytes: 300_000, entries: 1000 };

/// An archive with one file of zeros.
fn zeros(bytes: usize) -> Vec<u8> {
    Tar::default().entry(b'0', b"zeros", b"", &vec![0; bytes]).end()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn g08_a_bomb_stops_at_its_cap() {
    let bomb = zeros(6 << 20);
    for (form, packed) in [("plain", bomb.clone()), ("gzip", gzip(&bomb)), ("zstd", zstd(&bomb))] {
        let room = Room::new();
        let result = room.unpack(&packed, SMALL);
        assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{form}: {result:?}");
        let written = fs::metadata(room.layer().join("zeros")).unwrap().len();
        assert!(written <= SMALL.bytes, "{form}: {written} bytes on disk");
    }
}

#[test]
fn g08_a_cap_is_exact() {
    let archive = zeros(100_000);
    let bytes = archive.len() as u64;
    assert!(Room::new().unpack(&archive, Caps { bytes, entries: 1 }).is_ok());
    let result = Room::new().unpack(&archive, Caps { bytes: bytes - 1, entries: 1 });
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
    // What comes after the end counts as well.
    let mut padded = archive;
    padded.resize(1 << 20, 0);
    let result = Room::new().unpack(&gzip(&padded), Caps { bytes, entries: 1 });
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
}

#[test]
fn g08_a_million_tiny_entries_stop_at_their_cap() {
    for kind in [b'0', b'5', b'6', b'3'] {
        let mut archive = Tar::default();
        for number in 0..1_000_000 / 40 {
            archive.header(kind, format!("{number}").as_bytes(), b"", 0, 0o644);
        }
        let room = Room::new();
        let result = room.unpack(&archive.end(), Caps { entries: 1000, ..CAPS });
        assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
        assert!(tree(&room.layer()).len() <= 1001);
    }
    // Directories that are only implied are some as well.
    let archive = Tar::default().file(&"d/".repeat(200), "");
    let result = Room::new().unpack(&archive.end(), Caps { entries: 199, ..CAPS });
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
}

#[test]
fn a_sparse_file_is_no_larger_than_the_layer_may_be() {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[0] = b'x';
    header.as_old_mut().linkflag = *b"S";
    header.as_gnu_mut().unwrap().realsize = *b"77777777777\0";
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let result = unpack(&Tar(header.as_bytes().to_vec()).end()).1;
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
}

/// In a thread with mounts of its own.
#[test]
fn g17_a_full_disk_is_said_so() {
    let files = |count: u32, content: &str| {
        let name = |number| format!("{number}");
        (0..count).fold(Tar::default(), |tar, number| tar.file(&name(number), content)).end()
    };
    let large = Tar::default().entry(b'0', b"x", b"", &vec![1; 1 << 20]).end();
    let small = files(100, "");
    let work = move || {
        crate::sys::unshare(libc::CLONE_NEWNS).expect("root's right to a mount namespace");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        for (archive, options) in [(large, c"size=256k"), (small, c"nr_inodes=50")] {
            let room = Room::new();
            mount("tmpfs", room.layer(), "tmpfs", MountFlags::empty(), Some(options)).unwrap();
            assert_eq!(room.unpack(&archive, CAPS), Err(UnpackError::NoSpace), "{options:?}");
            rustix::mount::unmount(room.layer(), rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    };
    thread::spawn(work).join().unwrap();
}
