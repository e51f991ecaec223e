//! Many who want the same image, services that share a store, and a pull that nobody lived to end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Here, Images, files, verdict};
use crate::support::disk::Disk;
use crate::support::faults::{Act, Faults, Gate};
use crate::support::images::{Archive, Image, busybox, noise};
use crate::support::metrics::Metrics;
use crate::support::registry::Registry;
use crate::support::residue::Residue;
use crate::support::{Engine, Reply, host, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Fifty at once make one pull, and the one who asked first may leave.
fn g16_many_requests_make_one_pull(engine: Engine) {
    const MANY: usize = 50;
    let registry = Registry::start();
    let own = Archive::new().file("mark", 0o644, registry.address()).layer();
    let image = Image::new([busybox(), own.clone()]);
    image.push(&registry, "x", "1");
    let gate = Gate::default();
    let (held, digest) = (gate.clone(), own.digest());
    let front = Faults::before(&registry, move |asked, _| {
        if asked.contains(&digest) {
            held.pass();
        }
        Act::Pass
    });
    let settings = [("MAX_CONCURRENT", "4"), ("QUEUE_LIMIT", "100"), ("QUEUE_TIMEOUT", "100")];
    let here = Here::start(engine, &[&front.address()], &settings);
    let request = json!({"image": front.name("x:1"), "script": "cat /mark"});
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let first = scope.spawn(|| here.abandon(&request, Duration::from_secs(2)));
        until("the pull to begin", PATIENCE, || {
            (front.count("GET", "/manifests/") > 0).then_some(())
        });
        let threads: Vec<_> = (1..MANY)
            .map(|_| {
                let (post, request) = (here.poster(), &request);
                scope.spawn(move || post(request).expect("an answer"))
            })
            .collect();
        first.join().expect("it left");
        gate.open();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(replies.len(), MANY - 1);
    for reply in replies {
        assert_eq!(reply.ran().text(), registry.address());
    }
    for (digest, _) in image.blobs() {
        assert!(registry.count("GET", &digest) <= 1, "{:#?}", registry.pulls());
    }
    assert_eq!(registry.count("GET", &own.digest()), 1, "{:#?}", registry.pulls());
}

/// When the last one who wanted it has left, a pull ends.
fn a_pull_that_nobody_wants_ends(engine: Engine) {
    let registry = Registry::start();
    Image::marked("unwanted").push(&registry, "x", "1");
    let front = Faults::at(&registry, "/blobs/", |_| Act::Stall(10));
    let here = Here::start(engine, &[&front.address()], &[]);
    let request = json!({"image": front.name("x:1"), "script": "true"});
    here.abandon(&request, Duration::from_secs(1));
    until("its end", PATIENCE, || {
        let ended = Metrics::of(&here).sample("oncebox_pulls_total{result=\"given_up\"}");
        (ended == 1.0).then_some(())
    });
    until("what came of it to be gone", PATIENCE, || {
        files(&here.store().join("tmp")).is_empty().then_some(())
    });
}

/// Two services on one store: both get the image, and neither takes the other's away.
fn two_services_share_a_store(engine: Engine) {
    let registry = Registry::start();
    let big = Archive::new().file("noise", 0o644, noise(16, 1 << 20)).layer();
    Image::new([busybox(), big.clone()]).push(&registry, "x", "1");
    let one = Here::start(engine, &[&registry.address()], &[]);
    let two = Here::on(&one.images, &[]);
    let name = registry.name("x:1");
    std::thread::scope(|scope| {
        for here in [&one, &two] {
            let name = &name;
            scope.spawn(move || assert_eq!(here.prints(name, "wc -c </noise"), "1048576\n"));
        }
    });
    // In the other's hands it can't be removed.
    let mark = host::mark("71");
    std::thread::scope(|scope| {
        let request = json!({"image": name, "script": format!("sleep {mark}; echo end")});
        let two = &two;
        scope.spawn(move || two.abandon(&request, Duration::from_secs(3)));
        host::await_argument(&mark);
        let problem = one.delete(&format!("/images/{name}")).refused();
        assert_eq!((problem.code(), problem.http()), ("image_in_use", 409), "{}", problem.0);
    });
    until("the image to be free", PATIENCE, || {
        (one.delete(&format!("/images/{name}")).http == 200).then_some(())
    });
    // The other one sees that it is gone, and gets it again.
    assert_eq!(two.prints(&name, "wc -c </noise"), "1048576\n");
}

/// Killed in the middle of a layer: the next service fetches what is missing, and nothing more.
fn a_pull_goes_on_after_a_kill(engine: Engine) {
    let registry = Registry::start();
    let small = Archive::new().file("small", 0o644, noise(1, 1000)).layer();
    let big = Archive::new().file("big", 0o644, noise(2, 1 << 20)).layer();
    Image::new([busybox(), small.clone(), big.clone()]).push(&registry, "x", "1");
    let digest = big.digest();
    let front = Faults::before(&registry, move |asked, times| {
        match asked.contains(&digest) && times == 1 {
            true => Act::Stall(500_000),
            false => Act::Pass,
        }
    });
    let here = Here::start(engine, &[&front.address()], &[]);
    let name = front.name("x:1");
    let residue_and_images = std::thread::scope(|scope| {
        let post = here.poster();
        let request = json!({"image": name, "script": "true"});
        scope.spawn(move || drop(post(&request)));
        let id = small.diff_id.strip_prefix("sha256:").expect("a digest");
        until("a whole layer and half of another", PATIENCE, || {
            let index = std::fs::read_to_string(here.store().join("index.json"));
            let whole = index.is_ok_and(|index| index.contains(id));
            (whole && front.sent(&big.digest()) > 0).then_some(())
        });
        here.kill()
    });
    let (residue, images) = residue_and_images;
    let again = Here::on(&images, &[]);
    assert_eq!(again.prints(&name, "wc -c </small; wc -c </big"), "1000\n1048576\n");
    assert_eq!(front.count("GET", &small.digest()), 1);
    assert_eq!(front.count("GET", &big.digest()), 2);
    until("what was left of the first try to be gone", PATIENCE, || {
        files(&again.store().join("tmp")).is_empty().then_some(())
    });
    drop(again);
    residue.gone();
}

/// Killed again and again, wherever the pull was: the store is never wrong, and the work goes on.
fn a_pull_survives_kills_at_any_moment(engine: Engine) {
    const LAYERS: u64 = 6;
    let registry = Registry::start();
    let noisy = |n: u64| noise(n, 100_000);
    let mut image = Image::new([busybox()]);
    for n in 0..LAYERS {
        let layer = Archive::new().file(format!("noise-{n}"), 0o644, noisy(n)).layer();
        image = image.with(layer);
    }
    image.push(&registry, "x", "1");
    let front = Faults::at(&registry, "/blobs/", |_| {
        std::thread::sleep(Duration::from_millis(20));
        Act::Pass
    });
    let name = front.name("x:1");
    let mut images = Images::from(engine, &[&front.address()]);
    let mut left = Vec::new();
    for kill in 1..=6 {
        let here = Here::on(&images, &[]);
        let asked = front.requests().len();
        let post = here.poster();
        let request = json!({"image": name, "script": "true"});
        std::thread::scope(|scope| {
            let run = scope.spawn(move || post(&request).is_ok());
            // Each time a little later, and in no step with what the service does.
            until("the pull to have come so far", PATIENCE, || {
                (run.is_finished() || front.requests().len() >= asked + kill).then_some(())
            });
            let (residue, same) = here.kill();
            left.push(residue);
            images = same;
        });
    }
    let here = Here::on(&images, &[]);
    let answer = here.prints(&name, "sha256sum /noise-*");
    for (n, line) in (0..LAYERS).zip(answer.lines()) {
        let sum = crate::support::images::digest(&noisy(n));
        assert_eq!(line.split(' ').next(), sum.strip_prefix("sha256:"), "{answer}");
    }
    until("what was left to be gone", PATIENCE, || {
        files(&here.store().join("tmp")).is_empty().then_some(())
    });
    drop(here);
    left.into_iter().for_each(Residue::gone);
}

/// The disk is full in the middle of a layer: that is said, its part goes, and what was there runs.
fn g17_a_full_disk_is_no_space(engine: Engine) {
    let registry = Registry::start();
    Image::marked("small").push(&registry, "x", "small");
    let big = Archive::new().file("noise", 0o644, noise(17, 20 << 20)).layer();
    Image::new([busybox(), big]).push(&registry, "x", "big");
    let disk = Disk::of("12m");
    let settings = [("IMAGE_STORE", disk.path())];
    let here = Here::start(engine, &[&registry.address()], &settings);
    assert_eq!(here.prints(&registry.name("x:small"), "cat /mark"), "small");
    let problem = here.fails(&registry.name("x:big"));
    assert_eq!(verdict(&problem), ("no_space".into(), 507, 1), "{}", problem.0);
    until("partial pulls to be gone", Duration::from_secs(2), || {
        files(&disk.folder().join("tmp")).is_empty().then_some(())
    });
    assert_eq!(here.prints(&registry.name("x:small"), "cat /mark"), "small");
    drop(here);
}

/// An image of so many bytes that is like no other.
fn sized(registry: &Registry, tag: &str, bytes: usize) -> String {
    let seed = tag.bytes().map(u64::from).sum();
    let layer = Archive::new().file("noise", 0o644, noise(seed, bytes)).layer();
    Image::new([busybox(), layer]).push(registry, "x", tag);
    registry.name(&format!("x:{tag}"))
}

fn names(here: &Here) -> Vec<String> {
    let reply = here.get("/images").expect("an answer");
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let images = body["images"].as_array().expect("a list");
    let names = images.iter().flat_map(|image| image["references"].as_array().expect("a list"));
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// The store's own limit: the image that was not used for the longest time makes room.
fn the_store_forgets_what_was_used_longest_ago(engine: Engine) {
    let registry = Registry::start();
    let [a, b, c] = ["a", "b", "c"].map(|tag| sized(&registry, tag, 4 << 20));
    let limit = [("IMAGE_STORE_SIZE", "14m")];
    let first = Here::start(engine, &[&registry.address()], &limit);
    for name in [&a, &b] {
        assert_eq!(first.prints(name, "wc -c </noise"), "4194304\n");
    }
    let images = Arc::clone(&first.images);
    drop(first);
    // Uses are written down by the second, and by each service only now and then.
    let second = || SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let last = second();
    until("another second", PATIENCE, || (second() > last).then_some(()));
    let here = Here::on(&images, &limit);
    for name in [&a, &c] {
        assert_eq!(here.prints(name, "wc -c </noise"), "4194304\n");
    }
    until("an image to make room", PATIENCE, || {
        let names = names(&here);
        (!names.contains(&b))
            .then(|| assert!(names.contains(&a) && names.contains(&c), "{names:?}"))
    });
}

/// What runs is never taken away, however little room there is.
fn the_store_keeps_what_is_in_use(engine: Engine) {
    let registry = Registry::start();
    let [a, b] = ["a", "b"].map(|tag| sized(&registry, tag, 4 << 20));
    let here = Here::start(engine, &[&registry.address()], &[("IMAGE_STORE_SIZE", "8m")]);
    let mark = &host::mark("3.75");
    std::thread::scope(|scope| {
        let (post, request) = (
            here.poster(),
            json!({"image": a, "script": format!("sleep {mark}; sha256sum </noise")}),
        );
        let run = scope.spawn(move || post(&request).expect("an answer").ran().text());
        host::await_argument(mark);
        let problem = here.fails(&b);
        assert_eq!((problem.code(), problem.http()), ("no_space", 507), "{}", problem.0);
        let sum = crate::support::images::digest(&noise(u64::from(b'a'), 4 << 20));
        let printed = run.join().expect("no panic");
        assert_eq!(printed.split(' ').next(), sum.strip_prefix("sha256:"));
    });
    // Then there is room.
    until("the other image to run", PATIENCE, || {
        let reply = here.execute(&json!({"image": b, "script": "wc -c </noise"}));
        (reply.http == 200).then(|| assert_eq!(reply.ran().text(), "4194304\n"))
    });
}

on_both_engines! {
    together: g16_many_requests_make_one_pull, a_pull_that_nobody_wants_ends;
    native: two_services_share_a_store, a_pull_goes_on_after_a_kill,
        a_pull_survives_kills_at_any_moment, g17_a_full_disk_is_no_space,
        the_store_forgets_what_was_used_longest_ago, the_store_keeps_what_is_in_use
}
