//! From where an archive is to a file whose every part can be read at once.

use std::fs::File;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, open as open_path};
use ruzstd::decoding::StreamingDecoder;

use super::archive::Archive;
use super::{ImportSource, broken, failed, unusable};
use crate::registry::ImageError;
use crate::registry::store::work::Work;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PIECE: usize = 256 << 10;

/// Opens what is to be imported; what comes through a pipe or is compressed is written down in the
/// work, up to so many bytes.
pub(super) fn open(source: ImportSource, work: &Work, most: u64) -> Result<Archive, ImageError> {
    let unreadable = |e: io::Error| unusable(format_args!("it can't be read: {e}"));
    match source {
        ImportSource::Directory(path) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = open_path(&path, flags, Mode::empty());
            Ok(Archive::Folder(folder.map_err(|e| unreadable(e.into()))?))
        }
        ImportSource::Stdin => Archive::tar(write_down(io::stdin().lock(), work, most)?),
        ImportSource::File(path) => {
            let mut file = File::open(path).map_err(unreadable)?;
            let regular = file.metadata().map_err(unreadable)?.is_file();
            if !regular {
                return Archive::tar(write_down(file, work, most)?);
            }
            let start = beginning(&mut file).map_err(unreadable)?;
            io::Seek::rewind(&mut file).map_err(unreadable)?;
            match start.starts_with(GZIP) || start.starts_with(ZSTD) {
                true => Archive::tar(write_down(file, work, most)?),
                false => Archive::tar(file),
            }
        }
    }
}

/// The first bytes, as many as say what it is.
fn beginning(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(ZSTD.len() as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Writes an archive down, decompressed.
pub(super) fn write_down(mut from: impl Read, work: &Work, most: u64) -> Result<File, ImageError> {
    let reading = |e: io::Error| broken(format_args!("it can't be read: {e}"));
    let start = beginning(&mut from).map_err(reading)?;
    let whole = io::Cursor::new(start.clone()).chain(from);
    let mut archive: Box<dyn Read + '_> = if start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(whole))
    } else if start.starts_with(ZSTD) {
        let decoder = StreamingDecoder::new(whole);
        Box::new(decoder.map_err(|e| broken(format_args!("it can't be decompressed: {e}")))?)
    } else {
        Box::new(whole)
    };
    let mut to = work.file("archive").map_err(failed::at("writing the archive down"))?;
    let (mut piece, mut written) = (vec![0; PIECE], 0_u64);
    loop {
        let length = archive.read(&mut piece).map_err(reading)?;
        let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
            return Ok(to);
        };
        written += length as u64;
        if written > most {
            return Err(unusable(format_args!("it has more than {most} bytes")));
        }
        to.write_all(piece).map_err(failed::at("writing the archive down"))?;
    }
}
