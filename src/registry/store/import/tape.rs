//! Which file is where in a tar archive, without unpacking it.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;
const MAX_ENTRIES: usize = 50_000;
/// A name or its extended form; archives of images need a fraction of that.
const MAX_NAME: u64 = 64 << 10;
/// Links that lead to links.
const MAX_HOPS: usize = 8;

/// The files of an archive, by their names in it.
#[derive(Debug, Default)]
pub(super) struct Tape(HashMap<String, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File(Extent),
    /// The name of another.
    Link(String),
}

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What extension headers say of the entry that follows.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Tape {
    /// Reads all headers.
    ///
    /// # Errors
    /// `InvalidData` with what is wrong.
    pub(super) fn read(mut file: impl Read + Seek) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let (mut entries, mut extension, mut at) = (HashMap::new(), Extension::default(), 0_u64);
        let mut count = 0;
        while let Some(header) = header(&mut file, at, length)? {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(wrong(format_args!("it has more than {MAX_ENTRIES} entries")));
            }
            let offset = at + BLOCK as u64;
            let kind = header.entry_type();
            let plain = !is_extension(kind);
            let own = header.entry_size().map_err(|_| wrong("a size in it is no number"))?;
            let size = extension.size.filter(|_| plain).unwrap_or(own);
            let padded = size.checked_next_multiple_of(BLOCK as u64);
            let end = padded.and_then(|padded| offset.checked_add(padded));
            // Some writers leave the last padding out.
            let inside = offset.checked_add(size).is_some_and(|end| end <= length);
            let Some(end) = end.filter(|_| inside) else {
                return Err(wrong("an entry is longer than the archive"));
            };
            match kind {
                EntryType::GNULongName => extension.name = Some(long(&mut file, offset, size)?),
                EntryType::GNULongLink => extension.link = Some(long(&mut file, offset, size)?),
                EntryType::XHeader => extension.pax(&bytes(&mut file, offset, size)?)?,
                EntryType::XGlobalHeader => {}
                EntryType::GNUSparse => return Err(wrong("a file in it has holes")),
                _ => {
                    let extension = std::mem::take(&mut extension);
                    let name = extension.name.unwrap_or_else(|| lossy(&header.path_bytes()));
                    let link = || {
                        extension.link.or_else(|| header.link_name_bytes().as_deref().map(lossy))
                    };
                    let Some(name) = beneath("", &name) else {
                        at = end;
                        continue;
                    };
                    let entry = match kind {
                        EntryType::Regular | EntryType::Continuous => {
                            Some(Entry::File(Extent { offset, size }))
                        }
                        EntryType::Link => link().and_then(|to| beneath("", &to)).map(Entry::Link),
                        EntryType::Symlink => {
                            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                            link().and_then(|to| beneath(folder, &to)).map(Entry::Link)
                        }
                        _ => None,
                    };
                    if let Some(entry) = entry {
                        entries.insert(name, entry);
                    }
                }
            }
            at = end;
        }
        if count == 0 {
            return Err(wrong("it is empty"));
        }
        Ok(Self(entries))
    }

    /// The file of this name, behind links where there are some.
    pub(super) fn find(&self, name: &str) -> Option<Extent> {
        let mut name = beneath("", name)?;
        for _ in 0..MAX_HOPS {
            match self.0.get(&name)? {
                Entry::File(extent) => return Some(*extent),
                Entry::Link(to) => name.clone_from(to),
            }
        }
        None
    }
}

impl Extension {
    fn pax(&mut self, text: &[u8]) -> io::Result<()> {
        for record in PaxExtensions::new(text) {
            let record = record.map_err(|_| wrong("an extended header can't be read"))?;
            let value = lossy(record.value_bytes());
            match record.key_bytes() {
                b"path" => self.name = Some(value),
                b"linkpath" => self.link = Some(value),
                b"size" => {
                    let size = value.parse();
                    self.size = Some(size.map_err(|_| wrong("a size in it is no number"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(wrong("a file in it has holes"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The next header; `None` at the archive's end.
fn header(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<Header>> {
    if at >= length {
        return Ok(None);
    }
    let mut header = Header::new_old();
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(header.as_mut_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it ends in the middle"),
        _ => e,
    })?;
    let block = header.as_bytes();
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (before, after) = (&block[..148], &block[156..]);
    let sum: u32 = before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    if !header.cksum().is_ok_and(|said| said == sum) {
        return Err(wrong("it is no tar archive, or a header in it is damaged"));
    }
    Ok(Some(header))
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
    )
}

fn bytes(file: &mut (impl Read + Seek), offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > MAX_NAME {
        return Err(wrong("a name in it is too long"));
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(size).read_to_end(&mut text)?;
    Ok(text)
}

fn long(file: &mut (impl Read + Seek), offset: u64, size: u64) -> io::Result<String> {
    let text = bytes(file, offset, size)?;
    Ok(lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// A name within the archive, seen from one of its folders; `None` where it leads out.
fn beneath(folder: &str, name: &str) -> Option<String> {
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn wrong(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
