//! Registries that are slow, broken or away: each has its own answer, in time, and what passes by
//! itself is tried again.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::{Here, files, verdict};
use crate::support::faults::{Act, Faults};
use crate::support::http::Response;
use crate::support::images::{Archive, Image, busybox, noise};
use crate::support::metrics::Metrics;
use crate::support::registry::Registry;
use crate::support::{Engine, Problem, until};

const DEADLINE: Duration = Duration::from_secs(2);
/// For the last attempt to be given up, and for a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// A registry with one image, `x:1`, that no other test has.
fn with_image(mark: &str) -> Registry {
    let registry = Registry::start();
    // Of its own, so that the daemon has none of it from another test.
    let layer = Archive::new().file("mark", 0o644, mark).file("own", 0o644, registry.address());
    Image::new([busybox(), layer.layer()]).push(&registry, "x", "1");
    registry
}

/// One service, one request to each of these registries, all at once.
fn fail_all(here: &Here, fronts: &[&Faults]) -> Vec<(Problem, Duration)> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            fronts.iter().map(|front| scope.spawn(|| here.fails_in(&front.name("x:1")))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a problem")).collect()
    })
}

fn addresses(fronts: &[&Faults]) -> Vec<String> {
    fronts.iter().map(|front| front.address().to_string()).collect()
}

fn here(engine: Engine, fronts: &[&Faults], settings: &[(&str, &str)]) -> Here {
    let addresses = addresses(fronts);
    let registries: Vec<&dyn ToString> = addresses.iter().map(|a| a as &dyn ToString).collect();
    Here::start(engine, &registries, settings)
}

/// No image and no part of a layer: only layers that are whole may wait for the next attempt.
#[track_caller]
fn nothing_half_is_kept(here: &Here) {
    for folder in ["tmp", "blobs", "leases"] {
        until("partial pulls to be gone", DEADLINE, || {
            files(&here.store().join(folder)).is_empty().then_some(())
        });
    }
}

fn g01_silence_ends_at_the_deadline(engine: Engine) {
    let registry = with_image("silent");
    let fronts = [
        &Faults::at(&registry, "/manifests/", |_| Act::Silence),
        &Faults::at(&registry, "/manifests/", |_| Act::Stall(0)),
        &Faults::at(&registry, "/blobs/", |_| Act::Silence),
        &Faults::at(&registry, "/blobs/", |_| Act::Stall(10)),
        &Faults::before(&registry, |_, _| Act::Silence),
    ];
    let here = here(engine, &fronts, &[("CUSTOM_IMAGE_PULL_TIMEOUT", "2")]);
    for (problem, took) in fail_all(&here, &fronts) {
        assert_eq!(verdict(&problem), ("registry_timeout".into(), 504, 1), "{}", problem.0);
        assert!((DEADLINE - SLACK..DEADLINE + SLACK).contains(&took), "after {took:?}");
    }
    nothing_half_is_kept(&here);
}

/// An address whose packets nobody takes: the queue of connections is full.
struct BlackHole {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        rustix::net::listen(&listener, 0).expect("a shorter queue");
        let address = listener.local_addr().expect("its address");
        let patience = Duration::from_millis(100);
        let connect = |_| TcpStream::connect_timeout(&address, patience).ok();
        let waiting: Vec<TcpStream> = (0..16).map_while(connect).collect();
        assert!(waiting.len() < 16, "the queue has no end");
        Self { listener, _waiting: waiting }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("its address")
    }
}

fn g01_a_black_hole_ends_at_the_deadline(engine: Engine) {
    let hole = BlackHole::new();
    let settings = [("CUSTOM_IMAGE_PULL_TIMEOUT", "2")];
    let here = Here::start(engine, &[&hole.address()], &settings);
    let (problem, took) = here.fails_in(&format!("{}/x:1", hole.address()));
    assert_eq!((problem.code(), problem.http()), ("registry_timeout", 504), "{}", problem.0);
    assert!((DEADLINE - SLACK..DEADLINE + SLACK).contains(&took), "after {took:?}");
}

/// Nobody listens: that is known at once, and the way back is not blocked for long.
fn a_registry_that_is_away_is_unavailable(engine: Engine) {
    let away = crate::support::service::free_address();
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "1"), ("CUSTOM_IMAGE_PULL_TIMEOUT", "10")];
    let here = Here::start(engine, &[&away], &settings);
    let problem = here.fails(&format!("{away}/x:1"));
    assert_eq!(verdict(&problem), ("registry_unavailable".into(), 503, 2), "{}", problem.0);
}

/// What comes, but too slowly to ever end, is held to the deadline as well.
fn g02_a_drip_ends_at_the_deadline(engine: Engine) {
    let registry = with_image("dripping");
    let fronts = [
        &Faults::at(&registry, "/manifests/", |_| Act::Drip),
        &Faults::at(&registry, "/blobs/", |_| Act::Drip),
    ];
    let here = here(engine, &fronts, &[("CUSTOM_IMAGE_PULL_TIMEOUT", "2")]);
    for (problem, took) in fail_all(&here, &fronts) {
        assert_eq!(verdict(&problem), ("registry_timeout".into(), 504, 1), "{}", problem.0);
        assert!((DEADLINE - SLACK..DEADLINE + SLACK).contains(&took), "after {took:?}");
    }
    nothing_half_is_kept(&here);
}

/// Moments between requests for the same thing.
fn gaps(front: &Faults, part: &str) -> Vec<Duration> {
    let requests = front.requests();
    let times: Vec<Instant> = requests
        .iter()
        .filter(|r| r.method == "GET" && r.path.contains(part))
        .map(|r| r.at)
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn g03_errors_that_pass_are_tried_again(engine: Engine) {
    let registry = with_image("third time");
    let front = Faults::before(&registry, |asked, times| {
        match (asked.starts_with("GET") && asked.contains("/manifests/"), times) {
            (true, 1) => Act::Say(Response::new(500, "oh")),
            (true, 2) => Act::Say(Response::new(503, "dear")),
            _ => Act::Pass,
        }
    });
    let here = here(engine, &[&front], &[]);
    assert_eq!(here.prints(&front.name("x:1"), "cat /mark"), "third time");
    let gaps = gaps(&front, "/manifests/");
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    // Not at once, and not all at the same moment: waits grow, and chance takes a part of each.
    assert!(gaps.iter().all(|gap| *gap > Duration::from_millis(50)), "{gaps:?}");
    assert!(gaps.iter().sum::<Duration>() < Duration::from_secs(15), "{gaps:?}");
}

/// The number of attempts is the operator's.
fn g03_attempts_are_counted(engine: Engine) {
    let registry = with_image("never");
    let front = Faults::before(&registry, |asked, _| match asked.contains("/manifests/") {
        true => Act::Say(Response::new(502, "no")),
        false => Act::Pass,
    });
    let here = here(engine, &[&front], &[("CUSTOM_IMAGE_PULL_RETRIES", "2")]);
    let problem = here.fails(&front.name("x:1"));
    assert_eq!(verdict(&problem), ("registry_unavailable".into(), 503, 3), "{}", problem.0);
}

/// As an HTTP date (RFC 9110, section 5.6.7), so many seconds from now.
fn date_in(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let text = format!("@{since}");
    let args = ["-u", "-d", &text, "+%a, %d %b %Y %H:%M:%S GMT"];
    let output = std::process::Command::new("date").args(args).env("LC_ALL", "C").output();
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

fn g04_a_short_retry_after_is_waited_for(engine: Engine) {
    let registry = with_image("patience");
    let enough = |value: fn() -> String| {
        Faults::before(&registry, move |asked, times| {
            match asked.starts_with("GET") && asked.contains("/manifests/") && times == 1 {
                true => Act::Say(Response::new(429, "enough").with("Retry-After", value())),
                false => Act::Pass,
            }
        })
    };
    // A date says whole seconds, and the second that has begun is not one.
    let fronts =
        [&enough(|| "1".into()), &enough(|| date_in(2)), &enough(|| "soon, perhaps".into())];
    let here = here(engine, &fronts, &[]);
    std::thread::scope(|scope| {
        for front in fronts {
            let here = &here;
            scope.spawn(move || {
                assert_eq!(here.prints(&front.name("x:1"), "cat /mark"), "patience");
            });
        }
    });
    assert!(gaps(fronts[0], "/manifests/1")[0] >= Duration::from_secs(1));
    assert!(gaps(fronts[1], "/manifests/1")[0] >= Duration::from_secs(1));
}

/// Who is told to come in an hour is told at once, and not kept waiting until the deadline.
fn g04_a_long_retry_after_is_passed_on(engine: Engine) {
    let registry = with_image("never");
    let enough = |value: String| {
        Faults::before(&registry, move |asked, _| match asked.contains("/manifests/") {
            true => Act::Say(Response::new(429, "enough").with("Retry-After", &value)),
            false => Act::Pass,
        })
    };
    let fronts = [&enough("3600".into()), &enough(date_in(3600))];
    let here = here(engine, &fronts, &[("CUSTOM_IMAGE_PULL_TIMEOUT", "20")]);
    for front in fronts {
        let began = Instant::now();
        let request = serde_json::json!({"image": front.name("x:1"), "script": "true"});
        let reply = here.execute(&request);
        let hint: u64 = reply.retry_after.as_deref().and_then(|s| s.parse().ok()).expect("a hint");
        let problem = reply.refused();
        assert_eq!(verdict(&problem), ("registry_unavailable".into(), 503, 1), "{}", problem.0);
        assert!((3500..=3601).contains(&hint), "{hint}");
        assert!(began.elapsed() < DEADLINE, "after {:?}", began.elapsed());
    }
}

/// What no second attempt can change is asked for once.
fn g05_refusals_are_final(engine: Engine) {
    let registry = with_image("never");
    let cases = [
        (400, "registry_unavailable", 503),
        (401, "registry_auth", 502),
        (403, "registry_auth", 502),
        (404, "image_not_found", 404),
    ];
    let fronts = cases.map(|(status, _, _)| {
        Faults::before(&registry, move |asked, _| match asked.contains("/manifests/") {
            true => Act::Say(Response::new(status, r#"{"errors":[]}"#)),
            false => Act::Pass,
        })
    });
    let here = here(engine, &fronts.iter().collect::<Vec<_>>(), &[]);
    for (front, (status, code, http)) in fronts.iter().zip(cases) {
        let problem = here.fails(&front.name("x:1"));
        assert_eq!(verdict(&problem), (code.into(), http, 1), "{status}: {}", problem.0);
        assert!(front.count("GET", "/manifests/") <= 1, "{status}: {:#?}", front.requests());
    }
}

/// A registry that has said no is not asked again for a moment.
fn what_is_not_there_is_remembered_for_a_moment(engine: Engine) {
    let registry = with_image("other");
    let front = Faults::before(&registry, |_, _| Act::Pass);
    let here = here(engine, &[&front], &[]);
    let missing = front.name("x:missing");
    here.fails(&missing);
    let before = front.requests().len();
    for _ in 0..3 {
        let problem = here.fails(&missing);
        assert_eq!(problem.code(), "image_not_found", "{}", problem.0);
    }
    assert_eq!(front.requests().len(), before);
}

/// A connection that breaks in every other attempt: what came is right to the last byte, and not
/// much of it came twice.
fn g06_resets_in_a_layer_are_survived(engine: Engine) {
    const SIZE: usize = 1 << 20;
    let registry = Registry::start();
    let layer = Archive::new().file("noise", 0o644, noise(6, SIZE)).layer();
    let image = Image::new([busybox(), layer.clone()]);
    image.push(&registry, "x", "1");
    let digest = layer.digest();
    let broken = |act: fn(usize) -> Act| {
        let digest = digest.clone();
        Faults::before(&registry, move |asked, times| {
            match asked.contains(&digest) && times % 2 == 1 {
                true => act(SIZE / 2),
                false => Act::Pass,
            }
        })
    };
    for front in [broken(Act::Reset), broken(Act::Cut)] {
        let here = here(engine, &[&front], &[]);
        let sum = here.prints(&front.name("x:1"), "sha256sum </noise");
        let wanted = crate::support::images::digest(&noise(6, SIZE));
        assert_eq!(sum.split(' ').next(), wanted.strip_prefix("sha256:"), "{sum}");
        let sent = front.sent(&digest);
        assert!(sent <= 2 * layer.blob.len(), "{sent} bytes for {}", layer.blob.len());
    }
}

fn g06_endless_resets_are_a_clean_failure(engine: Engine) {
    let registry = with_image("never");
    let front = Faults::at(&registry, "/blobs/", |_| Act::Reset(100));
    let here = here(engine, &[&front], &[("CUSTOM_IMAGE_PULL_RETRIES", "1")]);
    let problem = here.fails(&front.name("x:1"));
    assert_eq!(verdict(&problem), ("registry_unavailable".into(), 503, 2), "{}", problem.0);
    nothing_half_is_kept(&here);
}

/// Bytes that are not what their digest says: they are not kept, and the right ones are taken when
/// they come.
fn g07_wrong_bytes_are_corrupt(engine: Engine) {
    let registry = Registry::start();
    let layer = Archive::new().file("noise", 0o644, noise(7, 10_000)).layer();
    let image = Image::new([busybox(), layer.clone()]);
    image.push(&registry, "x", "1");
    let flip = |mut body: Vec<u8>| {
        let middle = body.len() / 2;
        body[middle] ^= 1;
        body
    };
    let changes: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        flip,
        |body| body[..body.len() - 1].to_vec(),
        |body| [&body[..], b"more"].concat(),
        |body| vec![b'x'; body.len()],
    ];
    let good = Arc::new(AtomicBool::new(false));
    let spoiled = changes.map(|change| {
        let (digest, good) = (layer.digest(), Arc::clone(&good));
        Faults::before(&registry, move |asked, _| {
            match asked.contains(&digest) && !good.load(Ordering::SeqCst) {
                true => Act::Body(change),
                false => Act::Pass,
            }
        })
    });
    let fronts: Vec<&Faults> = spoiled.iter().collect();
    let here = here(engine, &fronts, &[("CUSTOM_IMAGE_PULL_RETRIES", "1")]);
    for (problem, _) in fail_all(&here, &fronts) {
        assert_eq!(verdict(&problem), ("image_corrupt".into(), 502, 2), "{}", problem.0);
    }
    if engine == Engine::Native {
        let id = layer.diff_id.strip_prefix("sha256:").expect("a digest");
        let kept = here.store().join("layers").join(id);
        assert!(!kept.exists(), "{} is there", kept.display());
    }
    good.store(true, Ordering::SeqCst);
    for front in fronts {
        until("the good image", Duration::from_secs(20), || {
            let request =
                serde_json::json!({"image": front.name("x:1"), "script": "wc -c </noise"});
            let reply = here.execute(&request);
            (reply.http == 200).then(|| assert_eq!(reply.ran().text(), "10000\n"))
        });
    }
}

/// A registry that keeps failing is left alone for a while, and the metrics show it.
fn a_registry_that_keeps_failing_is_left_alone(engine: Engine) {
    let registry = with_image("later");
    let front = Faults::before(&registry, |asked, _| match asked.contains("/manifests/") {
        true => Act::Say(Response::new(503, "down")),
        false => Act::Pass,
    });
    let here = here(engine, &[&front], &[("CUSTOM_IMAGE_PULL_RETRIES", "0")]);
    let mut tag = 0;
    until("the circuit to open", Duration::from_secs(20), || {
        tag += 1;
        let before = front.requests().len();
        let problem = here.fails(&front.name(&format!("x:{tag}")));
        assert_eq!(problem.code(), "registry_unavailable", "{}", problem.0);
        (front.requests().len() == before).then_some(())
    });
    let open = format!("oncebox_registry_breaker_open{{registry=\"{}\"}}", front.address());
    assert_eq!(Metrics::of(&here).sample(&open), 1.0);
}

on_both_engines! {
    together: g01_silence_ends_at_the_deadline, g01_a_black_hole_ends_at_the_deadline,
        a_registry_that_is_away_is_unavailable, g02_a_drip_ends_at_the_deadline,
        g03_errors_that_pass_are_tried_again, g03_attempts_are_counted, g05_refusals_are_final,
        what_is_not_there_is_remembered_for_a_moment, g07_wrong_bytes_are_corrupt,
        a_registry_that_keeps_failing_is_left_alone;
    native: g04_a_short_retry_after_is_waited_for, g04_a_long_retry_after_is_passed_on,
        g06_resets_in_a_layer_are_survived, g06_endless_resets_are_a_clean_failure
}
