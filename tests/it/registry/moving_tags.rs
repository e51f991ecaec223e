//! Tags that move: the image that was resolved runs until somebody says otherwise.

use std::time::Duration;

use serde_json::{Value, json};

use super::Here;
use crate::support::faults::{Act, Faults};
use crate::support::images::{Archive, Image, busybox};
use crate::support::registry::Registry;
use crate::support::{Answer, Engine, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Puts another image under `x:1`, and says its digest.
fn push(registry: &Registry, mark: &str) -> String {
    let layer = Archive::new().file("mark", 0o644, mark).file("own", 0o644, registry.address());
    Image::new([busybox(), layer.layer()]).push(registry, "x", "1")
}

fn run(here: &Here, image: &str, policy: &str) -> Answer {
    here.run(&json!({"image": image, "script": "cat /mark", "pull_policy": policy}))
}

fn if_not_present_keeps_what_was_resolved(engine: Engine) {
    let registry = Registry::start();
    let old = push(&registry, "old");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    assert_eq!(here.prints(&name, "cat /mark"), "old");
    let new = push(&registry, "new");
    let before = registry.pulls();
    for policy in ["if-not-present", "never"] {
        let answer = run(&here, &name, policy);
        assert_eq!((answer.text().as_str(), &answer.0["image_digest"]), ("old", &json!(old)));
    }
    assert_eq!(registry.pulls(), before);
    // Told otherwise, it follows; and the old image is still there for whoever pins it.
    let answer = run(&here, &name, "always");
    assert_eq!((answer.text().as_str(), &answer.0["image_digest"]), ("new", &json!(new)));
    let pinned = registry.name(&format!("x@{old}"));
    assert_eq!(here.prints(&pinned, "cat /mark"), "old");
}

/// A tag that has not moved costs one question each time; one that has, a pull of what is new.
fn always_asks_once_each_time(engine: Engine) {
    let registry = Registry::start();
    push(&registry, "old");
    let front = Faults::before(&registry, |_, _| Act::Pass);
    let name = front.name("x:1");
    // The service's own image is asked for as well, so it has to be at a registry.
    let settings = [("PULL_POLICY", "always"), ("BASE_IMAGE", &name)];
    let here = Here::start(engine, &[&front.address()], &settings);
    assert_eq!(here.prints(&name, "cat /mark"), "old");
    for _ in 0..3 {
        let before = (front.count("HEAD", "/manifests/1"), front.count("GET", "/blobs/"));
        assert_eq!(here.prints(&name, "cat /mark"), "old");
        let after = (front.count("HEAD", "/manifests/1"), front.count("GET", "/blobs/"));
        assert_eq!(after.1, before.1, "a blob that is here was asked for");
        if engine == Engine::Native {
            assert_eq!(after.0, before.0 + 1, "{:#?}", front.requests());
        }
    }
    if engine == Engine::Native {
        // The first pull, and nothing since.
        assert_eq!(front.count("GET", "/manifests/"), 1, "{:#?}", front.requests());
    }
    push(&registry, "new");
    assert_eq!(here.prints(&name, "cat /mark"), "new");
}

/// With the registry away, `always` can't say what the tag leads to, and runs nothing else.
fn always_runs_nothing_unchecked(engine: Engine) {
    let registry = Registry::start();
    push(&registry, "old");
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "0"), ("CUSTOM_IMAGE_PULL_TIMEOUT", "5")];
    let here = Here::start(engine, &[&registry.address()], &settings);
    let name = registry.name("x:1");
    assert_eq!(here.prints(&name, "cat /mark"), "old");
    drop(registry);
    let request = json!({"image": name, "script": "cat /mark", "pull_policy": "always"});
    let problem = here.refuse(&request);
    assert_eq!((problem.code(), problem.http()), ("registry_unavailable", 503), "{}", problem.0);
    assert_eq!(here.prints(&name, "cat /mark"), "old");
}

/// A request that names no image may still say when a registry is asked for the operator's.
fn the_operators_own_image_follows_when_a_request_says_so(engine: Engine) {
    let registry = Registry::start();
    push(&registry, "old");
    let name = registry.name("x:1");
    let here = Here::start(engine, &[&registry.address()], &[("BASE_IMAGE", &name)]);
    let mark = |policy: Option<&str>| {
        let mut request = json!({"script": "cat /mark"});
        if let Some(policy) = policy {
            request["pull_policy"] = json!(policy);
        }
        here.run(&request).text()
    };
    push(&registry, "new");
    assert_eq!((mark(None), mark(Some("never"))), ("old".into(), "old".into()));
    assert_eq!((mark(Some("always")), mark(None)), ("new".into(), "new".into()));
    let strict = [("BASE_IMAGE", &*name), ("PULL_POLICY", "always")];
    let problem = Here::start(engine, &[&registry.address()], &strict)
        .refuse(&json!({"script": "cat /mark", "pull_policy": "never"}));
    assert_eq!(problem.code(), "image_not_allowed", "{}", problem.0);
}

/// What waits ahead is of the image that the tag leads to now: the old pool drains, and the new one
/// fills.
fn the_pool_follows_the_tag(engine: Engine) {
    let registry = Registry::start();
    let old = push(&registry, "old");
    let name = registry.name("x:1");
    let pools = format!("{name}=1");
    let here = Here::start(engine, &[&registry.address()], &[("CUSTOM_POOLS", &pools)]);
    let waits = |digest: &str, count: u64| {
        until("the pool to follow", PATIENCE, || {
            let reply = here.get("/images").expect("an answer");
            let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
            let images = body["images"].as_array().expect("a list");
            let image = images.iter().find(|image| image["digest"] == digest);
            let pool = image.and_then(|image| image["pool"].as_u64()).unwrap_or_default();
            (pool == count).then_some(())
        });
    };
    waits(&old, 1);
    let new = push(&registry, "new");
    assert_eq!(run(&here, &name, "always").text(), "new");
    waits(&new, 1);
    waits(&old, 0);
    assert_eq!(here.prints(&name, "cat /mark"), "new");
}

on_both_engines! {
    together: if_not_present_keeps_what_was_resolved, always_asks_once_each_time,
        always_runs_nothing_unchecked, the_operators_own_image_follows_when_a_request_says_so,
        the_pool_follows_the_tag
}
