//! Compressed or not, whole or not.

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::*;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A skippable frame (RFC 8878, 3.1.2).
fn skippable(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).unwrap().to_le_bytes();
    [&[0x53, 0x2a, 0x4d, 0x18][..], &length, &vec![9; bytes]].concat()
}

/// An archive of some size, whose bytes do not repeat.
fn archive() -> Vec<u8> {
    let mut seed = 1_u32;
    let noise = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let noise: Vec<u8> = (0..700_000).map(noise).collect();
    Tar::default().entry(b'0', b"noise", b"", &noise).file("small", "s").end()
}

#[test]
fn every_form_gives_the_same_layer() {
    let plain = archive();
    let (first, second) = plain.split_at(300_000);
    let id = super::super::LayerId(Sha256::digest(&plain).into());
    let expected = Ok(Unpacked { id, bytes: 700_001, entries: 2 });
    for (form, packed) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("two gzip members", [gzip(first), gzip(second)].concat()),
        ("zstd", zstd(&plain)),
        ("two zstd frames", [zstd(first), zstd(second)].concat()),
        ("skippable first", [skippable(1000), zstd(&plain)].concat()),
        ("skippable between", [zstd(first), skippable(0), zstd(second), skippable(7)].concat()),
    ] {
        let (room, result) = unpack(&packed);
        assert_eq!(result, expected, "{form}");
        assert_eq!(tree(&room.layer()).len(), 3, "{form}");
    }
}

#[test]
fn g07_what_is_cut_anywhere_is_corrupt() {
    let plain = archive();
    for (form, packed) in [("plain", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd(&plain))]
    {
        let cuts = [7, 20, 600, packed.len() / 2, packed.len() - 2000, packed.len() - 1];
        // The two empty blocks at a plain archive's end may as well be missing.
        let cuts = cuts.into_iter().filter(|cut| form != "plain" || *cut < 700_000);
        for cut in cuts {
            let result = unpack(&packed[..cut]).1;
            assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{form} {cut}: {result:?}");
        }
    }
}

#[test]
fn g07_a_flipped_byte_is_corrupt() {
    let packed = gzip(&archive());
    for at in [packed.len() / 2, packed.len() - 6, packed.len() - 2] {
        let mut flipped = packed.clone();
        flipped[at] ^= 0x20;
        let result = unpack(&flipped).1;
        assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{at}: {result:?}");
    }
}

#[test]
fn what_follows_a_compressed_layer_is_corrupt() {
    let plain = archive();
    for packed in [gzip(&plain), zstd(&plain)] {
        for trailing in [&b"garbage behind it"[..], &[0], &[0; 512]] {
            let result = unpack(&[&packed, trailing].concat()).1;
            assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{trailing:?}: {result:?}");
        }
    }
}

#[test]
fn what_is_no_archive_is_corrupt() {
    let page = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>".repeat(20);
    for data in [&page[..], b"x", &[0xff; 2000], &gzip(&page), &zstd(&page)] {
        let result = unpack(data).1;
        assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{result:?}");
    }
    // One empty block is no end.
    let mut split = Tar::default().file("a", "");
    split.0.extend([0; 512]);
    let result = unpack(&split.file("b", "").end()).1;
    assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{result:?}");
}

#[test]
fn other_forms_are_named() {
    for (data, name) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"\xfd7zXZ\0\0\x04", "xz")] {
        let refused = refused(data);
        assert!(matches!(&refused, UnpackError::Unsupported(why) if why.contains(name)));
    }
}

/// 128 MiB is the most that a frame may have us remember.
#[test]
fn a_window_has_a_bound() {
    let frame = |exponent: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 1, 0, 0];
    assert!(unpack(&frame(17)).1.is_ok());
    let result = unpack(&frame(18)).1;
    assert!(matches!(result, Err(UnpackError::Corrupt(_))), "{result:?}");
}
