//! Archives that were made by no one: nothing panics, nothing leaves its room, and nothing is
//! called a failure of ours.

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// An archive with one of everything that is dangerous.
fn dangerous() -> Vec<u8> {
    Tar::default()
        .directory("d")
        .file("d/file", "content")
        .symlink("l", "d")
        .file("l/x", "x")
        .symlink("out", "..")
        .hard_link("hard", "d/file")
        .file("out/y", "y")
        .pax(&[("path", b"d/pax"), ("size", b"5"), ("mtime", b"1.5")])
        .file("short", "12345")
        .file(&"n/".repeat(80), "long")
        .symlink("far", &"t/".repeat(80))
        .file("d/.wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .with_mode(b'6', "fifo", 0o600)
        .file("end", "end")
        .end()
}

/// Gives every block that may be a header a checksum again, so that a change is not all that is
/// found.
fn with_checksums(mut archive: Vec<u8>) -> Vec<u8> {
    for block in archive.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    archive
}

fn check(archive: &[u8]) {
    let (_room, result) = unpack(archive);
    assert!(!matches!(result, Err(UnpackError::Failed(_))), "{result:?}");
}

/// A change of one byte in a header, mostly where something interesting is.
fn a_change() -> impl Strategy<Value = (usize, usize, u8)> {
    let place = prop_oneof![0..110_usize, 124..137_usize, 156..260_usize, 0..512_usize];
    let byte =
        prop_oneof![any::<u8>(), proptest::sample::select(b"\0/.01234567xgLKSVD ".to_vec()),];
    (any::<usize>(), place, byte)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_archive_stays_inside(
        changes in proptest::collection::vec(a_change(), 1..6)
    ) {
        let mut archive = dangerous();
        let blocks = archive.len() / 512;
        for (block, place, byte) in changes {
            archive[block % blocks * 512 + place] = byte;
        }
        check(&with_checksums(archive));
    }

    #[test]
    fn shuffled_entries_stay_inside(order in Just((0..30).collect::<Vec<usize>>()).prop_shuffle()) {
        let archive = dangerous();
        let blocks: Vec<&[u8]> = archive.chunks(512).collect();
        let order = order.into_iter().filter(|block| *block < blocks.len());
        check(&order.map(|block| blocks[block]).collect::<Vec<_>>().concat());
    }

    #[test]
    fn arbitrary_bytes_stay_inside(
        magic in proptest::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        check(&[magic, &bytes].concat());
    }

    #[test]
    fn a_changed_compressed_archive_stays_inside(
        gzip in any::<bool>(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let archive = dangerous();
        let mut packed = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&archive).unwrap();
            encoder.finish().unwrap()
        } else {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(&archive[..], level)
        };
        let length = packed.len();
        for (at, byte) in changes {
            packed[at % length] = byte;
        }
        check(&packed);
    }
}
