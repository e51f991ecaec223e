//! The head of a request: the same verdict however it is cut, and none that two readers would take
//! for different ones. The first byte says how it is cut.

use crate::api::Code;
use crate::api::connection::head::Head;

pub fn check(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    for length in [1, 2, usize::from(*cut).max(1)] {
        assert_eq!(read(stream, length), whole, "{length} bytes at a time");
    }
    assert_eq!(whole, plain(stream));
}

fn read(stream: &[u8], length: usize) -> Result<(), Code> {
    let mut head = Head::default();
    stream.chunks(length).try_for_each(|piece| head.read(piece))
}

/// The plain rule: up to its empty line, a head's lines end in both bytes, and there are no more
/// bytes than it may have.
fn plain(stream: &[u8]) -> Result<(), Code> {
    let (mut bytes, mut begun) = (0, false);
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        bytes += line.len();
        if bytes > 60 * 1024 {
            return Err(Code::HeadersTooLarge);
        }
        let Some(line) = line.strip_suffix(b"\n") else { break };
        if !line.ends_with(b"\r") {
            return Err(Code::MalformedRequest);
        }
        let empty = line.iter().all(|byte| *byte == b'\r');
        if begun && empty {
            break;
        }
        begun |= !empty;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let lines = prop_oneof![
            "GET / HTTP/1\\.1\r\n",
            "Host: a\r\n",
            "[a-z:]{0,5}(\r\n|\n|\r|\r\r\n)",
            "(\r\n){1,3}",
        ];
        let heads = (any::<u8>(), prop::collection::vec(lines, 0..8))
            .prop_map(|(cut, lines)| [&[cut][..], lines.concat().as_bytes()].concat());
        twin::run("head", 1000, heads, super::check);
    }
}
