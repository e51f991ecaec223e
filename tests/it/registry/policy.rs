//! The operator's rules: a refused image is refused before anybody is asked.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Here, verdict};
use crate::support::Engine;
use crate::support::http::Server;
use crate::support::images::Image;
use crate::support::registry::Registry;

/// Refused by this rule, at once, and nobody was asked.
#[track_caller]
fn refused(here: &Here, image: &str, rule: &str, nobody: &Server) {
    let (problem, took) = here.fails_in(image);
    assert_eq!(verdict(&problem), ("image_not_allowed".into(), 403, 0), "{image}: {}", problem.0);
    assert_eq!(problem.field(), "image", "{}", problem.0);
    assert!(problem.detail().contains(rule), "{image}: nothing about {rule}: {}", problem.0);
    assert!(took < Duration::from_secs(1), "{image}: after {took:?}");
    assert_eq!(nobody.connections(), 0, "{image}");
}

fn only_trusted_registries_are_asked(engine: Engine) {
    let (registry, nobody) = (Registry::start(), Server::bystander());
    Image::marked("trusted").push(&registry, "x", "1");
    let (trusted, foreign) = (registry.address(), nobody.address());
    let settings = [("TRUSTED_REGISTRIES", trusted.as_str())];
    let here = Here::start(engine, &[&trusted, &foreign], &settings);
    assert_eq!(here.prints(&registry.name("x:1"), "cat /mark"), "trusted");
    for image in [format!("{foreign}/x:1"), "alpine".into(), "docker.io/library/alpine".into()] {
        refused(&here, &image, "TRUSTED_REGISTRIES", &nobody);
    }
    // The operator's own image is not held against it.
    assert_eq!(here.run(&json!({"script": "echo base"})).text(), "base\n");
}

fn only_allowed_images_run(engine: Engine) {
    let (registry, nobody) = (Registry::start(), Server::bystander());
    for (repository, tag) in [("team/tool", "1.2"), ("team/tool", "2"), ("team/deep/er", "1")] {
        Image::marked("allowed").push(&registry, repository, tag);
    }
    let address = registry.address();
    let allowed = format!("{address}/team/tool:1.*,{address}/team/deep/**");
    let settings = [("ALLOWED_IMAGES", allowed.as_str())];
    let here = Here::start(engine, &[&address, &nobody.address()], &settings);
    for image in ["team/tool:1.2", "team/deep/er:1"] {
        assert_eq!(here.prints(&registry.name(image), "cat /mark"), "allowed");
    }
    let before = registry.pulls();
    let foreign = format!("{}/team/tool:1.2", nobody.address());
    for image in
        [registry.name("team/tool:2"), registry.name("team/tools:1.2"), registry.name("x"), foreign]
    {
        refused(&here, &image, "ALLOWED_IMAGES", &nobody);
    }
    assert_eq!(registry.pulls(), before);
}

fn what_must_be_pinned_is_refused_otherwise(engine: Engine) {
    let (registry, nobody) = (Registry::start(), Server::bystander());
    let image = Image::marked("pinned");
    let digest = image.push(&registry, "x", "1");
    image.push(&registry, "x", "latest");
    let foreign = nobody.address();
    let by_tag = registry.name("x:1");
    let by_digest = registry.name(&format!("x@{digest}"));
    let by_both = registry.name(&format!("x:latest@{digest}"));
    for (how, good, bad) in [
        ("tag", vec![&by_tag, &by_digest, &by_both], vec!["x", "x:latest"]),
        ("digest", vec![&by_digest, &by_both], vec!["x", "x:latest", "x:1"]),
    ] {
        let settings = [("REQUIRE_PINNED", how)];
        let here = Here::start(engine, &[&registry.address(), &foreign], &settings);
        for image in good {
            assert_eq!(here.prints(image, "cat /mark"), "pinned", "{how}: {image}");
        }
        for image in bad {
            refused(&here, &format!("{foreign}/{image}"), "REQUIRE_PINNED", &nobody);
        }
    }
}

/// Never is never: neither the operator's nor a request's can be softened by the other.
fn never_asks_nobody(engine: Engine) {
    let registry = Registry::start();
    Image::marked("here").push(&registry, "x", "here");
    let address = registry.address();
    let here = Here::start(engine, &[&address], &[]);
    let missing = registry.name("x:missing");
    let request = json!({"image": missing, "script": "true", "pull_policy": "never"});
    let problem = here.refuse(&request);
    assert_eq!(verdict(&problem), ("image_not_found".into(), 404, 0), "{}", problem.0);
    assert!(registry.pulls().is_empty(), "{:#?}", registry.pulls());
    // What is here runs, and its tag is not looked up.
    assert_eq!(here.prints(&registry.name("x:here"), "cat /mark"), "here");
    let before = registry.pulls();
    let request = json!({"image": registry.name("x:here"), "script": "cat /mark",
                         "pull_policy": "never"});
    assert_eq!(here.run(&request).text(), "here");
    assert_eq!(registry.pulls(), before);
}

/// A request that asks for more than the operator's policy gets no more.
fn a_request_can_only_be_stricter(engine: Engine) {
    let registry = Registry::start();
    Image::marked("x").push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[("PULL_POLICY", "never")]);
    for asked in ["always", "if-not-present"] {
        let request =
            json!({"image": registry.name("x:1"), "script": "true", "pull_policy": asked});
        let problem = here.refuse(&request);
        assert!(matches!(problem.http(), 400 | 403 | 404), "{asked}: {}", problem.0);
    }
    let request = json!({"script": "true", "image": registry.name("x:1"), "pull_policy": "often"});
    let problem = here.refuse(&request);
    assert_eq!((problem.http(), problem.field()), (400, "pull_policy"), "{}", problem.0);
    assert!(registry.pulls().is_empty(), "{:#?}", registry.pulls());
}

/// A service that may ask any registry still asks none at its own, private or link-local addresses,
/// unless the operator names it.
fn private_addresses_are_refused(engine: Engine) {
    let nobody = Server::bystander();
    let port = nobody.address().port();
    let here = Here::start(engine, &[], &[("CUSTOM_IMAGE_PULL_TIMEOUT", "5")]);
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "[::1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "[::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fd00::1]",
        "[fe80::1]",
        "100.64.0.1",
        "[::ffff:a9fe:a9fe]",
    ] {
        refused(&here, &format!("{host}:{port}/x:1"), "TRUSTED_REGISTRIES", &nobody);
    }
}

/// Strings that are no images, or none that may be asked for.
fn w15_image_strings_cause_no_connection(engine: Engine) {
    let nobody = Server::bystander();
    let port = nobody.address().port();
    let here = Here::start(engine, &[], &[("CUSTOM_IMAGE_PULL_TIMEOUT", "5")]);
    let long = format!("127.0.0.1:{port}/{}", "a".repeat(300));
    let local = |rest: &str| format!("127.0.0.1:{port}/{rest}");
    let strings = [
        "a; id".into(),
        "--privileged".into(),
        "-v/:/x".into(),
        "../x".into(),
        "UPPER".into(),
        "Upper/case".into(),
        long,
        "x\n".into(),
        local("x\n"),
        " x".into(),
        "x y".into(),
        local("x"),
        local("x:1"),
        format!("[::1]:{port}/x"),
        format!("localhost:{port}/x"),
        format!("http://127.0.0.1:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        "file:///etc/passwd".into(),
        "docker-archive:/etc/passwd".into(),
        "oci:/etc".into(),
        "x@sha256:abc".into(),
        local("x@sha256:abc"),
        local("x@md5:0123"),
        local("a%2fb"),
        local("%2e%2e/x"),
        local("../x"),
        local("a//b"),
        local("/x"),
        local("x/"),
        local("x:"),
        local("x?y=z"),
        local("x#y"),
        local("x\\y"),
        local("x\u{0}"),
        local("x:\u{430}"),
        "\u{430}lpine".into(),
        "alp\u{ed}ne".into(),
        "user:password@127.0.0.1/x".into(),
        format!("user@127.0.0.1:{port}/x"),
        "0x7f.0.0.1/x".into(),
        format!("127.1:{port}/x"),
        format!("2130706433:{port}/x"),
        format!("0177.0.0.1:{port}/x"),
        format!("127.0.0.1.:{port}/x"),
        "10.0.0.1/x".into(),
        "169.254.169.254/latest/meta".into(),
        "$(id)".into(),
        "`id`".into(),
        "${HOME}".into(),
        "host/x".into(),
        "".into(),
        ":".into(),
        "@".into(),
        "/".into(),
        ".".into(),
        "..".into(),
        "sha256:".into(),
        "0".repeat(64),
    ];
    for image in strings {
        let began = Instant::now();
        let reply = here.execute(&json!({"image": image, "script": "echo it ran"}));
        let took = began.elapsed();
        let http = reply.http;
        let problem = reply.refused();
        // A name that only a name server could tell more about may be looked up, and not be found.
        let unknown = ["host/x"].contains(&image.as_str());
        assert!(matches!(http, 400 | 403) || unknown, "{image:?}: {}", problem.0);
        if http == 403 {
            assert_eq!(problem.code(), "image_not_allowed", "{image:?}");
        }
        assert!(took < Duration::from_secs(1) || unknown, "{image:?}: after {took:?}");
        assert_eq!(nobody.connections(), 0, "{image:?}");
    }
}

on_both_engines! {
    together: only_trusted_registries_are_asked, only_allowed_images_run,
        what_must_be_pinned_is_refused_otherwise, never_asks_nobody, a_request_can_only_be_stricter,
        private_addresses_are_refused, w15_image_strings_cause_no_connection
}
