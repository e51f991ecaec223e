use std::time::Duration;

use oncebox_guest::wire::SkipReason;
use proptest::prelude::*;

use super::*;
use crate::engine::{EngineError, ResultContent, ResultFile};
use crate::execution::admission::BusyCode;
use crate::execution::language::Language;
use crate::execution::outcome::{LimitHit, Status, Timings, Usage};
use crate::execution::output::Captured;
use crate::execution::testing::{execution, file};
use crate::execution::transcript::Stream;
use crate::execution::{Failure, Rejection, RejectionCode};
use crate::registry::{ImageError, ImageErrorKind};

fn outcome(stdout: &[u8], stderr: &[u8]) -> Outcome {
    let content = |bytes: &[u8]| ResultContent { bytes: bytes.to_vec(), executable: true };
    Outcome {
        id: Uuid::now_v7(),
        status: Status::OutOfMemory,
        exit_code: 137,
        signal: Some("SIGKILL".into()),
        stdout: Captured { bytes: stdout.to_vec(), total: 1 << 40 },
        stderr: Captured { bytes: stderr.to_vec(), total: stderr.len() as u64 },
        error: Some("a sentence".into()),
        execution_time: Duration::from_nanos(1_234_567_891),
        image: "host".into(),
        image_digest: None,
        limits_hit: LimitHit::ALL.to_vec(),
        usage: Usage { cpu_time: Some(Duration::from_nanos(7)), ..Usage::default() },
        timings: Timings { ran: Duration::from_nanos(3), ..Timings::default() },
        files: [
            ("kept", Ok(content(b"\xff\0"))),
            ("1", Err(SkipReason::NotRegular)),
            ("2", Err(SkipReason::TooLarge)),
            ("3", Err(SkipReason::TooMany)),
            ("4", Err(SkipReason::Unreadable)),
        ]
        .map(|(path, content)| ResultFile { path: path.into(), content })
        .into(),
    }
}

proptest! {
    #[test]
    fn an_outcome_comes_back_to_the_byte(
        portions in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 1..30)), 0..12),
    ) {
        let mut transcript = Transcript::default();
        let mut written = [Vec::new(), Vec::new()];
        for (of_stderr, bytes) in &portions {
            let stream = if *of_stderr { Stream::Stderr } else { Stream::Stdout };
            written[stream as usize].extend_from_slice(bytes);
            transcript.push(stream, bytes);
        }
        transcript.end();
        let outcome = outcome(&written[0], &written[1]);
        let packed = pack_outcome(&outcome, transcript.turns()).unwrap();
        let (restored, replayed) = unpack_outcome(outcome.id, &packed).unwrap();
        prop_assert_eq!(format!("{outcome:?}"), format!("{restored:?}"));
        let pieces = |transcript: &Transcript| {
            let mut cursor = transcript.cursor(0);
            std::iter::from_fn(|| transcript.next(&mut cursor, 99)
                .map(|piece| (piece.stream, piece.offset, piece.bytes.to_vec())))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(pieces(&replayed), pieces(&transcript));
    }

    #[test]
    fn nonsense_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = unpack_outcome(Uuid::nil(), &bytes);
        let _ = unpack_request(Uuid::nil(), &bytes);
        let _ = Head::unpack(Uuid::nil(), &bytes);
    }
}

#[test]
fn every_status_comes_back() {
    for status in Status::ALL {
        let outcome = Outcome { status, ..outcome(b"", b"") };
        let packed = pack_outcome(&outcome, Vec::new()).unwrap();
        assert_eq!(unpack_outcome(outcome.id, &packed).unwrap().0.status, status);
    }
}

#[test]
fn a_request_comes_back_as_it_was_asked() {
    let mut request = execution("echo \u{e9}");
    request.stdin = Some(bytes::Bytes::from_static(b"\xff"));
    request.language = Language::find("python3").ok();
    request.args = vec!["a".to_owned().try_into().unwrap()];
    request.env = vec![("A".to_owned().try_into().unwrap(), "b".to_owned().try_into().unwrap())];
    request.files = vec![file("a/b", "content")];
    request.outputs = vec!["**/*.txt".to_owned().try_into().unwrap()];
    request.pull_policy = "always".parse().ok();
    request.limits.timeout = Some(Duration::from_millis(1500));
    for image in [
        "alpine",
        "docker.io/alpine",
        "host",
        "reg.example:5000/a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        request.image = Some(image.parse().unwrap());
        let packed = pack_request(&request).unwrap();
        let restored = unpack_request(request.id, &packed).unwrap();
        assert_eq!(format!("{request:?}"), format!("{restored:?}"));
    }
    assert_eq!(pack_request(&execution("x")).unwrap(), pack_request(&execution("x")).unwrap());
    assert_ne!(pack_request(&execution("x")).unwrap(), pack_request(&execution("y")).unwrap());
    request.forward_env = false;
    let without = pack_request(&request).unwrap();
    assert!(!unpack_request(request.id, &without).unwrap().forward_env);
    request.forward_env = true;
    assert_ne!(pack_request(&request).unwrap(), without);
}

#[test]
fn failures_come_back_without_their_causes() {
    let secret = || "/var/lib/secret".to_owned();
    let retry_after = Duration::from_millis(1500);
    let rejection = |code| Rejection { code, field: "timeout", detail: "a sentence".into() };
    let image = |kind| ImageError {
        attempts: 3,
        retry_after: Some(retry_after),
        ..ImageError::new(kind, "a sentence", secret())
    };
    let failures = [
        Failure::Rejected(rejection(RejectionCode::LimitExceeded)),
        Failure::Rejected(rejection(RejectionCode::FilesRefused)),
        Failure::Busy { code: BusyCode::QueueTimeout, retry_after },
        Failure::Cancelled,
        Failure::Interrupted,
        Failure::NoRoom,
        Failure::Internal(secret()),
        Failure::Image(image(ImageErrorKind::Auth)),
        Failure::Image(image(ImageErrorKind::Unavailable)),
        Failure::Engine(EngineError::Unavailable(secret())),
        Failure::Engine(EngineError::Slow(secret())),
        Failure::Engine(EngineError::Make(secret())),
        Failure::Engine(EngineError::Lost(secret())),
        Failure::Engine(EngineError::Protocol(secret())),
        Failure::Engine(EngineError::FileRefused { path: "a".into(), reason: "b".into() }),
    ];
    for failure in failures {
        let head = Head { failure: Some((&failure).into()), ..Head::default() };
        let packed = head.pack().unwrap();
        assert!(!String::from_utf8_lossy(&packed).contains("secret"));
        let kept = Head::unpack(Uuid::nil(), &packed).unwrap().failure.unwrap();
        let restored = Failure::from(kept.clone());
        assert_eq!(KeptFailure::from(&restored), kept, "{restored:?}");
        assert_eq!(std::mem::discriminant(&restored), std::mem::discriminant(&failure));
    }
    let unknown = KeptFailure::Engine { kind: "of a later version".into() };
    assert!(matches!(unknown.into(), Failure::Engine(EngineError::Protocol(_))));
}

#[test]
fn a_head_of_an_earlier_version_can_be_read() {
    #[derive(Serialize)]
    struct Earlier {
        owner: &'static str,
        created: u64,
        gone_since: u8,
    }
    let packed = pack(&Earlier { owner: "key:a", created: 5, gone_since: 1 }).unwrap();
    let head = Head::unpack(Uuid::nil(), &packed).unwrap();
    assert_eq!(head, Head { owner: "key:a".into(), created: 5, ..Head::default() });
}
