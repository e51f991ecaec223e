//! The spine, on an engine whose guests are played by the test: for what a real engine does not do
//! on demand.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use oncebox_guest::wire::{Ended, Exit, Report, Usage};
use tokio::sync::mpsc;

use super::outcome::{LimitHit, Status};
use super::testing::{CEILINGS, execution, file};
use super::*;
use crate::engine::testing::{Guest, container};
use crate::engine::{Container, ContainerSpec, EngineName};
use crate::registry::testing::{image, registry};

/// A container that was made: what for, its guest, and the sign that it is gone.
struct Made {
    spec: ContainerSpec,
    guest: Guest,
    gone: CancellationToken,
}

/// Hands every container it makes to the test. Images by name: `missing`, `stuck`, `down`, and any
/// other; `unmakeable` is an image that no container can be made from.
struct Stage {
    made: mpsc::UnboundedSender<Made>,
    usage: Usage,
}

impl Engine for Stage {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn make<'a>(
        &'a self,
        spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Container, EngineError>> {
        async move {
            if spec.image.reference.repository() == "library/unmakeable" {
                return Err(EngineError::Make("seccomp mode is 0, wanted 2".into()));
            }
            let (container, guest, gone) = container(Some(self.usage)).await;
            let _ = self.made.send(Made { spec: spec.clone(), guest, gone });
            Ok(container)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn stage(max_concurrent: usize, queue_limit: usize) -> (Executor, mpsc::UnboundedReceiver<Made>) {
    stage_with(max_concurrent, queue_limit, Usage::default())
}

fn stage_with(
    max_concurrent: usize,
    queue_limit: usize,
    usage: Usage,
) -> (Executor, mpsc::UnboundedReceiver<Made>) {
    let (made, guests) = mpsc::unbounded_channel();
    let queue_timeout = Duration::from_secs(600);
    let options = AdmissionOptions { max_concurrent, queue_limit, queue_timeout };
    let engine = Arc::new(Stage { made, usage });
    let pool = Pool::new(engine, images(), None, Arc::default());
    (Executor::new(pool, Reference::host(), CEILINGS, options, Arc::default()), guests)
}

fn images() -> Arc<Registry> {
    registry(|reference| {
        let found = match reference.repository() {
            "library/missing" => Err(ImageError::not_found(reference)),
            "library/down" => {
                Err(ImageError::new(ImageErrorKind::EngineAway, "no answer", "no answer"))
            }
            "library/stuck" => return pending().boxed(),
            _ => Ok(image(reference)),
        };
        ready(found).boxed()
    })
}

fn from_image(name: &str) -> Execution {
    Execution { image: Some(name.parse().unwrap()), ..execution("echo") }
}

async fn say_end(guest: &mut Guest, exit: Exit, stopped: bool) {
    let usage = Usage::default();
    let ended = Ended { exit, stopped, wall_ns: 1, stdout_total: 0, stderr_total: 0, usage };
    guest.say(&Report::Ended(ended)).await;
    guest.say(&Report::Done).await;
}

/// Takes the job of the next container and ends it well.
async fn play(guests: &mut mpsc::UnboundedReceiver<Made>) -> CancellationToken {
    let Made { mut guest, gone, .. } = guests.recv().await.unwrap();
    guest.take_job().await;
    say_end(&mut guest, Exit::Code(0), false).await;
    gone
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

/// The executor still has a permit for the next one, and all is well with it.
async fn assert_runs(executor: &Executor, guests: &mut mpsc::UnboundedReceiver<Made>) {
    let cancel = never();
    let (outcome, _) =
        tokio::join!(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel), play(guests));
    assert!(outcome.unwrap().success());
}

#[tokio::test]
async fn one_walk_from_request_to_outcome() {
    let (executor, mut guests) = stage(1, 0);
    let mut request = execution("echo hi");
    request.files = vec![file("data", "1")];
    request.stdin = Some("in".into());
    request.limits.memory = Some(64 << 20);
    request.limits.output = Some(3);
    let id = request.id;
    let play = async {
        let Made { spec, mut guest, gone } = guests.recv().await.unwrap();
        let taken = guest.take_job().await;
        guest.say(&Report::Stdout(b"hello")).await;
        say_end(&mut guest, Exit::Code(0), false).await;
        (spec, taken, gone)
    };
    let cancel = never();
    let (outcome, (spec, taken, gone)) =
        tokio::join!(executor.run(request, &Caller::SERVICE, &(), &cancel), play);

    assert!(spec.image.reference.is_host());
    assert_eq!((spec.memory, spec.pids, spec.cpu_millis), (64 << 20, 64, 500));
    let paths: Vec<_> = taken.files.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["script.sh", "data"]);
    assert_eq!(taken.stdin.as_deref(), Some(&b"in"[..]));
    assert_eq!(taken.head.argvs, [[b"/bin/sh".to_vec(), b"/tmp/work/script.sh".to_vec()]]);

    let outcome = outcome.unwrap();
    assert_eq!((outcome.id, outcome.image.as_str()), (id, "host"));
    assert_eq!((outcome.status, outcome.exit_code), (Status::Completed, 0));
    assert_eq!((&*outcome.stdout.bytes, outcome.stdout.total), (&b"hel"[..], 5));
    assert_eq!(outcome.limits_hit, [LimitHit::Output]);
    assert!(gone.is_cancelled());
}

#[tokio::test]
async fn a_rejected_request_makes_no_container() {
    let (executor, mut guests) = stage(1, 0);
    let mut request = execution("echo");
    request.limits.memory = Some(u64::MAX);
    let failure = executor.run(request, &Caller::SERVICE, &(), &never()).await.unwrap_err();
    let Failure::Rejected(Rejection { code, field, .. }) = failure else { panic!("{failure:?}") };
    assert_eq!((code, field), (RejectionCode::LimitExceeded, "memory_limit"));
    assert!(guests.try_recv().is_err());
}

#[tokio::test]
async fn failures_keep_their_kind_and_give_the_permit_back() {
    let (executor, mut guests) = stage(1, 0);
    let run = async |image| {
        executor.run(from_image(image), &Caller::SERVICE, &(), &never()).await.unwrap_err()
    };
    assert!(matches!(
        run("missing").await,
        Failure::Image(ImageError { kind: ImageErrorKind::NotFound, .. })
    ));
    assert!(matches!(run("down").await, Failure::Engine(EngineError::Unavailable(_))));
    assert!(matches!(run("unmakeable").await, Failure::Engine(EngineError::Make(_))));
    assert_runs(&executor, &mut guests).await;
}

#[tokio::test]
async fn a_guest_that_dies_is_our_failure_and_for_want_of_memory_the_scripts() {
    let end = async |usage| {
        let (executor, mut guests) = stage_with(1, 0, usage);
        let cancel = never();
        let play = async {
            let mut made = guests.recv().await.unwrap();
            made.guest.take_job().await;
        };
        tokio::join!(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel), play).0
    };
    let lost = end(Usage::default()).await;
    assert!(matches!(lost, Err(Failure::Engine(EngineError::Lost(_)))), "{lost:?}");
    let outcome = end(Usage { oom_kills: Some(1), ..Usage::default() }).await.unwrap();
    assert_eq!((outcome.status, outcome.exit_code), (Status::OutOfMemory, 137));
}

#[tokio::test]
async fn a_refused_file_is_the_callers_to_change() {
    for (path, field) in [("data", "files"), ("script.sh", "script")] {
        let (executor, mut guests) = stage(1, 0);
        let cancel = never();
        let play = async {
            let mut made = guests.recv().await.unwrap();
            made.guest.say(&Report::Refused { path: path.as_bytes(), errno: 28 }).await;
            made.guest.take_job().await;
        };
        let (result, ()) =
            tokio::join!(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel), play);
        let Err(Failure::Rejected(rejection)) = result else { panic!("{result:?}") };
        assert_eq!((rejection.code, rejection.field), (RejectionCode::FilesRefused, field));
        assert!(rejection.detail.contains(path), "{}", rejection.detail);
        assert_runs(&executor, &mut guests).await;
    }
}

#[tokio::test]
async fn no_more_run_at_once_than_allowed() {
    let (executor, mut guests) = stage(1, 0);
    let cancel = never();
    let mut first = Box::pin(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel));
    assert!(first.as_mut().now_or_never().is_none());
    let busy = executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel).await.unwrap_err();
    assert!(matches!(busy, Failure::Busy { code: BusyCode::QueueFull, .. }), "{busy:?}");

    let (outcome, _) = tokio::join!(first, play(&mut guests));
    assert!(outcome.unwrap().success());
    assert_runs(&executor, &mut guests).await;
}

#[tokio::test]
async fn cancelled_in_the_queue_it_never_runs() {
    let (executor, mut guests) = stage(1, 1);
    let cancel = never();
    let mut first = Box::pin(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel));
    assert!(first.as_mut().now_or_never().is_none());
    let unwanted = CancellationToken::new();
    let mut second = Box::pin(executor.run(execution("echo"), &Caller::SERVICE, &(), &unwanted));
    assert!(second.as_mut().now_or_never().is_none());
    unwanted.cancel();
    assert!(matches!(second.await, Err(Failure::Cancelled)));

    tokio::join!(first, play(&mut guests)).0.unwrap();
    assert!(guests.try_recv().is_err(), "the second must not have made a container");
    assert_runs(&executor, &mut guests).await;
}

#[tokio::test]
async fn cancelled_while_it_is_prepared_it_never_runs() {
    let (executor, mut guests) = stage(1, 0);
    let unwanted = CancellationToken::new();
    let mut run = Box::pin(executor.run(from_image("stuck"), &Caller::SERVICE, &(), &unwanted));
    assert!(run.as_mut().now_or_never().is_none());
    unwanted.cancel();
    assert!(matches!(run.await, Err(Failure::Cancelled)));
    assert_runs(&executor, &mut guests).await;
}

#[tokio::test]
async fn cancelled_while_it_runs_is_an_outcome() {
    let (executor, mut guests) = stage(1, 0);
    let unwanted = CancellationToken::new();
    let play = async {
        let mut made = guests.recv().await.unwrap();
        made.guest.take_job().await;
        unwanted.cancel();
        made.guest.told_to_stop().await;
        say_end(&mut made.guest, Exit::Signal(9), true).await;
    };
    let (outcome, ()) =
        tokio::join!(executor.run(execution("echo"), &Caller::SERVICE, &(), &unwanted), play);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.status, outcome.exit_code), (Status::Cancelled, 137));
}

#[tokio::test]
async fn when_the_client_goes_the_container_goes_and_the_permit_comes_back() {
    let (executor, mut guests) = stage(1, 0);
    let cancel = never();
    let mut run = Box::pin(executor.run(execution("true"), &Caller::SERVICE, &(), &cancel));
    assert!(run.as_mut().now_or_never().is_none());
    let made = guests.recv().await.unwrap();
    assert!(!made.gone.is_cancelled());
    drop(run);
    assert!(made.gone.is_cancelled());
    assert_runs(&executor, &mut guests).await;
}

#[tokio::test]
async fn a_closed_executor_refuses_the_new_and_finishes_the_running() {
    let (executor, mut guests) = stage(2, 0);
    let cancel = never();
    let mut running = Box::pin(executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel));
    assert!(running.as_mut().now_or_never().is_none());
    executor.close();
    let refused =
        executor.run(execution("echo"), &Caller::SERVICE, &(), &cancel).await.unwrap_err();
    assert!(matches!(refused, Failure::Busy { code: BusyCode::Draining, .. }), "{refused:?}");
    tokio::join!(running, play(&mut guests)).0.unwrap();
}
