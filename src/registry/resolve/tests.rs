use futures_util::FutureExt;
use futures_util::future::join_all;
use rstest::rstest;
use tokio::time::{advance, timeout};

use super::*;
use crate::registry::testing::{Play, Scripted};

const SECOND: Duration = Duration::from_secs(1);
const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn of(images: &Arc<Scripted>) -> Registry {
    with(images, Policy::default(), PullOptions::default())
}

fn with(images: &Arc<Scripted>, policy: Policy, options: PullOptions) -> Registry {
    Registry::new(Arc::clone(images) as Arc<dyn Images>, policy, options, Arc::default())
}

fn scripted(plays: impl IntoIterator<Item = Play>) -> Arc<Scripted> {
    Arc::new(Scripted::new(plays))
}

fn policy(pull: PullPolicy) -> Policy {
    Policy { pull, ..Policy::default() }
}

async fn ask(registry: &Registry, text: &str) -> Result<Image, ImageError> {
    registry.requested(&reference(text), ChosenBy::Request, None).await
}

async fn fails(registry: &Registry, text: &str) -> ImageError {
    ask(registry, text).await.unwrap_err()
}

/// Lets every task do what it can do now.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn sample(registry: &Registry, name: &str) -> String {
    let text = registry.metrics.encode();
    let name = format!("oncebox_{name} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("none").to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_is_here_costs_no_pull_and_no_task() {
    let images = scripted([]);
    images.put("alpine");
    let registry = of(&images);
    let image = ask(&registry, "alpine").now_or_never().unwrap().unwrap();
    assert_eq!(image.reference, reference("alpine"));
    assert!(registry.named(&reference("alpine")).now_or_never().unwrap().is_ok());
    assert_eq!(images.attempts(), 0);
    assert_eq!(sample(&registry, r#"image_resolutions_total{from="here"}"#), "2");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_here_is_pulled_once_and_kept() {
    let images = scripted([Play::Image]);
    let registry = of(&images);
    for _ in 0..2 {
        assert!(ask(&registry, "alpine").await.is_ok());
    }
    assert_eq!(images.attempts(), 1);
    assert_eq!(sample(&registry, r#"image_resolutions_total{from="registry"}"#), "1");
    assert_eq!(sample(&registry, r#"pulls_total{result="pulled"}"#), "1");
    assert_eq!(sample(&registry, "pull_attempts_total"), "1");
    assert_eq!(sample(&registry, "pulls_running"), "0");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_asked_of_nobody() {
    let images = scripted([Play::Image]);
    images.put("10.0.0.1/x");
    let error = fails(&of(&images), "10.0.0.1/x").await;
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::NotAllowed, 0));
    assert_eq!(images.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_operators_own_images_need_no_leave() {
    let images = scripted([Play::Image]);
    let strict = Policy { allowed_images: Some(vec![]), ..Policy::default() };
    let registry = with(&images, strict, PullOptions::default());
    assert!(registry.named(&reference("10.0.0.1/x")).await.is_ok());
    assert_eq!(fails(&registry, "10.0.0.1/x").await.kind, ImageErrorKind::NotAllowed);
    let pull = registry.pull(&reference("10.0.0.1/x"));
    assert_eq!(pull.outcome.await.unwrap_err().kind, ImageErrorKind::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn fifty_that_want_one_image_make_one_pull() {
    let images = scripted([Play::fail(ImageErrorKind::Unavailable), Play::Image]);
    let registry = of(&images);
    let mut all: Vec<_> = (0..50).map(|_| ask(&registry, "alpine").boxed()).collect();
    assert!(all.iter_mut().all(|one| one.now_or_never().is_none()));
    settle().await;
    // One of them leaves, and it is the one that began.
    drop(all.remove(0));
    let results = join_all(all).await;
    assert!(results.iter().all(Result::is_ok) && results.len() == 49);
    assert_eq!((images.attempts(), images.dropped()), (2, 0));
    assert_eq!(sample(&registry, r#"pulls_total{result="pulled"}"#), "1");
}

#[tokio::test(start_paused = true)]
async fn all_who_waited_hear_the_same_failure() {
    let images = scripted([Play::fail(ImageErrorKind::Auth)]);
    let registry = of(&images);
    let results = join_all((0..5).map(|_| ask(&registry, "alpine"))).await;
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind, error.attempts), (ImageErrorKind::Auth, 1));
        assert_eq!(error.to_string(), "Auth it is (1 attempt)");
    }
    assert_eq!(images.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn different_images_are_pulled_side_by_side() {
    let images = scripted([Play::Image, Play::Image]);
    let registry = of(&images);
    let began = Instant::now();
    let (one, other) = tokio::join!(ask(&registry, "alpine"), ask(&registry, "busybox"));
    assert_eq!(one.unwrap().reference, reference("alpine"));
    assert_eq!(other.unwrap().reference, reference("busybox"));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_nobody_waits_for_is_given_up() {
    let images = scripted([Play::Silence, Play::Image]);
    let registry = of(&images);
    let waiting = (0..3).map(|_| timeout(SECOND, ask(&registry, "alpine")));
    assert!(join_all(waiting).await.iter().all(Result::is_err));
    settle().await;
    assert_eq!((images.attempts(), images.dropped()), (1, 1));
    assert_eq!(sample(&registry, r#"pulls_total{result="given_up"}"#), "1");
    assert_eq!(sample(&registry, "pulls_running"), "0");
    // That was nobody's failure, so the next one begins anew.
    assert!(ask(&registry, "alpine").await.is_ok());
    assert!(registry.pulls.is_idle());
}

#[tokio::test(start_paused = true)]
async fn one_that_watches_is_enough_for_a_pull_to_go_on() {
    let images = scripted([Play::Image]);
    let registry = of(&images);
    let pull = registry.pull(&reference("alpine"));
    drop(registry.pull(&reference("alpine")));
    settle().await;
    assert_eq!(pull.progress.borrow().attempt, 1);
    assert!(pull.outcome.await.is_ok());
    assert_eq!(pull.progress.borrow().layers.len(), 1);
    assert_eq!(images.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_came_meanwhile_is_looked_for_again() {
    let images = Arc::new(Scripted::new([Play::Image]).finds_in(SECOND * 10));
    let registry = of(&images);
    let second = async {
        sleep(SECOND * 5).await;
        // Not here now; but when that is told, the other pull has ended.
        ask(&registry, "alpine").await
    };
    let (first, second) = tokio::join!(ask(&registry, "alpine"), second);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(images.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_tried_again_after_growing_pauses() {
    use ImageErrorKind::{Corrupt, Timeout, Unavailable};
    let images = scripted([Unavailable, Timeout, Corrupt].map(Play::fail));
    images.then([Play::Image]);
    let registry = of(&images);
    assert!(ask(&registry, "alpine").await.is_ok());
    let gaps = images.gaps();
    for (gap, most) in gaps.iter().zip([500, 1000, 2000].map(Duration::from_millis)) {
        // Each attempt takes a second of its own.
        assert!((SECOND + most / 2..=SECOND + most + SECOND / 100).contains(gap), "{gaps:?}");
    }
    assert_eq!(gaps.len(), 3);
    assert_eq!(sample(&registry, "pull_attempts_total"), "4");
}

#[tokio::test(start_paused = true)]
async fn attempts_end_and_are_counted() {
    for retries in [0, 2] {
        let images = scripted([(); 9].map(|()| Play::fail(ImageErrorKind::Unavailable)));
        let options = PullOptions { retries, ..PullOptions::default() };
        let error = fails(&with(&images, Policy::default(), options), "alpine").await;
        assert_eq!((error.kind, error.attempts), (ImageErrorKind::Unavailable, retries + 1));
        assert_eq!(images.attempts(), retries as usize + 1);
    }
}

#[rstest]
#[case(ImageErrorKind::NotFound)]
#[case(ImageErrorKind::Auth)]
#[case(ImageErrorKind::Unsupported)]
#[case(ImageErrorKind::NoSpace)]
#[case(ImageErrorKind::EngineFailed)]
#[tokio::test(start_paused = true)]
async fn what_can_not_succeed_is_tried_once(#[case] kind: ImageErrorKind) {
    let images = scripted([Play::fail(kind), Play::Image]);
    let error = fails(&of(&images), "alpine").await;
    assert_eq!((error.kind, error.attempts, images.attempts()), (kind, 1, 1));
}

#[rstest]
#[case(Play::Silence)]
#[case(Play::Stall)]
#[tokio::test(start_paused = true)]
async fn the_time_is_for_everything_together(#[case] last: Play) {
    let images = scripted([Play::fail(ImageErrorKind::Unavailable), last]);
    let options = PullOptions { timeout: SECOND * 7, retries: 3 };
    let registry = with(&images, Policy::default(), options);
    let began = Instant::now();
    let error = fails(&registry, "alpine").await;
    assert_eq!(error.kind, ImageErrorKind::Timeout);
    let says = "image alpine:latest could not be pulled within 7 s (2 attempts)";
    assert_eq!(error.to_string(), says);
    assert!(error.cause.contains("as the script says"), "{}", error.cause);
    assert!((SECOND * 7..SECOND * 7 + SECOND / 100).contains(&began.elapsed()));
    assert_eq!(images.dropped(), 1);
    assert_eq!(sample(&registry, r#"pulls_total{result="timeout"}"#), "1");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_attempt_that_there_is_no_time_for() {
    let images = scripted([(); 9].map(|()| Play::fail(ImageErrorKind::Unavailable)));
    let options = PullOptions { timeout: Duration::from_millis(1200), retries: 9 };
    let began = Instant::now();
    let error = fails(&with(&images, Policy::default(), options), "alpine").await;
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::Unavailable, 1));
    assert!(error.cause.contains("no time is left"), "{}", error.cause);
    assert!(began.elapsed() < SECOND + SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_registry_is_asked_again_when_it_wants_to_be() {
    let images = scripted([Play::busy(SECOND * 20), Play::Image]);
    assert!(ask(&of(&images), "alpine").await.is_ok());
    assert!(images.gaps()[0] >= SECOND * 21, "{:?}", images.gaps());

    let images = scripted([Play::busy(SECOND * 3600), Play::Image]);
    let began = Instant::now();
    let error = fails(&of(&images), "alpine").await;
    assert!(began.elapsed() < SECOND * 2);
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::Unavailable, 1));
    assert_eq!(error.retry_after, Some(SECOND * 3600));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_a_registry_wants_is_for_all_its_images() {
    let images = scripted([Play::busy(SECOND * 20), Play::Image, Play::Image]);
    let registry = of(&images);
    let first = ask(&registry, "alpine");
    let second = async {
        sleep(SECOND * 2).await;
        ask(&registry, "busybox").await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    assert!(images.gaps()[0] >= SECOND * 20, "{:?}", images.gaps());

    let images = scripted([Play::busy(SECOND * 3600), Play::Image]);
    let registry = of(&images);
    fails(&registry, "alpine").await;
    let error = fails(&registry, "busybox").await;
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::Unavailable, 0));
    assert!(error.retry_after.is_some_and(|rest| rest > SECOND * 3590), "{error:?}");
    assert!(ask(&registry, "ghcr.io/x").await.is_ok());
    assert_eq!(sample(&registry, r#"pulls_spared_total{reason="registry_held"}"#), "1");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_in_a_row_is_left_alone_for_a_while() {
    let images = scripted([(); 5].map(|()| Play::fail(ImageErrorKind::Unavailable)));
    let options = PullOptions { retries: 0, ..PullOptions::default() };
    let registry = with(&images, Policy::default(), options);
    for n in 0..5 {
        assert_eq!(fails(&registry, &format!("image{n}")).await.attempts, 1);
    }
    let gauge = r#"registry_breaker_open{registry="docker.io"}"#;
    assert_eq!(sample(&registry, gauge), "1");
    let error = fails(&registry, "another").await;
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::Unavailable, 0));
    assert!(error.retry_after.is_some_and(|rest| rest > SECOND * 25), "{error:?}");
    assert!(error.to_string().contains("docker.io failed several times"), "{error}");
    assert_eq!(images.attempts(), 5);
    advance(SECOND * 30).await;
    // One tries; the others hear that they are to come back.
    images.then([Play::Image, Play::Image]);
    let (trial, other) = tokio::join!(ask(&registry, "trial"), ask(&registry, "other"));
    assert!(trial.is_ok());
    assert_eq!(other.unwrap_err().retry_after, Some(SECOND));
    assert_eq!(sample(&registry, gauge), "0");
    assert!(ask(&registry, "last").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_moments() {
    let images = scripted([Play::fail(ImageErrorKind::NotFound), Play::Image]);
    let registry = of(&images);
    let first = fails(&registry, "alpine").await;
    let second = ask(&registry, "alpine").now_or_never().unwrap().unwrap_err();
    assert_eq!((first.to_string(), first.kind), (second.to_string(), second.kind));
    assert_eq!(sample(&registry, r#"pulls_spared_total{reason="just_failed"}"#), "1");
    advance(SECOND * 10).await;
    assert!(ask(&registry, "alpine").await.is_ok());
    assert_eq!(images.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_no_longer_when_images_change_or_one_insists() {
    let images = scripted([(); 4].map(|()| Play::fail(ImageErrorKind::NotFound)));
    let registry = of(&images);
    fails(&registry, "alpine").await;
    images.change();
    fails(&registry, "alpine").await;
    assert_eq!(images.attempts(), 2);
    assert!(registry.pull(&reference("alpine")).outcome.await.is_err());
    assert_eq!(images.attempts(), 3);
    // It failed again, which is remembered again.
    fails(&registry, "alpine").await;
    assert_eq!(images.attempts(), 3);
    // An image that came another way is here at once.
    images.put("alpine");
    assert!(ask(&registry, "alpine").now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn always_asks_each_time_and_nothing_stands_in_for_the_answer() {
    let images = scripted([Play::Image, Play::Image, Play::fail(ImageErrorKind::NotFound)]);
    images.put("alpine");
    let registry = with(&images, policy(PullPolicy::Always), PullOptions::default());
    let (one, other) = tokio::join!(ask(&registry, "alpine"), ask(&registry, "alpine"));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(images.attempts(), 1);
    assert!(ask(&registry, "alpine").await.is_ok());
    assert_eq!(fails(&registry, "alpine").await.kind, ImageErrorKind::NotFound);
    assert_eq!(fails(&registry, "alpine").await.kind, ImageErrorKind::NotFound);
    assert_eq!(images.attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_change_is_not_asked_for_again() {
    let images = scripted([]);
    let registry = with(&images, policy(PullPolicy::Always), PullOptions::default());
    for text in [format!("alpine@{SHA}"), format!("alpine:3@{SHA}"), "host".into()] {
        images.put(&text);
        assert!(ask(&registry, &text).now_or_never().unwrap().is_ok());
    }
    assert_eq!(images.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn never_means_never() {
    let images = scripted([Play::Image]);
    images.put("alpine");
    let registry = with(&images, policy(PullPolicy::Never), PullOptions::default());
    assert!(ask(&registry, "alpine").await.is_ok());
    let error = fails(&registry, "busybox").await;
    assert_eq!((error.kind, error.attempts), (ImageErrorKind::NotFound, 0));
    assert!(error.to_string().contains("the pull policy is never"), "{error}");
    let error = registry.named(&reference("busybox")).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotFound);
    let error = registry.pull(&reference("busybox")).outcome.await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotAllowed);
    let asked =
        registry.requested(&reference("alpine"), ChosenBy::Request, Some(PullPolicy::Always)).await;
    assert_eq!(asked.unwrap_err().kind, ImageErrorKind::NotAllowed);
    assert_eq!(images.attempts(), 0);
    assert!(registry.pull_named(&reference("busybox")).outcome.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_may_be_stricter() {
    let images = scripted([Play::Image]);
    let registry = of(&images);
    let alpine = reference("alpine");
    let error =
        registry.requested(&alpine, ChosenBy::Request, Some(PullPolicy::Never)).await.unwrap_err();
    assert_eq!((error.kind, images.attempts()), (ImageErrorKind::NotFound, 0));
    images.put("alpine");
    assert!(registry.requested(&alpine, ChosenBy::Request, Some(PullPolicy::Always)).await.is_ok());
    assert_eq!(images.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn this_machines_own_is_never_pulled() {
    let images = scripted([Play::Image]);
    let registry = of(&images);
    assert_eq!(fails(&registry, "host").await.kind, ImageErrorKind::NotFound);
    let error = registry.pull(&Reference::host()).outcome.await.unwrap_err();
    assert_eq!((error.kind, images.attempts()), (ImageErrorKind::Unsupported, 0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_given_a_few_seconds() {
    let images = Arc::new(Scripted::new([]).away_for(SECOND * 4));
    images.put("alpine");
    assert!(ask(&of(&images), "alpine").await.is_ok());

    let images = Arc::new(Scripted::new([]).away_for(SECOND * 60));
    let began = Instant::now();
    assert_eq!(fails(&of(&images), "alpine").await.kind, ImageErrorKind::EngineAway);
    assert!((PATIENCE..PATIENCE + SECOND).contains(&began.elapsed()));
    assert_eq!(images.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_names_is_missing_until_it_is_here() {
    let images = scripted([Play::Image, Play::fail(ImageErrorKind::Auth), Play::Image]);
    images.put("here");
    let registry = of(&images);
    assert!(registry.named(&reference("here")).await.is_ok());
    assert_eq!(registry.missing(), []);
    ask(&registry, "a-request").await.unwrap();

    let alpine = reference("alpine");
    let mut first = registry.named(&alpine).boxed();
    assert!((&mut first).now_or_never().is_none());
    assert_eq!(registry.missing(), [(alpine.clone(), "it is being pulled".into())]);
    assert!(first.await.is_err());
    assert_eq!(registry.missing(), [(alpine.clone(), "Auth it is (1 attempt)".into())]);
    advance(SECOND * 10).await;
    assert!(registry.named(&alpine).await.is_ok());
    assert_eq!(registry.missing(), []);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_may_have_changed_is_not_missing() {
    let images = scripted([Play::Image, Play::Image, Play::fail(ImageErrorKind::Auth)]);
    let registry = with(&images, policy(PullPolicy::Always), PullOptions::default());
    let alpine = reference("alpine");
    let mut first = registry.named(&alpine).boxed();
    assert!((&mut first).now_or_never().is_none());
    assert_eq!(registry.missing().len(), 1);
    assert!(first.await.is_ok());
    let mut again = registry.named(&alpine).boxed();
    assert!((&mut again).now_or_never().is_none());
    assert_eq!(registry.missing(), []);
    assert!(again.await.is_ok());
    assert!(registry.named(&alpine).await.is_err());
    assert_eq!(registry.missing().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_dies_is_our_failure_and_ends_alone() {
    let images = scripted([Play::Panic, Play::Image]);
    let registry = of(&images);
    let error = fails(&registry, "alpine").await;
    assert_eq!(error.kind, ImageErrorKind::EngineFailed);
    assert!(ask(&registry, "alpine").await.is_ok());
}

/// Pulls live on the service's own threads, also where a request's end.
#[test]
fn a_pull_outlives_the_runtime_of_who_asked() {
    let ours = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let images = Arc::new(Scripted::new([Play::Image]).pulls_in(Duration::ZERO));
    let registry = ours.block_on(async { of(&images) });
    let theirs = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pull = theirs.block_on(async { registry.pull(&reference("alpine")) });
    drop(theirs);
    assert!(ours.block_on(pull.outcome).is_ok());
}
