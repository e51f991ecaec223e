//! A script's output: whatever portions it comes in, what is kept is the first bytes up to the cap
//! and no others; a text stays one wherever it is cut; and a reader gets all of it once.

use super::Draw;
use crate::engine::Sink;
use crate::execution::output::{Captured, Output};
use crate::execution::transcript::{Position, Stream, Transcript};

pub fn check(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let (cap, most, from) = (draw.below(65_536), draw.below(200) + 1, draw.below(1000));
    // Small ones are what cuts.
    let cap = if draw.flag() { cap % 64 } else { cap };
    let turns = draw.piece(40).to_vec();
    let mut portions = Vec::new();
    while !draw.is_empty() {
        let stream = if draw.flag() { Stream::Stderr } else { Stream::Stdout };
        portions.push((stream, draw.piece(100)));
    }
    captured(&portions, cap);
    followed(&portions, most, from as Position);
    let stdout = Captured { bytes: b"out".to_vec(), total: 3 };
    let stderr = Captured { bytes: b"err".to_vec(), total: 3 };
    // Turns that do not fit are not believed.
    let kept = pieces(&Transcript::restore(&stdout, &stderr, turns), 0, 99);
    assert_eq!(of_each(&kept), [b"out".to_vec(), b"err".to_vec()]);
}

fn captured(portions: &[(Stream, &[u8])], cap: usize) {
    let mut output = Output::new(cap as u64, &());
    for (stream, bytes) in portions {
        match stream {
            Stream::Stdout => output.stdout(bytes),
            Stream::Stderr => output.stderr(bytes),
        }
    }
    for (stream, kept) in [(Stream::Stdout, output.stdout), (Stream::Stderr, output.stderr)] {
        let whole = whole(portions, stream);
        assert_eq!(kept.total, whole.len() as u64);
        assert_eq!(kept.bytes, whole[..whole.len().min(cap)], "the first bytes, exactly");
        assert_eq!(kept.truncated(), whole.len() > cap);
        // Once more under the same cap is the same.
        let mut again = Output::new(cap as u64, &());
        again.stdout(&kept.bytes);
        assert_eq!((&again.stdout.bytes, again.stdout.truncated()), (&kept.bytes, false));
        text(kept, &whole);
    }
}

/// Text where the bytes are UTF-8, and base64's bytes where they are not.
fn text(kept: Captured, whole: &[u8]) {
    let bytes = kept.bytes.clone();
    let truncated = kept.truncated();
    match kept.into_text() {
        Ok(text) => {
            assert!(bytes.starts_with(text.as_bytes()));
            // Only a character that the cap has cut in two is left out.
            let left_out = bytes.len() - text.len();
            assert!(left_out == 0 || truncated && left_out < 4);
        }
        Err(kept) => {
            assert_eq!(kept, bytes);
            assert!(str::from_utf8(&bytes).is_err());
            assert!(str::from_utf8(whole).is_err(), "a text is not one any more");
        }
    }
}

fn followed(portions: &[(Stream, &[u8])], most: usize, from: Position) {
    let mut transcript = Transcript::default();
    let mut cursor = transcript.cursor(0);
    let mut live = Vec::new();
    for (stream, bytes) in portions {
        transcript.push(*stream, bytes);
        while let Some(piece) = transcript.next(&mut cursor, most) {
            live.push((piece.stream, piece.offset, piece.bytes.to_vec()));
        }
    }
    transcript.end();
    live.extend(std::iter::from_fn(|| {
        transcript
            .next(&mut cursor, most)
            .map(|piece| (piece.stream, piece.offset, piece.bytes.to_vec()))
    }));
    let written = [whole(portions, Stream::Stdout), whole(portions, Stream::Stderr)];
    let all = pieces(&transcript, 0, most);
    for read in [&live, &all] {
        let mut offsets = [0, 0];
        for (stream, offset, bytes) in read {
            assert!(!bytes.is_empty() && bytes.len() <= most);
            assert_eq!(*offset, offsets[*stream as usize]);
            offsets[*stream as usize] += bytes.len() as u64;
            if most >= 4 && str::from_utf8(&written[*stream as usize]).is_ok() {
                assert!(str::from_utf8(bytes).is_ok(), "cut within a character");
            }
        }
        assert_eq!(of_each(read), written);
    }
    let whole = in_order(&all);
    assert_eq!(in_order(&live), whole, "the same to whoever reads at once");
    let behind = usize::try_from(from).unwrap().min(whole.len());
    assert_eq!(in_order(&pieces(&transcript, from, most)), whole[behind..]);
    let [stdout, stderr] = written.map(|bytes| Captured { total: bytes.len() as u64, bytes });
    let restored = Transcript::restore(&stdout, &stderr, transcript.turns());
    assert_eq!(in_order(&pieces(&restored, 0, most)), whole);
    assert!(transcript.turns().len() <= whole.len() + 2);
}

type Pieces = Vec<(Stream, u64, Vec<u8>)>;

fn pieces(transcript: &Transcript, from: Position, most: usize) -> Pieces {
    let mut cursor = transcript.cursor(from);
    std::iter::from_fn(|| transcript.next(&mut cursor, most))
        .map(|piece| (piece.stream, piece.offset, piece.bytes.to_vec()))
        .collect()
}

fn whole(portions: &[(Stream, &[u8])], of: Stream) -> Vec<u8> {
    let ours = portions.iter().filter(|(stream, _)| *stream == of);
    ours.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

fn of_each(pieces: &Pieces) -> [Vec<u8>; 2] {
    let mut each = [Vec::new(), Vec::new()];
    for (stream, _, bytes) in pieces {
        each[*stream as usize].extend_from_slice(bytes);
    }
    each
}

/// Each byte with its stream.
fn in_order(pieces: &Pieces) -> Vec<(u8, u8)> {
    pieces.iter().flat_map(|(stream, _, bytes)| bytes.iter().map(|b| (*stream as u8, *b))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let portion = prop_oneof![
            "\\PC{0,20}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            Just(b"\xf0\x9f".to_vec()),
            Just(b"\xa6\x80".to_vec()),
        ];
        let portions = prop::collection::vec((any::<u8>(), portion), 0..20);
        let likely = (any::<[u8; 6]>(), portions).prop_map(|(choices, portions)| {
            // No turns of one's own.
            let mut bytes = [&choices[..], &[0]].concat();
            for (stream, portion) in portions {
                let portion = &portion[..portion.len().min(100)];
                bytes.extend([stream, u8::try_from(portion.len()).unwrap()]);
                bytes.extend(portion);
            }
            bytes
        });
        twin::run("output", 1000, likely, super::check);
    }
}
