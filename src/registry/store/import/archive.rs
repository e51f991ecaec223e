//! A file or a folder with images in it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::tape::Tape;
use super::{blocking, broken, failed};
use crate::registry::{ImageError, LayerId, quoted};

/// Read at a time.
const PIECE: u64 = 256 << 10;

/// What images are read from.
#[derive(Debug)]
pub(super) enum Archive {
    Tar { file: Arc<File>, tape: Tape },
    Folder(OwnedFd),
}

/// One file of it.
#[derive(Debug, Clone)]
pub(in crate::registry::store) struct Member {
    file: Arc<File>,
    offset: u64,
    pub(super) size: u64,
    /// What its bytes have to hash to, where that is known.
    digest: Option<String>,
}

impl Archive {
    /// An archive in a file.
    pub(super) fn tar(file: File) -> Result<Self, ImageError> {
        let tape = Tape::read(io::BufReader::new(&file)).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => broken(e),
            _ => failed::io("reading the archive", &e),
        })?;
        Ok(Self::Tar { file: Arc::new(file), tape })
    }

    /// The file of this name; `None` where there is none.
    pub(super) fn find(&self, name: &str) -> Result<Option<Member>, ImageError> {
        match self {
            Self::Tar { file, tape } => Ok(tape.find(name).map(|extent| Member {
                file: Arc::clone(file),
                offset: extent.offset,
                size: extent.size,
                digest: None,
            })),
            Self::Folder(folder) => {
                let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                // Nothing that would wait to be opened is a file.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let file = match openat2(folder, name, flags, Mode::empty(), within) {
                    Ok(file) => File::from(file),
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                    Err(e) => return Err(failed::io("reading the folder", &e.into())),
                };
                let found = file.metadata().map_err(failed::at("reading the folder"))?;
                if !found.is_file() {
                    return Err(broken(format_args!("{} in it is no file", quoted(name))));
                }
                let (file, size) = (Arc::new(file), found.len());
                Ok(Some(Member { file, offset: 0, size, digest: None }))
            }
        }
    }

    /// The file of this name.
    pub(super) fn need(&self, name: &str) -> Result<Member, ImageError> {
        self.find(name)?.ok_or_else(|| broken(format_args!("it lacks {}", quoted(name))))
    }
}

impl Member {
    /// The same, to be checked against a digest when it is read.
    pub(super) fn checked(self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self }
    }

    /// All of it.
    pub(super) fn read(&self, most: u64) -> Result<Vec<u8>, ImageError> {
        if self.size > most {
            return Err(broken(format_args!("a text in it has more than {most} bytes")));
        }
        let mut text = vec![0; usize::try_from(self.size).unwrap_or(0)];
        let read = self.file.read_exact_at(&mut text, self.offset);
        read.map_err(failed::at("reading the archive"))?;
        let found: [u8; 32] = Sha256::digest(&text).into();
        self.check(found)?;
        Ok(text)
    }

    /// All of it, as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, most: u64) -> Result<T, ImageError> {
        serde_json::from_slice(&self.read(most)?).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            broken(format_args!("line {line}, column {column} of its list is not as it has to be"))
        })
    }

    fn check(&self, found: [u8; 32]) -> Result<(), ImageError> {
        let found = format!("{:?}", LayerId(found));
        match &self.digest {
            Some(digest) if *digest != found => {
                Err(broken(format_args!("{} in it is not what its digest says", quoted(digest))))
            }
            _ => Ok(()),
        }
    }
}

/// A file on its way out of an archive.
pub(in crate::registry::store) struct Reading {
    member: Member,
    at: u64,
    hash: Sha256,
}

impl Reading {
    pub(in crate::registry::store) fn new(member: Member) -> Self {
        Self { member, at: 0, hash: Sha256::new() }
    }

    /// The next piece; `None` at the end, when the digest was right.
    pub(in crate::registry::store) async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        let left = self.member.size - self.at;
        if left == 0 {
            let hash = std::mem::take(&mut self.hash);
            self.member.check(hash.finalize().into())?;
            return Ok(None);
        }
        let (file, offset) = (Arc::clone(&self.member.file), self.member.offset + self.at);
        let length = left.min(PIECE);
        let piece = blocking(move || {
            let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
            let read = file.read_exact_at(&mut piece, offset);
            read.map(|()| piece).map_err(failed::at("reading the archive"))
        })
        .await?;
        if self.member.digest.is_some() {
            self.hash.update(&piece);
        }
        self.at += length;
        Ok(Some(piece.into()))
    }
}
