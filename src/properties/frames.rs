//! What guests and spawners say: bytes are a message, which says all that is in them, or an error;
//! and a stream of frames is the same however it is cut.

use futures_util::FutureExt;
use oncebox_guest::wire::{HEADER_LEN, MAX_REPORT, Order, Report, header};
use tokio::io::{AsyncWriteExt, duplex, sink};

use crate::engine::native::protocol::{Reply, Request};
use crate::engine::{Channel, EngineError};

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Between two frames.
    Whole,
    /// Within one, or by what carries it.
    Lost,
    /// By a frame that is none.
    Malformed,
}

pub fn check(bytes: &[u8]) {
    if let Some((kind, payload)) = bytes.split_first() {
        order(*kind, payload);
        report(*kind, payload);
    }
    packet(bytes);
    let plain = frames(bytes, End::Whole);
    for room in [1, 7, 4096] {
        assert_eq!(heard(bytes, room), plain, "{room} bytes at a time");
    }
}

fn order(kind: u8, payload: &[u8]) {
    let Ok(order) = Order::decode(kind, payload) else { return };
    let mut frame = Vec::new();
    order.encode(&mut frame);
    // There is one way to write each, so nothing in the bytes has been passed over.
    assert_eq!((frame[0], &frame[HEADER_LEN..]), (kind, payload), "{order:?}");
}

fn report(kind: u8, payload: &[u8]) {
    let Ok(report) = Report::decode(kind, payload) else { return };
    let mut frame = Vec::new();
    report.encode(&mut frame);
    assert_eq!((frame[0], &frame[HEADER_LEN..]), (kind, payload), "{report:?}");
}

fn packet(packet: &[u8]) {
    if let Ok(request) = Request::decode(packet) {
        assert_eq!(request.encode(), packet, "{request:?}");
    }
    if let Ok(reply) = Reply::decode(packet) {
        let written = reply.encode();
        assert!(written.len() <= packet.len().max(4096));
        assert!(Reply::decode(&written).is_ok(), "{reply:?}");
    }
}

/// The frames in `stream` by the plain rule, and how it ends where what carries it ends so.
pub fn frames(mut stream: &[u8], carried: End) -> (Vec<String>, End) {
    let mut reports = Vec::new();
    while let Some(head) = stream.first_chunk::<HEADER_LEN>() {
        let Ok((kind, length)) = header(*head, MAX_REPORT) else {
            return (reports, End::Malformed);
        };
        let Some(payload) = stream.get(HEADER_LEN..HEADER_LEN + length) else { break };
        match Report::decode(kind, payload) {
            Ok(report) => reports.push(format!("{report:?}")),
            Err(_) => return (reports, End::Malformed),
        }
        stream = &stream[HEADER_LEN + length..];
    }
    match carried {
        End::Whole if !stream.is_empty() => (reports, End::Lost),
        carried => (reports, carried),
    }
}

/// All that a channel says.
pub async fn listen(mut channel: Channel) -> (Vec<String>, End) {
    let mut reports = Vec::new();
    loop {
        // Given up once before it is waited for: no byte may be lost by that.
        let early =
            channel.next().now_or_never().map(|next| next.map(|one| one.map(|r| format!("{r:?}"))));
        let next = match early {
            Some(next) => next,
            None => channel.next().await.map(|one| one.map(|report| format!("{report:?}"))),
        };
        match next {
            Ok(Some(report)) => reports.push(report),
            Ok(None) => return (reports, End::Whole),
            Err(EngineError::Protocol(_)) => return (reports, End::Malformed),
            Err(EngineError::Lost(_)) => return (reports, End::Lost),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The frames of a stream that carries `room` bytes at a time.
fn heard(stream: &[u8], room: usize) -> (Vec<String>, End) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut guest, service) = duplex(room);
        let speak = async move {
            // The service may have heard enough.
            let _ = guest.write_all(stream).await;
        };
        futures_util::join!(listen(Channel::new(service, sink())), speak).0
    })
}

#[cfg(test)]
mod tests {
    use oncebox_guest::wire::{
        Ended, Exit, Job, Order, Posture, Prestart, Report, SkipReason, Usage,
    };
    use proptest::prelude::*;

    use super::super::Draw;
    use super::super::twin;
    use crate::engine::native::protocol::{MakeLimits, Reply, Request, Root};
    use crate::registry::LayerId;

    /// One of every message, filled by choice, as [`super::check`] takes it.
    fn written(choices: &[u8]) -> Vec<u8> {
        let mut draw = Draw::new(choices);
        let mut out = Vec::new();
        let kind = draw.below(20);
        let list = |draw: &mut Draw<'_>| -> Vec<Vec<u8>> {
            (0..draw.below(4)).map(|_| draw.piece(8).to_vec()).collect()
        };
        let mut payload = |encoded: Vec<u8>| {
            out = encoded;
            // The kind, and the payload without its length.
            out.drain(1..5);
        };
        let encoded = |report: Report<'_>| {
            let mut frame = Vec::new();
            report.encode(&mut frame);
            frame
        };
        let ordered = |order: Order<'_>| {
            let mut frame = Vec::new();
            order.encode(&mut frame);
            frame
        };
        let usage = Usage {
            cpu_ns: draw.flag().then(|| draw.number()),
            tmp_full: draw.flag(),
            ..Usage::default()
        };
        let (id, errno) = (draw.number(), draw.byte().into());
        let limits = MakeLimits { memory: id, cpu_millis: 7, pids: 9, tmp: id };
        match kind {
            0 => payload(ordered(Order::Job(Job {
                argvs: vec![list(&mut draw), list(&mut draw)],
                env: list(&mut draw),
                outputs: list(&mut draw),
                output_cap: draw.number(),
                prestarted: draw.flag(),
                ..Job::default()
            }))),
            1 => payload(ordered(Order::Prestart(Prestart {
                argvs: vec![list(&mut draw)],
                env: list(&mut draw),
                entry: draw.piece(8).to_vec(),
            }))),
            2 => {
                let (executable, size) = (draw.flag(), draw.number());
                payload(ordered(Order::File { path: draw.piece(20), executable, size }));
            }
            3 => payload(ordered(Order::Stdin { size: id })),
            4 => payload(encoded(Report::Ready(Posture { memlock: id, ..Posture::default() }))),
            5 => payload(encoded(Report::Ended(Ended {
                exit: if draw.flag() { Exit::Code(3) } else { Exit::Signal(9) },
                stopped: draw.flag(),
                wall_ns: id,
                stdout_total: draw.number(),
                stderr_total: draw.number(),
                usage,
            }))),
            6 => payload(encoded(Report::Skipped {
                path: draw.piece(20),
                reason: SkipReason::TooMany,
            })),
            7 => payload(encoded(Report::Prestarted { waits: draw.flag(), memory: Some(id) })),
            8 => out = Request::Kill { id }.encode(),
            9 => {
                let root = match draw.below(4) {
                    0 => Root::Host,
                    count => Root::Layers(vec![LayerId([7; 32]); count]),
                };
                out = Request::Make { id, limits, root }.encode();
            }
            10 => out = Request::Limit { id, limits }.encode(),
            11 => out = Reply::Gone { id, usage }.encode(),
            12 => {
                let reason = String::from_utf8_lossy(draw.piece(40)).into_owned();
                out = Reply::Failed { id, reason }.encode();
            }
            _ => {
                // A stream of frames.
                while !draw.is_empty() {
                    let bytes = draw.piece(30);
                    let report = match draw.below(6) {
                        0 => Report::Stdout(bytes),
                        1 => Report::Stderr(bytes),
                        2 => Report::File { path: bytes, executable: draw.flag(), size: id },
                        3 => Report::Refused { path: bytes, errno },
                        4 => Report::Started,
                        _ => Report::Data(bytes),
                    };
                    report.encode(&mut out);
                }
            }
        }
        out
    }

    #[test]
    fn holds() {
        let choices = prop::collection::vec(any::<u8>(), 0..120);
        twin::run("frames", 1000, choices.prop_map(|choices| written(&choices)), super::check);
    }
}
