//! Walking through a tar archive, entry by entry.
//!
//! Headers are read by the `tar` crate. Its own iterator is not used: it takes extended headers of
//! any size into memory, and splits them at newlines, where an extended attribute could pass for a
//! path. What an archive means where its authors disagree is what it means to Docker (Go's
//! `archive/tar`).

use rustix::fs::Timespec;
use tar::{EntryType, Header};

use super::UnpackError;
use super::pax::Overrides;
use super::place::{Place, shown};
use super::sparse;
use super::stream::Stream;
use crate::registry::LayerId;

pub(super) const BLOCK: usize = 512;
/// Of an extended header: many times what any path needs.
const LONGEST_HEADER: u64 = 1 << 20;
/// Links lead as far as a path can be long.
const LONGEST_TARGET: usize = 4095;

/// An archive being read.
pub(super) struct Archive {
    stream: Stream,
    /// Of the current entry's content and the padding behind it, what is not read yet.
    content: u64,
    padding: u64,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// Permissions and sticky bit: set-uid and set-gid are left out here, for files and
    /// directories alike.
    pub(super) mode: u16,
    pub(super) mtime: Timespec,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Extents),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Place),
    Fifo,
    /// Which nobody gets here.
    Device,
}

/// Where a file's content goes: all in one, or with holes in between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extents {
    /// Offset and length in the file, in the archive's order, which is ascending.
    pub(super) list: Vec<(u64, u64)>,
    /// The file's length.
    pub(super) size: u64,
}

/// What extension entries have said about the entry to come.
#[derive(Default)]
struct Ahead {
    any: bool,
    pax: Overrides,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Archive {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, content: 0, padding: 0 }
    }

    /// The next entry, whose content is then to be had by [`Self::pass`]; `None` at the end.
    ///
    /// # Errors
    /// [`UnpackError::Corrupt`] for what is no archive, [`UnpackError::Unsupported`] for what this
    /// does not read, and what the stream says.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut ahead = Ahead::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if ahead.any {
                    Err(corrupt("it ends after an extended header"))
                } else {
                    Ok(None)
                };
            };
            let size = size(&header)?;
            match header.entry_type() {
                EntryType::XHeader => ahead.pax = Overrides::parse(&self.extension(size)?)?,
                EntryType::GNULongName => ahead.path = Some(terminated(self.extension(size)?)),
                EntryType::GNULongLink => ahead.link = Some(terminated(self.extension(size)?)),
                // About the archive as a whole, or its volume: nothing that matters here.
                other if other == EntryType::XGlobalHeader || other.as_byte() == b'V' => {
                    self.expect(size);
                    continue;
                }
                _ => return self.entry(&header, size, ahead).map(Some),
            }
            ahead.any = true;
        }
    }

    /// Hands the next `bytes` of the entry's content to `take`, in pieces.
    ///
    /// # Errors
    /// As [`Stream::pass`].
    pub(super) fn pass(
        &mut self,
        bytes: u64,
        take: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let left = self.content.checked_sub(bytes);
        self.content = left.ok_or_else(|| corrupt("an entry is shorter than it says"))?;
        self.stream.pass(bytes, take)
    }

    /// Reads what comes after the archive's end, and says what the whole is.
    ///
    /// # Errors
    /// What the stream says.
    pub(super) fn finish(self) -> Result<LayerId, UnpackError> {
        self.stream.drain()
    }

    fn entry(
        &mut self,
        header: &Header,
        size_here: u64,
        ahead: Ahead,
    ) -> Result<Entry, UnpackError> {
        let size = ahead.pax.size.unwrap_or(size_here);
        let path = ahead.path.or(ahead.pax.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = ahead.link.or(ahead.pax.link);
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let target =
            || link.filter(|link| !link.is_empty()).ok_or_else(|| corrupt("a link leads nowhere"));
        let place = Place::parse(&path)?;
        let kind = match header.entry_type() {
            // The oldest form has no other way to say it.
            EntryType::Regular if header.as_old().linkflag == [0] && path.ends_with(b"/") => {
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => {
                self.expect(size);
                Kind::File(Extents { list: vec![(0, size)], size })
            }
            EntryType::GNUSparse => {
                let extents = sparse::read(header, size, &mut self.stream)?;
                self.expect(size);
                Kind::File(extents)
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(symlink_target(target()?)?),
            EntryType::Link => Kind::HardLink(Place::parse(&target()?)?),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => Kind::Device,
            other => {
                let (kind, path) = (char::from(other.as_byte()), shown(&path));
                let why = format!("{path} is an entry of type {kind:?}, which is not known here");
                return Err(UnpackError::Unsupported(why));
            }
        };
        let mtime = match ahead.pax.mtime {
            Some(mtime) => mtime,
            None => Timespec { tv_sec: mtime(header)?, tv_nsec: 0 },
        };
        Ok(Entry { place, kind, mode: mode(header)?, mtime })
    }

    /// Says how much content comes next. Links, directories and the like have none, whatever their
    /// headers say.
    fn expect(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Goes on behind the current entry.
    fn skip(&mut self) -> Result<(), UnpackError> {
        let left = std::mem::take(&mut self.content);
        let padding = std::mem::take(&mut self.padding);
        self.stream.pass(left, |_| Ok(()))?;
        self.stream.pass(padding, |_| Ok(()))
    }

    /// The content of an extension entry.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > LONGEST_HEADER {
            let why = format!("an extended header has {size} bytes; {LONGEST_HEADER} are allowed");
            return Err(UnpackError::Unsupported(why));
        }
        self.expect(size);
        let mut content = Vec::new();
        self.pass(size, |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(content)
    }

    /// The next header; `None` at the end, which is two blocks of zeros or nothing at all.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        if !self.stream.fill(header.as_mut_bytes())? {
            return Ok(None);
        }
        if is_empty(header.as_bytes()) {
            let second = self.stream.fill(header.as_mut_bytes())?;
            return if second && !is_empty(header.as_bytes()) {
                Err(corrupt("something follows an empty header"))
            } else {
                Ok(None)
            };
        }
        let bytes = header.as_bytes();
        let others = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte));
        let sum = others.sum::<u32>() + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(corrupt("a header does not have its checksum; it is no tar archive"));
        }
        Ok(Some(header))
    }
}

pub(super) fn corrupt(why: &str) -> UnpackError {
    UnpackError::Corrupt(why.into())
}

fn is_empty(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Up to the first zero byte.
fn terminated(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

fn symlink_target(target: Vec<u8>) -> Result<Vec<u8>, UnpackError> {
    if target.len() > LONGEST_TARGET {
        let why = format!("a symbolic link to {} is too long", shown(&target));
        return Err(UnpackError::Unsupported(why));
    }
    Ok(target)
}

/// Fields that are left blank mean zero.
fn or_blank(field: &[u8], value: std::io::Result<u64>, what: &str) -> Result<u64, UnpackError> {
    match value {
        Ok(value) => Ok(value),
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        Err(_) => Err(corrupt(what)),
    }
}

fn size(header: &Header) -> Result<u64, UnpackError> {
    let what = "a header's size is no number";
    let size = or_blank(&header.as_old().size, header.entry_size(), what)?;
    if i64::try_from(size).is_err() { Err(corrupt(what)) } else { Ok(size) }
}

fn mode(header: &Header) -> Result<u16, UnpackError> {
    let what = "a header's mode is no number";
    let mode = or_blank(&header.as_old().mode, header.mode().map(u64::from), what)?;
    Ok((mode & 0o1777) as u16)
}

fn mtime(header: &Header) -> Result<i64, UnpackError> {
    let what = "a header's time is no number";
    let mtime = or_blank(&header.as_old().mtime, header.mtime(), what)?;
    // Times before 1970 are written in base 256, in two's complement.
    Ok(mtime.cast_signed())
}
