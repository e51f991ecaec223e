//! The archive as it comes out of decompression: counted against its cap, hashed, and handed on in
//! pieces.
//!
//! Decompressing takes a thread of its own, since it costs about as much as everything else
//! together. The pieces go round between the two, so the memory is the same for any layer.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use sha2::{Digest, Sha256};

use super::{UnpackError, decompress};
use crate::registry::LayerId;

/// Small enough to stay in the processor's own memory between hashing and writing.
const PIECE: usize = 256 << 10;
/// So many pieces wait at most.
const AHEAD: usize = 4;

/// One archive, read once.
pub(super) struct Stream {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    /// How much of the piece is used up.
    used: usize,
    ended: bool,
    hash: Sha256,
    bytes: u64,
    most: u64,
}

enum Message {
    Piece(Vec<u8>),
    End,
    Broken(UnpackError),
}

impl Stream {
    /// Starts to decompress `source`, of which no more than `most` bytes may come out.
    ///
    /// # Errors
    /// [`UnpackError::Failed`] without a second thread.
    pub(super) fn start(
        source: impl Read + Send + 'static,
        most: u64,
    ) -> Result<Self, UnpackError> {
        let (full_in, full) = sync_channel(AHEAD);
        let (empty, empty_out) = channel();
        let work = move || {
            let end = match pump(source, &full_in, &empty_out) {
                Ok(()) => Message::End,
                Err(e) => Message::Broken(e),
            };
            // Nobody listens any more where the archive has been found bad.
            let _ = full_in.send(end);
        };
        thread::Builder::new()
            .spawn(work)
            .map_err(|e| UnpackError::Failed(format!("starting a thread: {e}")))?;
        let (piece, hash) = (Vec::new(), Sha256::new());
        Ok(Self { full, empty, piece, used: 0, ended: false, hash, bytes: 0, most })
    }

    /// The most that may come out.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// What comes next, as much as is there; empty at the end.
    fn rest(&mut self) -> Result<&[u8], UnpackError> {
        if self.used == self.piece.len() && !self.ended {
            self.next_piece()?;
        }
        Ok(&self.piece[self.used..])
    }

    fn next_piece(&mut self) -> Result<(), UnpackError> {
        let _ = self.empty.send(std::mem::take(&mut self.piece));
        self.used = 0;
        match self.full.recv() {
            Ok(Message::Piece(piece)) => {
                self.bytes += piece.len() as u64;
                if self.bytes > self.most {
                    return Err(UnpackError::TooLarge(format!(
                        "it holds more than {} bytes, uncompressed",
                        self.most
                    )));
                }
                self.hash.update(&piece);
                self.piece = piece;
            }
            Ok(Message::End) => self.ended = true,
            Ok(Message::Broken(e)) => return Err(e),
            Err(_) => return Err(UnpackError::Failed("decompression ended unasked".into())),
        }
        Ok(())
    }

    /// Hands exactly `bytes` to `take`, in pieces.
    ///
    /// # Errors
    /// [`UnpackError::Corrupt`] where there is less, and what `take` says.
    pub(super) fn pass(
        &mut self,
        mut bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        while bytes > 0 {
            let rest = self.rest()?;
            if rest.is_empty() {
                return Err(cut());
            }
            let now = rest.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            take(&rest[..now])?;
            self.used += now;
            bytes -= now as u64;
        }
        Ok(())
    }

    /// Fills `block`, or says `false` where the archive ends in front of it.
    ///
    /// # Errors
    /// [`UnpackError::Corrupt`] where it ends within.
    pub(super) fn fill(&mut self, block: &mut [u8]) -> Result<bool, UnpackError> {
        if self.rest()?.is_empty() {
            return Ok(false);
        }
        let mut filled = 0;
        self.pass(block.len() as u64, |piece| {
            block[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
            Ok(())
        })?;
        Ok(true)
    }

    /// Reads what is left, which belongs to the layer's identity, and says what that is.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub(super) fn drain(mut self) -> Result<LayerId, UnpackError> {
        while !self.rest()?.is_empty() {
            self.used = self.piece.len();
        }
        Ok(LayerId(self.hash.finalize().into()))
    }
}

fn cut() -> UnpackError {
    UnpackError::Corrupt("it ends in the middle of an entry".into())
}

/// Decompresses until the end or until nobody wants more.
fn pump(
    source: impl Read + 'static,
    full: &SyncSender<Message>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), UnpackError> {
    let mut archive = decompress::archive(source)?;
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let read = read_full(&mut archive, &mut piece);
        let read = read.map_err(|e| UnpackError::Corrupt(e.to_string()))?;
        piece.truncate(read);
        if read == 0 || full.send(Message::Piece(piece)).is_err() {
            return Ok(());
        }
    }
}

/// As much as there is, up to all of `into`.
fn read_full(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match source.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
