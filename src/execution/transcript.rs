//! A script's output in the order it was written, so that it can be followed and replayed.

use super::output::Captured;

/// One of a script's two streams of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Both streams, and which came when. What it holds is bounded by the output limit: a turn takes no
/// more bytes than the output in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    turns: Turns,
    /// The first bytes of a character whose rest is still to come, of each stream.
    begun: [Vec<u8>; 2],
}

/// How many bytes came of one stream, then of the other, and so on, stdout first: numbers in the
/// form of LEB128, all but the last, which still grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    ended: Vec<u8>,
    /// The stream of the last one, and its bytes.
    last: (bool, u64),
}

/// Output of one stream without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub stream: Stream,
    /// Bytes of this stream before it.
    pub offset: u64,
    pub bytes: &'a [u8],
}

/// How far a reader has come: bytes of both streams.
pub type Position = u64;

/// Where a reader is among the turns, so that nothing is searched from the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    /// Of the turn it is in: where it begins among the encoded, and whose it is.
    turn: usize,
    of_stderr: bool,
    /// Bytes of this turn that are read, and of each stream.
    within: u64,
    read: [u64; 2],
}

impl Cursor {
    /// How far it has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.read[0] + self.read[1]
    }
}

impl Transcript {
    /// Adds output. The end of it that is the beginning of a character waits for the rest, so that
    /// no piece of a text ends within one.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let begun = &mut self.begun[stream as usize];
        let joined;
        let bytes = if begun.is_empty() {
            bytes
        } else {
            begun.extend_from_slice(bytes);
            joined = std::mem::take(begun);
            &joined
        };
        let (whole, rest) = bytes.split_at(bytes.len() - unfinished(bytes));
        self.begun[stream as usize] = rest.to_vec();
        self.append(stream, whole);
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.begun[stream as usize]);
            self.append(stream, &rest);
        }
    }

    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
        self.turns.push(stream == Stream::Stderr, bytes.len() as u64);
    }

    /// All of it so far.
    #[must_use]
    pub fn position(&self) -> Position {
        (self.stdout.len() + self.stderr.len()) as Position
    }

    /// A reader who has that much already; one who says that he has more than there is has all.
    #[must_use]
    pub fn cursor(&self, position: Position) -> Cursor {
        let mut cursor = Cursor::default();
        let mut left = position;
        while left > 0 {
            let Some(piece) = self.next(&mut cursor, usize::try_from(left).unwrap_or(usize::MAX))
            else {
                break;
            };
            left -= piece.bytes.len() as u64;
        }
        cursor
    }

    /// The next piece, of at most so many bytes; `None` when there is no more yet. It ends within a
    /// character only where `most` leaves no room for one.
    pub fn next(&self, cursor: &mut Cursor, most: usize) -> Option<Piece<'_>> {
        loop {
            let (len, next) = self.turns.at(cursor.turn)?;
            if cursor.within == len {
                // The last turn may still grow.
                cursor.turn = next?;
                cursor.within = 0;
                cursor.of_stderr = !cursor.of_stderr;
                continue;
            }
            let stream = if cursor.of_stderr { Stream::Stderr } else { Stream::Stdout };
            let offset = cursor.read[stream as usize];
            let all = match stream {
                Stream::Stdout => &self.stdout,
                Stream::Stderr => &self.stderr,
            };
            let start = usize::try_from(offset).ok()?;
            let left = usize::try_from(len - cursor.within).ok()?;
            let mut bytes = all.get(start..start + left)?;
            if bytes.len() > most {
                bytes = &bytes[..most];
                let cut = bytes.len() - unfinished(bytes);
                bytes = if cut > 0 { &bytes[..cut] } else { bytes };
            }
            cursor.within += bytes.len() as u64;
            cursor.read[stream as usize] += bytes.len() as u64;
            return Some(Piece { stream, offset, bytes });
        }
    }

    /// The turns in a form that can be kept beside the output; see [`Transcript::restore`].
    #[must_use]
    pub fn turns(&self) -> Vec<u8> {
        let mut turns = self.turns.clone();
        turns.close();
        turns.ended
    }

    /// A transcript that has ended, from its output and its turns. Where these do not fit each
    /// other, all of stdout comes first.
    #[must_use]
    pub fn restore(stdout: &Captured, stderr: &Captured, turns: Vec<u8>) -> Self {
        let (stdout, stderr) = (stdout.bytes.clone(), stderr.bytes.clone());
        let sizes = [stdout.len() as u64, stderr.len() as u64];
        let turns = Turns::read(turns).filter(|turns| turns.sizes() == sizes);
        let turns = turns.unwrap_or_else(|| {
            let mut turns = Turns::default();
            turns.push(false, sizes[0]);
            turns.push(true, sizes[1]);
            turns
        });
        Self { stdout, stderr, turns, begun: [Vec::new(), Vec::new()] }
    }
}

impl Turns {
    fn push(&mut self, of_stderr: bool, len: u64) {
        if len == 0 {
            return;
        }
        if self.last.0 != of_stderr {
            self.close();
            self.last = (of_stderr, 0);
        }
        self.last.1 += len;
    }

    /// Writes the last turn down.
    fn close(&mut self) {
        let mut len = std::mem::take(&mut self.last.1);
        self.last.0 = !self.last.0;
        while len >= 0x80 {
            self.ended.push(len as u8 | 0x80);
            len >>= 7;
        }
        self.ended.push(len as u8);
    }

    /// The length of the turn that begins there, and where the next one begins, if there is one.
    fn at(&self, start: usize) -> Option<(u64, Option<usize>)> {
        if start == self.ended.len() {
            return Some((self.last.1, None));
        }
        let (mut len, mut shift) = (0_u64, 0);
        for (i, byte) in self.ended.get(start..)?.iter().enumerate() {
            len |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((len, Some(start + i + 1)));
            }
        }
        None
    }

    /// `None` for what can't have been written by [`Turns::close`].
    fn read(ended: Vec<u8>) -> Option<Self> {
        let mut turns = Self { ended, last: (false, 0) };
        let mut start = 0;
        while let (_, Some(next)) = turns.at(start)? {
            start = next;
            turns.last.0 = !turns.last.0;
        }
        Some(turns)
    }

    /// Bytes of each stream.
    fn sizes(&self) -> [u64; 2] {
        let (mut sizes, mut start, mut stream) = ([0_u64; 2], Some(0), 0);
        while let Some((len, next)) = start.and_then(|start| self.at(start)) {
            sizes[stream] = sizes[stream].saturating_add(len);
            (start, stream) = (next, 1 - stream);
        }
        sizes
    }
}

/// Bytes at the end that begin a character without ending it: at most three (RFC 3629).
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(back) = tail.iter().rev().position(|byte| byte & 0xc0 != 0x80) else { return 0 };
    let last = &tail[tail.len() - 1 - back..];
    match str::from_utf8(last) {
        Err(e) if e.valid_up_to() == 0 && e.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"", 0)]
    #[case(b"a", 0)]
    #[case("\u{e9}".as_bytes(), 0)]
    #[case(b"a\xc3", 1)]
    #[case(b"\xf0\x9f\xa6", 3)]
    #[case(b"\xe2\x82", 2)]
    #[case("\u{1f980}".as_bytes(), 0)]
    // What can't become a character does not wait for anything.
    #[case(b"\xff", 0)]
    #[case(b"\xc0", 0)]
    #[case(b"\x80\x80\x80", 0)]
    #[case(b"\xe0\x80", 0)]
    fn only_a_character_that_can_still_end_waits(#[case] bytes: &[u8], #[case] waits: usize) {
        assert_eq!(unfinished(bytes), waits);
    }

    fn pieces(transcript: &Transcript, from: Position, most: usize) -> Vec<(Stream, u64, Vec<u8>)> {
        let mut cursor = transcript.cursor(from);
        std::iter::from_fn(|| transcript.next(&mut cursor, most))
            .map(|piece| (piece.stream, piece.offset, piece.bytes.to_vec()))
            .collect()
    }

    #[test]
    fn output_comes_in_the_order_it_was_written() {
        use Stream::{Stderr, Stdout};
        let mut transcript = Transcript::default();
        transcript.push(Stderr, b"e");
        let mut cursor = transcript.cursor(0);
        let piece = transcript.next(&mut cursor, 99).unwrap();
        assert_eq!(piece, Piece { stream: Stderr, offset: 0, bytes: b"e" });
        assert_eq!(transcript.next(&mut cursor, 99), None);
        transcript.push(Stderr, b"r");
        transcript.push(Stdout, b"out\xc3");
        transcript.push(Stderr, b"r");
        transcript.push(Stdout, b"\xa9!");
        let rest: Vec<_> = std::iter::from_fn(|| transcript.next(&mut cursor, 99))
            .map(|piece| (piece.stream, piece.offset, piece.bytes))
            .collect();
        assert_eq!(
            rest,
            [
                (Stderr, 1, &b"r"[..]),
                (Stdout, 0, b"out"),
                (Stderr, 2, b"r"),
                (Stdout, 3, "\u{e9}!".as_bytes())
            ]
        );
        assert_eq!(pieces(&transcript, 5, 99), rest[2..].iter().map(owned).collect::<Vec<_>>());
        assert_eq!(pieces(&transcript, 99, 99), []);
    }

    fn owned((stream, offset, bytes): &(Stream, u64, &[u8])) -> (Stream, u64, Vec<u8>) {
        (*stream, *offset, bytes.to_vec())
    }
}
