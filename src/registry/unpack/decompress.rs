//! From what a registry keeps to the archive: gzip, zstd, or neither.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::UnpackError;

const BUFFER: usize = 128 << 10;
/// How many bytes tell the forms apart.
const MAGIC: usize = 6;
/// What `zstd` itself takes without being asked to; it bounds this process's memory.
const MOST_WINDOW: u64 = 128 << 20;

/// The archive inside `source`, whatever form it has.
///
/// # Errors
/// [`UnpackError::Unsupported`] for a form that is known and not read here.
pub(super) fn archive(source: impl Read + 'static) -> Result<Box<dyn Read>, UnpackError> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let mut magic = Vec::with_capacity(MAGIC);
    let read = source.by_ref().take(MAGIC as u64).read_to_end(&mut magic);
    read.map_err(|e| UnpackError::Failed(format!("reading the layer: {e}")))?;
    let form = Form::of(&magic);
    let whole = Cursor::new(magic).chain(source);
    match form {
        Form::Plain => Ok(Box::new(whole)),
        Form::Gzip => Ok(Box::new(MultiGzDecoder::new(whole))),
        Form::Zstd => Ok(Box::new(Frames::new(whole))),
        Form::Other(name) => Err(UnpackError::Unsupported(format!(
            "it is compressed with {name}; build the image with gzip or zstd"
        ))),
    }
}

enum Form {
    Plain,
    Gzip,
    Zstd,
    Other(&'static str),
}

impl Form {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            // A frame, or one of those that readers skip (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Other("xz"),
            _ => Self::Plain,
        }
    }
}

/// Any number of zstd frames, one after the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        Self { source, decoder, within: false }
    }

    /// Enters the next frame; `false` where there is none.
    fn enter(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.source) {
            Ok(()) => self.within = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(e) => return Err(io::Error::other(e)),
        }
        Ok(true)
    }

    fn leave(&mut self) -> io::Result<()> {
        self.within = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(is)) if said != is => {
                Err(io::Error::other("a zstd frame does not have its checksum"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                if !self.enter()? {
                    return Ok(0);
                }
            } else if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            } else if self.decoder.is_finished() {
                self.leave()?;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
        }
    }
}
