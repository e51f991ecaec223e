//! What a real guest does not do on demand: silence, nonsense, and an end without a word.

use rstest::rstest;

use super::super::testing::{Guest, Held, container, container_of, pair};
use super::*;
use crate::execution::output::Output;
use crate::registry::Image;

fn job(timeout: Duration) -> Job {
    let head = wire::Job { files_cap: 100, files_count: 2, ..wire::Job::default() };
    Job { head, files: Vec::new(), stdin: None, timeout }
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

fn ended(exit: Exit, stopped: bool) -> Report<'static> {
    Report::Ended(Ended {
        exit,
        stopped,
        wall_ns: 1,
        stdout_total: 2,
        stderr_total: 0,
        usage: Usage::default(),
    })
}

/// Runs a job against a guest that `play` acts, and gives what came of it.
async fn run<F: Future>(
    job: Job,
    usage: Option<Usage>,
    play: impl FnOnce(Guest) -> F,
) -> (Result<RunEnd, EngineError>, Output<'static>, F::Output) {
    let (container, guest, gone) = container(usage).await;
    let mut output = Output::new(100, &());
    let never = CancellationToken::new();
    let (end, played) = tokio::join!(container.run(&job, &never, &mut output), play(guest));
    assert!(gone.is_cancelled(), "the container must be given back");
    (end.map_err(|failed| failed.error), output, played)
}

#[tokio::test]
async fn a_job_arrives_whole_and_its_end_comes_back() {
    let content = Bytes::from(vec![7; CHUNK * 2 + 1]);
    let file = JobFile { path: "a/b".into(), content: content.clone(), executable: true };
    let job = Job { files: vec![file], stdin: Some(content.clone()), ..job(LONG) };
    let (end, output, taken) = run(job, None, async |mut guest: Guest| {
        let taken = guest.take_job().await;
        guest.say(&Report::Started).await;
        guest.say(&Report::Stdout(b"o")).await;
        guest.say(&Report::Stderr(b"e")).await;
        guest.say(&Report::Stdout(b"k")).await;
        guest.say(&ended(Exit::Code(3), false)).await;
        guest.say(&Report::File { path: b"r", executable: false, size: 3 }).await;
        guest.say(&Report::Data(b"ab")).await;
        guest.say(&Report::Data(b"c")).await;
        guest.say(&Report::Skipped { path: b"s", reason: SkipReason::NotRegular }).await;
        guest.say(&Report::Done).await;
        taken
    })
    .await;
    assert_eq!(taken.files, [("a/b".to_owned(), true, content.to_vec())]);
    assert_eq!(taken.stdin, Some(content.to_vec()));
    assert_eq!(taken.head.timer_ms, 602_000);
    let end = end.unwrap();
    assert_eq!((end.exit, end.stopped), (Exit::Code(3), None));
    assert_eq!((end.stdout_total, end.wall), (Some(2), Duration::from_nanos(1)));
    assert_eq!((&*output.stdout.bytes, &*output.stderr.bytes), (&b"ok"[..], &b"e"[..]));
    let [r, s] = end.files.as_slice() else { panic!("two files") };
    assert_eq!((r.path.as_str(), r.content.as_ref().unwrap().bytes.as_slice()), ("r", &b"abc"[..]));
    assert_eq!(s.content.as_ref().err(), Some(&SkipReason::NotRegular));
}

#[tokio::test]
async fn at_the_deadline_the_guest_is_told_to_stop() {
    let (end, output, ()) = run(job(SHORT), None, async |mut guest: Guest| {
        guest.take_job().await;
        guest.say(&Report::Stdout(b"so far")).await;
        guest.told_to_stop().await;
        guest.say(&ended(Exit::Signal(9), true)).await;
        guest.say(&Report::Done).await;
    })
    .await;
    let end = end.unwrap();
    assert_eq!((end.exit, end.stopped), (Exit::Signal(9), Some(Stop::Deadline)));
    assert_eq!(output.stdout.bytes, b"so far");
}

#[tokio::test]
async fn a_script_that_ended_before_the_stop_arrived_was_not_stopped() {
    let (end, ..) = run(job(SHORT), None, async |mut guest: Guest| {
        guest.take_job().await;
        guest.told_to_stop().await;
        guest.say(&ended(Exit::Code(0), false)).await;
        guest.say(&Report::Done).await;
    })
    .await;
    let end = end.unwrap();
    assert_eq!((end.exit, end.stopped), (Exit::Code(0), None));
}

#[tokio::test]
async fn a_guest_whose_own_timer_fired_kept_the_deadline() {
    let (end, ..) = run(job(LONG), None, async |mut guest: Guest| {
        guest.take_job().await;
        guest.say(&ended(Exit::Signal(9), true)).await;
        guest.say(&Report::Done).await;
    })
    .await;
    assert_eq!(end.unwrap().stopped, Some(Stop::Deadline));
}

#[tokio::test]
async fn a_silent_guest_is_killed_after_the_grace() {
    let usage = Usage { cpu_ns: Some(5), ..Usage::default() };
    let began = Instant::now();
    let (end, _, guest) = run(job(SHORT), Some(usage), async |mut guest: Guest| {
        guest.take_job().await;
        guest
    })
    .await;
    let end = end.unwrap();
    assert_eq!((end.exit, end.stopped), (Exit::Signal(9), Some(Stop::Deadline)));
    assert_eq!((end.usage, end.stdout_total), (usage, None));
    assert!(began.elapsed() >= SHORT + STOP_GRACE);
    drop(guest);
}

/// It can't tell what was used while its own script leaves it no time.
#[tokio::test]
async fn a_guest_that_is_starved_is_given_time_to_tell() {
    let (gone, freed) = <(CancellationToken, CancellationToken)>::default();
    let held = Held { gone, freed: freed.clone(), usage: None, limits_stay: false, mute: false };
    let (container, mut guest, _) = container_of(held).await;
    let (mut output, never) = (Output::new(100, &()), CancellationToken::new());
    let job = job(SHORT);
    let play = async {
        guest.take_job().await;
        guest.told_to_stop().await;
        assert!(!freed.is_cancelled(), "before it is silent");
        freed.cancelled().await;
        guest.say(&ended(Exit::Signal(9), true)).await;
        guest.say(&Report::Done).await;
    };
    let (end, ()) = tokio::join!(container.run(&job, &never, &mut output), play);
    let end = end.map_err(|failed| failed.error).unwrap();
    assert_eq!((end.stdout_total, end.stopped), (Some(2), Some(Stop::Deadline)));
}

/// Words that come late because what carries them was stuck count as if they had come in time, and
/// where it stays stuck, nothing is said of the script.
#[tokio::test]
async fn a_silence_that_is_not_the_guest_s_is_no_verdict() {
    for (mute, speaks) in [(true, false), (false, true)] {
        let gone = CancellationToken::new();
        let held =
            Held { gone, freed: CancellationToken::new(), usage: None, limits_stay: false, mute };
        let (container, mut guest, _) = container_of(held).await;
        let (job, mut output) = (job(SHORT), Output::new(100, &()));
        let never = CancellationToken::new();
        let play = async {
            guest.take_job().await;
            guest.told_to_stop().await;
            tokio::time::sleep(STOP_GRACE + KEPT_WORDS / 2).await;
            if speaks {
                guest.say(&ended(Exit::Code(3), false)).await;
                guest.say(&Report::Done).await;
            }
            guest
        };
        let began = Instant::now();
        let (end, _guest) = tokio::join!(container.run(&job, &never, &mut output), play);
        match end {
            Ok(end) => assert_eq!((end.exit, end.stopped), (Exit::Code(3), None)),
            Err(RunError { error, started }) => {
                assert!(mute && started && matches!(error, EngineError::Slow(_)), "{error}");
            }
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[rstest]
#[case(Some(1), Some(4), None, None, Some("process"))]
#[case(Some(1), Some(64), None, None, None)]
#[case(Some(0), Some(4), None, None, None)]
#[case(Some(1), None, None, None, None)]
#[case(None, Some(4), None, None, None)]
#[case(None, None, Some(1), Some(32 << 20), Some("memory"))]
#[case(None, None, Some(1), Some((64 << 20) - (1 << 20)), None)]
#[case(None, None, Some(0), Some(32 << 20), None)]
#[case(None, None, Some(1), None, None)]
#[case(None, None, None, Some(32 << 20), None)]
fn a_script_below_its_limit_was_starved_by_others(
    #[case] pids_refused: Option<u64>,
    #[case] max_pids: Option<u64>,
    #[case] oom_kills: Option<u64>,
    #[case] max_memory: Option<u64>,
    #[case] of: Option<&str>,
) {
    let usage = Usage { pids_refused, max_pids, oom_kills, max_memory, ..Usage::default() };
    let (stdout_total, stderr_total) = (None, None);
    let (exit, stopped, wall) = (Exit::Code(2), None, SHORT);
    let end = RunEnd { exit, stopped, wall, stdout_total, stderr_total, usage, files: Vec::new() };
    let (memory, pids) = (64 << 20, 64);
    let image = Image::host();
    let spec = ContainerSpec { image, memory, cpu_millis: 500, pids, tmp: 1 << 20 };
    assert_eq!(end.starved_of(&spec), of);
}

#[tokio::test]
async fn a_guest_that_floods_cannot_hold_the_deadline_back() {
    let (end, output, ()) = run(job(SHORT), None, async |mut guest: Guest| {
        guest.take_job().await;
        let flood = [b'x'; 1000];
        let mut frame = Vec::new();
        Report::Stdout(&flood).encode(&mut frame);
        while guest.try_say_bytes(&frame).await {}
    })
    .await;
    assert_eq!(end.unwrap().stopped, Some(Stop::Deadline));
    assert_eq!(output.stdout.bytes.len(), 100);
    assert!(output.stdout.truncated());
}

#[tokio::test]
async fn a_cancelled_run_is_stopped_and_reported() {
    let (container, mut guest, gone) = container(None).await;
    let cancel = CancellationToken::new();
    let (job, mut output) = (job(LONG), Output::new(100, &()));
    let play = async {
        guest.take_job().await;
        cancel.cancel();
        guest.told_to_stop().await;
        guest.say(&ended(Exit::Signal(9), true)).await;
        guest.say(&Report::Done).await;
    };
    let (end, ()) = tokio::join!(container.run(&job, &cancel, &mut output), play);
    assert_eq!(end.unwrap().stopped, Some(Stop::Cancelled));
    assert!(gone.is_cancelled());
}

#[tokio::test]
async fn a_dropped_run_kills_the_container() {
    let (container, mut guest, gone) = container(None).await;
    let (job, mut output) = (job(LONG), Output::new(100, &()));
    let cancel = CancellationToken::new();
    tokio::select! {
        biased;
        _ = container.run(&job, &cancel, &mut output) => panic!("nobody ended it"),
        _ = guest.take_job() => {}
    }
    assert!(gone.is_cancelled());
}

#[rstest]
#[case(Some(1), true)]
#[case(Some(0), false)]
#[case(None, false)]
#[tokio::test]
async fn an_end_without_a_word_is_the_scripts_only_for_want_of_memory(
    #[case] oom_kills: Option<u64>,
    #[case] outcome: bool,
) {
    let usage = Usage { oom_kills, ..Usage::default() };
    let (end, output, ()) = run(job(LONG), Some(usage), async |mut guest: Guest| {
        guest.take_job().await;
        guest.say(&Report::Stdout(b"so far")).await;
    })
    .await;
    assert_eq!(output.stdout.bytes, b"so far");
    match end {
        Ok(end) => assert!(outcome && end.stopped.is_none() && end.exit == Exit::Signal(9)),
        Err(error) => assert!(!outcome && matches!(error, EngineError::Lost(_))),
    }
}

#[rstest]
#[case::unknown_kind(&[[200, 0, 0, 0, 0].as_slice()])]
#[case::an_order(&[[5, 0, 0, 0, 0].as_slice()])]
#[case::too_long(&[[69, 255, 255, 255, 255].as_slice()])]
#[case::trailing_bytes(&[[68, 1, 0, 0, 0, 0].as_slice()])]
#[case::done_before_the_end(&[[75, 0, 0, 0, 0].as_slice()])]
#[tokio::test]
async fn nonsense_is_an_engine_error(#[case] frames: &[&[u8]]) {
    let (end, ..) = run(job(LONG), Some(Usage::default()), async |mut guest: Guest| {
        guest.take_job().await;
        for frame in frames {
            guest.say_bytes(frame).await;
        }
    })
    .await;
    assert!(matches!(end, Err(EngineError::Protocol(_))), "{end:?}");
}

#[rstest]
#[case::output_after_the_end(&[Report::Stdout(b"x")])]
#[case::ended_twice(&[ended(Exit::Code(0), false)])]
#[case::data_without_a_file(&[Report::Data(b"x")])]
#[case::over_the_cap(&[Report::File { path: b"a", executable: false, size: 101 }])]
#[case::over_the_cap_together(&[
    Report::File { path: b"a", executable: false, size: 1 },
    Report::Data(b"x"),
    Report::File { path: b"b", executable: false, size: 100 },
])]
#[case::longer_than_announced(&[
    Report::File { path: b"a", executable: false, size: 1 },
    Report::Data(b"xy"),
])]
#[case::empty_data(&[
    Report::File { path: b"a", executable: false, size: 1 },
    Report::Data(b""),
])]
#[case::too_many(&[
    Report::Skipped { path: b"a", reason: SkipReason::TooMany },
    Report::Skipped { path: b"a", reason: SkipReason::TooMany },
    Report::Skipped { path: b"a", reason: SkipReason::TooMany },
    Report::Skipped { path: b"a", reason: SkipReason::TooMany },
    Report::Skipped { path: b"a", reason: SkipReason::TooMany },
])]
#[tokio::test]
async fn nonsense_among_result_files_is_an_engine_error(#[case] reports: &[Report<'static>]) {
    let (end, ..) = run(job(LONG), None, async |mut guest: Guest| {
        guest.take_job().await;
        guest.say(&ended(Exit::Code(0), false)).await;
        for report in reports {
            guest.say(report).await;
        }
        guest
    })
    .await;
    assert!(matches!(end, Err(EngineError::Protocol(_))), "{end:?}");
}

#[tokio::test]
async fn a_guest_that_ends_among_result_files_is_lost() {
    let (end, ..) = run(job(LONG), None, async |mut guest: Guest| {
        guest.take_job().await;
        guest.say(&ended(Exit::Code(0), false)).await;
    })
    .await;
    assert!(matches!(end, Err(EngineError::Lost(_))), "{end:?}");
}

#[rstest]
#[case::after_the_job(true)]
#[case::while_it_is_sent(false)]
#[tokio::test]
async fn a_refused_file_names_itself(#[case] whole: bool) {
    let content = Bytes::from(vec![7; 1 << 20]);
    let file = JobFile { path: "big".into(), content, executable: false };
    let job = Job { files: vec![file], ..job(LONG) };
    let (end, ..) = run(job, None, async |mut guest: Guest| {
        if whole {
            guest.take_job().await;
        }
        guest.say(&Report::Refused { path: b"big", errno: 28 }).await;
    })
    .await;
    let Err(EngineError::FileRefused { path, reason }) = end else { panic!("{end:?}") };
    assert_eq!(path, "big");
    assert!(reason.contains("No space left"), "{reason}");
}

#[rstest]
#[case::another_report(Some(Report::Started), "guest protocol")]
#[case::broken(Some(Report::Broken { step: b"mount", errno: 1 }), "mount: Operation not permitted")]
#[case::nothing(None, "ended before it was ready")]
#[case::not_as_asked(Some(Report::Ready(Posture::default())), "uid is 0")]
#[tokio::test]
async fn a_container_that_is_not_as_asked_is_killed(
    #[case] first: Option<Report<'static>>,
    #[case] reason: &str,
) {
    let (channel, mut guest) = pair();
    let gone = CancellationToken::new();
    if let Some(report) = first {
        guest.say(&report).await;
    }
    drop(guest);
    let freed = CancellationToken::new();
    let held = Held { gone: gone.clone(), freed, usage: None, limits_stay: false, mute: false };
    let hold = Box::new(held);
    let refused = Container::ready(channel, hold, |_| Err("uid is 0".into())).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains(reason), "{error}");
    assert!(gone.is_cancelled());
}

/// Runs a job against a guest that ends after so many of its words; whether the script may have
/// begun.
async fn lost_after(words: &[Report<'static>]) -> bool {
    let (container, mut guest, _gone) = container(None).await;
    let mut output = Output::new(100, &());
    let (never, job) = (CancellationToken::new(), job(LONG));
    let play = async {
        guest.take_job_silently().await;
        for word in words {
            guest.say(word).await;
        }
        drop(guest);
    };
    let (end, ()) = tokio::join!(container.run(&job, &never, &mut output), play);
    end.unwrap_err().started
}

#[tokio::test]
async fn whether_the_script_may_have_begun_is_known() {
    assert!(!lost_after(&[]).await);
    assert!(lost_after(&[Report::Started]).await);
    assert!(lost_after(&[Report::Stdout(b"x")]).await);
}

#[tokio::test]
async fn a_guest_that_ends_or_speaks_while_it_waits_is_lost() {
    for word in [None, Some(Report::Done)] {
        let (mut container, mut guest, _gone) = container(None).await;
        let mut lost = pin!(std::future::poll_fn(|cx| container.poll_lost(cx)));
        assert!(lost.as_mut().now_or_never().is_none());
        match word {
            Some(word) => guest.say(&word).await,
            None => drop(guest),
        }
        lost.await;
    }
}

#[tokio::test]
async fn an_interpreter_is_started_ahead_or_not() {
    for waits in [true, false] {
        let (mut container, mut guest, _gone) = container(None).await;
        let wanted = Prestart { entry: b"script".to_vec(), ..Prestart::default() };
        let play = async {
            assert_eq!(guest.take_prestart().await, wanted);
            guest.say(&Report::Prestarted { waits, memory: Some(7) }).await;
        };
        let (started, ()) = tokio::join!(container.prestart(&wanted), play);
        assert_eq!(started.unwrap(), Prestarted { waits, memory: Some(7) });
    }
}
