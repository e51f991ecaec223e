//! Redirects: a few are followed, to where the operator's rules let a registry be.

use std::time::Duration;

use super::{Here, verdict};
use crate::support::Engine;
use crate::support::faults::{Act, Faults};
use crate::support::http::{Response, Server};
use crate::support::images::Image;
use crate::support::registry::{Authority, Door, Registry};

/// Sends whoever asks for a blob elsewhere.
fn sending(registry: &Registry, to: String) -> Faults {
    Faults::before(registry, move |asked, _| match asked.split_once("/blobs/") {
        Some((_, digest)) => {
            let place = to.replace("DIGEST", digest);
            Act::Say(Response::new(302, []).with("Location", place))
        }
        None => Act::Pass,
    })
}

/// Round and round: it is given up after five, in each attempt.
fn g12_a_loop_is_given_up(engine: Engine) {
    let registry = Registry::start();
    Image::marked("x").push(&registry, "x", "1");
    let front = sending(&registry, "/v2/x/blobs/DIGEST".into());
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "0")];
    let here = Here::start(engine, &[&front.address()], &settings);
    let problem = here.fails(&front.name("x:1"));
    assert_eq!(verdict(&problem).2, 1, "{}", problem.0);
    assert!((502..=503).contains(&problem.http()), "{}", problem.0);
    let requests = front.requests();
    let mut paths: Vec<&str> =
        requests.iter().map(|r| r.path.as_str()).filter(|path| path.contains("/blobs/")).collect();
    let first = paths[0].to_owned();
    paths.retain(|path| *path == first);
    assert!(paths.len() <= 6, "{requests:#?}");
}

/// A relative place, several hops and all kinds of redirect are followed.
fn honest_redirects_are_followed(engine: Engine) {
    let registry = Registry::start();
    Image::marked("after some hops").push(&registry, "x", "1");
    let front = Faults::before(&registry, |asked, _| {
        let Some((_, digest)) = asked.split_once("/blobs/") else { return Act::Pass };
        let (digest, hop) = digest.split_once("?hop=").unwrap_or((digest, "0"));
        let hop: u16 = hop.parse().expect("a number");
        match [301, 302, 303, 307, 308].get(usize::from(hop)) {
            Some(status) => Act::Say(
                Response::new(*status, [])
                    .with("Location", format!("/v2/x/blobs/{digest}?hop={}", hop + 1)),
            ),
            None => Act::Pass,
        }
    });
    let here = Here::start(engine, &[&front.address()], &[]);
    assert_eq!(here.prints(&front.name("x:1"), "cat /mark"), "after some hops");
}

/// A registry that the operator named sends us to one that nobody named, at home.
fn g12_private_targets_are_refused(engine: Engine) {
    let registry = Registry::start();
    Image::marked("x").push(&registry, "x", "1");
    let bystander = Server::bystander();
    let port = bystander.address().port();
    let targets = [
        format!("http://127.0.0.1:{port}/DIGEST"),
        format!("http://localhost:{port}/DIGEST"),
        format!("http://127.1:{port}/DIGEST"),
        format!("http://2130706433:{port}/DIGEST"),
        format!("http://0.0.0.0:{port}/DIGEST"),
        format!("http://[::ffff:127.0.0.1]:{port}/DIGEST"),
        format!("//127.0.0.1:{port}/DIGEST"),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://10.0.0.1/DIGEST".into(),
        "http://[fe80::1]/DIGEST".into(),
        "file:///etc/passwd".into(),
        "ftp://127.0.0.1/x".into(),
        "gopher://127.0.0.1/x".into(),
        String::new(),
    ];
    let fronts: Vec<Faults> = targets.iter().map(|to| sending(&registry, to.clone())).collect();
    let addresses: Vec<String> = fronts.iter().map(|f| f.address().to_string()).collect();
    let registries: Vec<&dyn ToString> = addresses.iter().map(|a| a as &dyn ToString).collect();
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "0")];
    let here = Here::start(engine, &registries, &settings);
    for (front, target) in fronts.iter().zip(&targets) {
        let (problem, took) = here.fails_in(&front.name("x:1"));
        assert!((400..=503).contains(&problem.http()), "{target}: {}", problem.0);
        assert_ne!(problem.code(), "registry_timeout", "{target}: {}", problem.0);
        assert!(took < Duration::from_secs(2), "{target}: after {took:?}");
        assert_eq!(bystander.connections(), 0, "{target}");
    }
}

/// From TLS to none: what came so far was safe, and stays so.
fn g12_a_downgrade_is_refused(engine: Engine) {
    let authority = Authority::new();
    let open = Registry::start();
    Image::marked("x").push(&open, "x", "1");
    let plain = Server::bystander();
    let place = format!("http://{}", plain.address());
    let registry = open.door(Door::TlsElsewhere(&authority, &place));
    let certificate = authority.path("ca.pem");
    let (address, plain_address) = (registry.address(), plain.address().to_string());
    let trusted = format!("{address},{plain_address}");
    let settings = [
        ("TRUSTED_REGISTRIES", trusted.as_str()),
        ("INSECURE_REGISTRIES", plain_address.as_str()),
        ("REGISTRY_CA", certificate.to_str().expect("text")),
        ("CUSTOM_IMAGE_PULL_RETRIES", "0"),
    ];
    let here = Here::start(engine, &[], &settings);
    let problem = here.fails(&registry.name("x:1"));
    assert_eq!(verdict(&problem).2, 1, "{}", problem.0);
    assert!(registry.count("GET", "/blobs/") > 0, "it never came so far: {}", problem.0);
    assert_eq!(plain.connections(), 0);
}

on_both_engines! {
    together: ;
    native: g12_a_loop_is_given_up, honest_redirects_are_followed, g12_private_targets_are_refused,
        g12_a_downgrade_is_refused
}
