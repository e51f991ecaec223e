//! The one archive form the daemon takes and gives files in: a tar of a single file.

pub(super) const BLOCK: usize = 512;

/// A regular file in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) mode: u32,
    pub(super) content: &'a [u8],
}

/// A ustar archive (POSIX.1-1988) of one regular file that belongs to root. `name` is shorter than
/// 100 bytes.
pub(super) fn pack(name: &str, entry: Entry<'_>) -> Vec<u8> {
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, &format!("{:07o}", entry.mode));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", entry.content.len()));
    put(136, "00000000000");
    // The checksum counts its own field as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());

    let padded = entry.content.len().next_multiple_of(BLOCK);
    let mut archive = Vec::with_capacity(BLOCK + padded + 2 * BLOCK);
    archive.extend_from_slice(&header);
    archive.extend_from_slice(entry.content);
    archive.resize(BLOCK + padded + 2 * BLOCK, 0);
    archive
}

/// The first regular file of an archive, extended headers skipped; `None` when there is none or
/// the archive is cut short.
pub(super) fn unpack(archive: &[u8]) -> Option<Entry<'_>> {
    let mut rest = archive;
    loop {
        let (header, body) = rest.split_first_chunk::<BLOCK>()?;
        let size = usize::try_from(octal(&header[124..136])?).ok()?;
        let content = body.get(..size)?;
        match header[156] {
            b'0' | 0 => {
                let mode = u32::try_from(octal(&header[100..108])?).ok()?;
                return Some(Entry { mode: mode & 0o7777, content });
            }
            b'x' | b'g' => rest = body.get(size.checked_next_multiple_of(BLOCK)?..)?,
            _ => return None,
        }
    }
}

/// Whether the first entry of an archive is a folder; `None` when not even that is there.
pub(super) fn begins_with_folder(archive: &[u8]) -> Option<bool> {
    archive.first_chunk::<BLOCK>().map(|header| header[156] == b'5')
}

/// A NUL- or space-terminated octal number.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'static> = Entry { mode: 0o755, content: b"#!guest" };

    #[test]
    fn what_was_packed_is_unpacked() {
        for len in [0, 1, 511, 512, 513, 5000] {
            let content = vec![7; len];
            let entry = Entry { mode: 0o755, content: &content };
            let archive = pack("guest", entry);
            assert_eq!(archive.len() % BLOCK, 0);
            assert_eq!(unpack(&archive), Some(entry), "{len} bytes");
        }
    }

    #[test]
    fn the_header_is_what_tar_writes() {
        let archive = pack("guest", ENTRY);
        let field = |at: usize, len: usize| String::from_utf8_lossy(&archive[at..at + len]);
        assert_eq!(field(0, 6), "guest\0");
        assert_eq!(field(100, 8), "0000755\0");
        assert_eq!(field(124, 12), "00000000007\0");
        assert_eq!(field(257, 8), "ustar\x0000");
        let sum = octal(&archive[148..156]).unwrap();
        let blanked: u64 = (0..BLOCK)
            .map(|at| u64::from(if (148..156).contains(&at) { b' ' } else { archive[at] }))
            .sum();
        assert_eq!(sum, blanked);
    }

    #[test]
    fn extended_headers_are_skipped() {
        let mut extended = pack("PaxHeader", Entry { mode: 0o644, content: b"12 mtime=1.5\n" });
        extended.truncate(2 * BLOCK);
        extended[156] = b'x';
        extended.extend(pack("guest", ENTRY));
        assert_eq!(unpack(&extended), Some(ENTRY));
    }

    #[test]
    fn a_cut_or_foreign_archive_holds_nothing() {
        let whole = pack("guest", Entry { mode: 0o755, content: &[7; 600] });
        assert_eq!(unpack(&whole[..1000]), None);
        assert_eq!(unpack(&whole[..100]), None);
        assert_eq!(unpack(&[]), None);
        let mut directory = whole;
        directory[156] = b'5';
        assert_eq!(unpack(&directory), None);
    }
}
