//! Files with holes, in GNU tar's own form: a map of what is there, then only that.

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::UnpackError;
use super::archive::{Extents, corrupt};
use super::stream::Stream;

/// A map of 64 Ki extents already takes 1.5 MiB of the archive.
const MOST_EXTENTS: usize = 64 << 10;

/// Reads the map of a file of which `stored` bytes are in the archive.
pub(super) fn read(
    header: &Header,
    stored: u64,
    stream: &mut Stream,
) -> Result<Extents, UnpackError> {
    let malformed = || corrupt("a sparse file's map is malformed");
    let gnu = header.as_gnu().ok_or_else(malformed)?;
    let size = gnu.real_size().map_err(|_| malformed())?;
    if size > stream.most() {
        let why = format!("a sparse file has {size} bytes; {} are allowed", stream.most());
        return Err(UnpackError::TooLarge(why));
    }
    let mut map = Map { list: Vec::new(), end: 0, stored: 0 };
    map.add(&gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        if !stream.fill(block.as_mut_bytes())? {
            return Err(malformed());
        }
        map.add(&block.sparse)?;
        more = block.is_extended();
    }
    if map.end > size || map.stored != stored {
        return Err(malformed());
    }
    Ok(Extents { list: map.list, size })
}

struct Map {
    list: Vec<(u64, u64)>,
    /// Where the last extent ends, and how much all of them hold.
    end: u64,
    stored: u64,
}

impl Map {
    fn add(&mut self, extents: &[GnuSparseHeader]) -> Result<(), UnpackError> {
        for extent in extents.iter().filter(|extent| !extent.is_empty()) {
            let next = || {
                let (offset, length) = (extent.offset().ok()?, extent.length().ok()?);
                let end = offset.checked_add(length)?;
                (offset >= self.end).then_some((offset, length, end))
            };
            let (offset, length, end) =
                next().ok_or_else(|| corrupt("a sparse file's map is malformed"))?;
            self.end = end;
            self.stored += length;
            // An empty one at the end says where that is, as the header does.
            if length > 0 {
                self.list.push((offset, length));
            }
        }
        if self.list.len() > MOST_EXTENTS {
            return Err(UnpackError::Unsupported("a sparse file has too many holes".into()));
        }
        Ok(())
    }
}
