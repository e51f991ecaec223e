//! Layers that were made by no one: nothing panics, nothing leaves its room, nothing is called a
//! failure of ours, and the same bytes make the same tree.

use tar::Header;

use crate::registry::unpack::testing::{Room, tree};
use crate::registry::unpack::{Caps, UnpackError};

/// Small, so that a bomb ends soon.
const CAPS: Caps = Caps { bytes: 1 << 20, entries: 1000 };

pub fn check(bytes: &[u8]) {
    unpacked(bytes);
    let summed = with_checksums(bytes);
    if summed != bytes {
        unpacked(&summed);
    }
}

fn unpacked(archive: &[u8]) {
    let room = Room::new();
    let result = room.unpack(archive, CAPS);
    assert!(!matches!(result, Err(UnpackError::Failed(_))), "{result:?}");
    let Ok(whole) = result else { return };
    let first = tree(&room.layer());
    assert!(first.len() as u64 <= whole.entries + 1);
    let again = Room::new();
    assert_eq!(again.unpack(archive, CAPS), Ok(whole));
    let mut second = tree(&again.layer());
    assert_eq!(first.len(), second.len());
    for (path, node) in &first {
        let other = second.get_mut(path).unwrap();
        // A directory of which the archive says nothing has the time at which it was made.
        other.mtime = node.mtime;
        assert_eq!(node, other, "{path:?}");
    }
}

/// Gives every block that may be a header a checksum again, so that a change is not all that is
/// found.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::twin;
    use crate::registry::unpack::testing::Tar;

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

    /// A change of one byte in a header, mostly where something interesting is.
    fn a_change() -> impl Strategy<Value = (usize, usize, u8)> {
        let place = prop_oneof![0..110_usize, 124..137_usize, 156..260_usize, 0..512_usize];
        let byte =
            prop_oneof![any::<u8>(), proptest::sample::select(b"\0/.01234567xgLKSVD ".to_vec())];
        (any::<usize>(), place, byte)
    }

    fn changed() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(a_change(), 0..6).prop_map(|changes| {
            let mut archive = dangerous();
            let blocks = archive.len() / 512;
            for (block, place, byte) in changes {
                archive[block % blocks * 512 + place] = byte;
            }
            archive
        })
    }

    fn shuffled() -> impl Strategy<Value = Vec<u8>> {
        Just((0..30).collect::<Vec<usize>>()).prop_shuffle().prop_map(|order| {
            let archive = dangerous();
            let blocks: Vec<&[u8]> = archive.chunks(512).collect();
            order
                .into_iter()
                .filter_map(|block| blocks.get(block).copied())
                .collect::<Vec<_>>()
                .concat()
        })
    }

    fn packed(gzip: bool, archive: &[u8]) -> Vec<u8> {
        if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        } else {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(archive, level)
        }
    }

    #[test]
    fn holds() {
        let archives = prop_oneof![
            3 => changed(),
            1 => shuffled(),
            1 => (any::<bool>(), changed()).prop_map(|(gzip, archive)| packed(gzip, &archive)),
        ];
        twin::run("layer", 150, archives, super::check);
    }
}
