//! What comes over the stream that a Docker daemon attaches to a container, its own frames around
//! the guest's: by the real client, from a socket, however it is cut. The first byte says how.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::join;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::yield_now;

use super::frames::{End, frames, listen};
use crate::engine::docker::daemon::Daemon;

pub fn check(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let (stdout, carried) = demultiplexed(stream);
    let plain = frames(&stdout, carried);
    for pieces in [usize::from(*cut).max(1), stream.len().max(1)] {
        assert_eq!(heard(stream, pieces), plain, "{pieces} bytes at a time");
    }
}

/// Standard output by the plain rule (Docker Engine API, "Stream format"), up to where it is broken.
fn demultiplexed(mut stream: &[u8]) -> (Vec<u8>, End) {
    let mut stdout = Vec::new();
    while let Some(head) = stream.first_chunk::<8>() {
        let [kind @ 0..=2, _, _, _, length @ ..] = *head else { return (stdout, End::Lost) };
        let length = u32::from_be_bytes(length) as usize;
        let Some(payload) = stream.get(8..8 + length) else {
            // The client holds a frame of which nothing but its head has come for none.
            return (stdout, if stream.len() == 8 { End::Whole } else { End::Lost });
        };
        match kind {
            1 => stdout.extend_from_slice(payload),
            2 => {}
            _ => return (stdout, End::Lost),
        }
        stream = &stream[8 + length..];
    }
    (stdout, if stream.is_empty() { End::Whole } else { End::Lost })
}

/// The same by a daemon that writes so many bytes at a time.
fn heard(stream: &[u8], pieces: usize) -> (Vec<String>, End) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    thread_local!(static FOLDER: TempDir = TempDir::new().unwrap());
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let socket = FOLDER.with(|folder| folder.path().join(number.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = runtime.block_on(async {
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            let head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
            connection.write_all(head).await.unwrap();
            for piece in stream.chunks(pieces) {
                // The service may have heard enough.
                if connection.write_all(piece).await.is_err() {
                    return;
                }
                yield_now().await;
            }
        };
        let attach = async {
            let daemon = Daemon::new(Some(&format!("unix://{}", socket.display()))).unwrap();
            listen(daemon.attach("container").await.unwrap()).await
        };
        join!(attach, serve).0
    });
    std::fs::remove_file(socket).unwrap();
    heard
}

#[cfg(test)]
mod tests {
    use oncebox_guest::wire::Report;
    use proptest::prelude::*;

    use super::super::Draw;
    use super::super::twin;

    /// Frames of a guest, in frames of a daemon whose ends have nothing to do with theirs.
    fn attached(choices: &[u8]) -> Vec<u8> {
        let mut draw = Draw::new(choices);
        let mut out = vec![draw.byte()];
        let mut stdout = Vec::new();
        for _ in 0..draw.below(6) {
            match draw.below(3) {
                0 => Report::Started.encode(&mut stdout),
                1 => Report::Stdout(draw.piece(20)).encode(&mut stdout),
                _ => Report::Done.encode(&mut stdout),
            }
        }
        let mut frame = |kind: u8, payload: &[u8]| {
            out.extend([kind, 0, 0, 0]);
            out.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            out.extend(payload);
        };
        let mut rest = &stdout[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(draw.below(rest.len()) + 1);
            if draw.flag() {
                frame(2, b"a warning");
            }
            frame(1, now);
            rest = later;
        }
        out
    }

    #[test]
    fn holds() {
        let choices = prop::collection::vec(any::<u8>(), 0..80);
        twin::run("stream", 100, choices.prop_map(|choices| attached(&choices)), super::check);
    }
}
