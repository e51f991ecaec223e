//! Manifests that lie: about their digest, their kind, their size, their platform, and where their
//! layers are.

use serde_json::{Value, json};

use super::{Here, verdict};
use crate::support::faults::{Act, Faults};
use crate::support::http::{Response, Server};
use crate::support::images::{
    Archive, Document, Format, Image, architecture, busybox, digest, push_blob,
};
use crate::support::registry::Registry;
use crate::support::{Engine, Problem};

/// A registry whose manifests are all this one, whatever is asked for; its blobs are true.
fn saying(registry: &Registry, media_type: &str, body: impl Into<Vec<u8>>) -> Faults {
    let (body, media_type) = (body.into(), media_type.to_owned());
    Faults::before(registry, move |asked, _| match asked.contains("/manifests/") {
        true => Act::Say(
            Response::new(200, body.clone())
                .with("Content-Type", &media_type)
                .with("Docker-Content-Digest", digest(&body)),
        ),
        false => Act::Pass,
    })
}

fn here(engine: Engine, fronts: &[&Faults]) -> Here {
    let addresses: Vec<_> = fronts.iter().map(|front| front.address()).collect();
    let registries: Vec<_> = addresses.iter().map(|address| address as &dyn ToString).collect();
    Here::start(engine, &registries, &[("CUSTOM_IMAGE_PULL_RETRIES", "0")])
}

/// It did not run, and the fault is the registry's or the image's.
#[track_caller]
fn refused(here: &Here, image: &str, codes: &[&str]) -> Problem {
    let problem = here.fails(image);
    assert!(codes.contains(&problem.code()), "{codes:?}: {}", problem.0);
    assert_eq!(verdict(&problem).2, 1, "{}", problem.0);
    problem
}

const BROKEN: &[&str] = &["image_corrupt", "image_unsupported"];

/// Asked for by its digest, another one comes.
fn g11_a_manifest_that_is_not_its_digest(engine: Engine) {
    let registry = Registry::start();
    let wanted = Image::marked("wanted").push(&registry, "x", "1");
    let other = Image::marked("another");
    other.push(&registry, "x", "2");
    let front = saying(&registry, Format::Docker.manifest(), other.manifest().bytes);
    let here = here(engine, &[&front]);
    refused(&here, &front.name(&format!("x@{wanted}")), &["image_corrupt"]);
}

/// One document that reads as both (CVE-2021-41190), under either name.
fn g11_an_index_and_a_manifest_at_once(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked("x").oci();
    image.push(&registry, "x", "1");
    let manifest = image.manifest();
    let mut both: Value = serde_json::from_slice(&manifest.bytes).expect("JSON");
    both["manifests"] = json!([{
        "mediaType": manifest.media_type, "digest": manifest.digest(),
        "size": manifest.bytes.len(), "platform": {"os": "linux", "architecture": architecture()},
    }]);
    for media_type in [Format::Oci.manifest(), Format::Oci.index()] {
        both["mediaType"] = json!(media_type);
        let front = saying(&registry, media_type, both.to_string());
        refused(&here(engine, &[&front]), &front.name("x:1"), BROKEN);
    }
}

/// Each poses as the other, by the header or by its own word.
fn g11_an_index_posing_as_a_manifest(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked("x").oci();
    image.push(&registry, "x", "1");
    let manifest = image.manifest();
    let index = Document::index(Format::Oci, &[(&manifest, architecture())]);
    for (media_type, document) in [
        (Format::Oci.manifest(), &index),
        (Format::Oci.index(), &manifest),
        ("text/html", &manifest),
    ] {
        let front = saying(&registry, media_type, document.bytes.clone());
        refused(&here(engine, &[&front]), &front.name("x:1"), BROKEN);
    }
}

fn g11_an_index_in_an_index(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked("x").oci();
    image.push(&registry, "x", "1");
    let inner = Document::index(Format::Oci, &[(&image.manifest(), architecture())]);
    inner.push(&registry, "x", "inner");
    let outer = Document::index(Format::Oci, &[(&inner, architecture())]);
    outer.push(&registry, "x", "outer");
    let here = Here::start(engine, &[&registry.address()], &[]);
    refused(&here, &registry.name("x:outer"), &["image_unsupported"]);
    assert_eq!(registry.count("GET", "/blobs/"), 0, "{:#?}", registry.pulls());
}

/// A manifest of 10 MiB is not read to its end, whether or not it says how long it is.
fn g11_a_manifest_without_end(engine: Engine) {
    const CAP: usize = 4 << 20;
    // What is on its way when the client closes is not what it has read.
    const ON_ITS_WAY: usize = 8 << 20;
    let registry = Registry::start();
    let mut long = json!({"schemaVersion": 2, "mediaType": Format::Docker.manifest()});
    long["x"] = json!("x".repeat(10 << 20));
    let fronts = [
        saying(&registry, Format::Docker.manifest(), long.to_string()),
        Faults::at(&registry, "/manifests/", |_| Act::Endless(vec![b' '; 1 << 16])),
    ];
    let here = here(engine, &[&fronts[0], &fronts[1]]);
    for front in &fronts {
        refused(&here, &front.name("x:1"), BROKEN);
    }
    let sent = fronts[1].sent("/manifests/");
    assert!(sent < CAP + ON_ITS_WAY, "{sent} bytes were taken");
}

fn g11_no_image_for_this_platform(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked("x");
    image.push(&registry, "x", "1");
    let foreign = if architecture() == "s390x" { "amd64" } else { "s390x" };
    Document::index(Format::Docker, &[(&image.manifest(), foreign)]).push(&registry, "x", "other");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let problem = refused(&here, &registry.name("x:other"), &["image_unsupported"]);
    let told = ["platform", architecture()].iter().any(|word| problem.detail().contains(word));
    assert!(told, "{}", problem.0);
}

/// A manifest of one image says its platform only in its configuration.
fn g11_an_image_of_another_platform(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked("x");
    image.push(&registry, "x", "1");
    for (tag, key, value) in [("cpu", "architecture", "s390x"), ("os", "os", "windows")] {
        let mut config: Value = serde_json::from_slice(&image.config()).expect("JSON");
        config[key] = json!(value);
        push_config(&registry, &image, &config, tag);
    }
    let here = Here::start(engine, &[&registry.address()], &[]);
    for tag in ["cpu", "os"] {
        let name = registry.name(&format!("x:{tag}"));
        refused(&here, &name, &["image_unsupported"]);
    }
}

/// Pushes an image with another configuration than its own.
fn push_config(registry: &Registry, image: &Image, config: &Value, tag: &str) {
    let bytes = config.to_string().into_bytes();
    let mut manifest: Value = serde_json::from_slice(&image.manifest().bytes).expect("JSON");
    manifest["config"]["digest"] = json!(digest(&bytes));
    manifest["config"]["size"] = json!(bytes.len());
    push_blob(registry, "x", &digest(&bytes), bytes);
    Document::new(image.manifest().media_type, &manifest).push(registry, "x", tag);
}

/// Layers that are said to be elsewhere are fetched from nowhere else.
fn g11_urls_of_layers_are_not_followed(engine: Engine) {
    let elsewhere = Server::bystander();
    let registry = Registry::start();
    let image = Image::marked("from the registry");
    image.push(&registry, "x", "1");
    let urls = json!([format!("http://{}/layer", elsewhere.address())]);
    let mut manifest: Value = serde_json::from_slice(&image.manifest().bytes).expect("JSON");
    for layer in manifest["layers"].as_array_mut().expect("a list") {
        layer["urls"] = urls.clone();
    }
    let front = saying(&registry, Format::Docker.manifest(), manifest.to_string());
    let here_with_blobs = here(engine, &[&front]);
    // It may do without them, or refuse the image.
    let request = json!({"image": front.name("x:1"), "script": "cat /mark"});
    let reply = here_with_blobs.execute(&request);
    match reply.http {
        200 => assert_eq!(reply.ran().text(), "from the registry"),
        _ => assert_eq!(reply.refused().code(), "image_unsupported"),
    }
    // Layers of the kind that may only be fetched elsewhere, and are at no registry.
    let gone = digest(b"nowhere");
    manifest["layers"][1]["digest"] = json!(gone);
    manifest["layers"][1]["mediaType"] =
        json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let front = saying(&registry, Format::Docker.manifest(), manifest.to_string());
    refused(
        &here(engine, &[&front]),
        &front.name("x:1"),
        &["image_unsupported", "image_not_found"],
    );
    assert_eq!(elsewhere.connections(), 0);
}

/// A page for people, as a captive portal sends it, is no image.
fn g11_a_web_page_is_no_manifest(engine: Engine) {
    let registry = Registry::start();
    let page = "<!doctype html><title>Welcome</title><p>Sign in to use this network";
    let front = saying(&registry, "text/html; charset=utf-8", page);
    let here = here(engine, &[&front]);
    let problem = here.fails(&front.name("x:1"));
    assert!((502..=503).contains(&problem.http()) || problem.http() == 422, "{}", problem.0);
    assert!(!problem.0.to_string().contains("Welcome"), "{}", problem.0);
}

fn documents_of_no_known_kind_are_refused(engine: Engine) {
    let registry = Registry::start();
    let ours = Format::Docker.manifest();
    let bytes = Image::marked("x").manifest().bytes;
    let valid: Value = serde_json::from_slice(&bytes).expect("JSON");
    let with = |path: &str, value: Value| {
        let mut changed = valid.clone();
        *changed.pointer_mut(path).expect("a place") = value;
        changed.to_string()
    };
    let cases: Vec<(&str, String)> = vec![
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion": 1}"#.into(),
        ),
        (ours, String::new()),
        (ours, "{".into()),
        (ours, "null".into()),
        (ours, "[]".into()),
        (ours, "{}".into()),
        (ours, "[".repeat(100_000)),
        (ours, with("/schemaVersion", json!(3))),
        (ours, with("/config/size", json!(-1))),
        (ours, with("/config/size", json!(u64::MAX))),
        (ours, with("/layers/0/size", json!(1_u64 << 62))),
        (ours, with("/config/digest", json!("sha256:../../../../etc/passwd"))),
        (ours, with("/layers/0/digest", json!("../../etc/passwd"))),
        (ours, with("/layers/0/digest", json!("md5:00"))),
        (ours, with("/layers/0/mediaType", json!("application/zip"))),
        (ours, with("/layers", json!([]))),
        (ours, with("/layers", json!(null))),
    ];
    let fronts: Vec<Faults> =
        cases.iter().map(|(kind, body)| saying(&registry, kind, body.clone())).collect();
    let here = here(engine, &fronts.iter().collect::<Vec<_>>());
    for (front, (_, body)) in fronts.iter().zip(&cases) {
        let problem = here.fails(&front.name("x:1"));
        let shown: String = body.chars().take(300).collect();
        let codes = ["image_corrupt", "image_unsupported", "image_not_found"];
        assert!(codes.contains(&problem.code()), "{shown}: {}", problem.0);
    }
}

/// A configuration that does not belong to the layers, or is none.
fn configurations_that_lie_are_refused(engine: Engine) {
    let registry = Registry::start();
    let image = Image::new([busybox(), Archive::new().file("x", 0o644, "x").layer()]);
    image.push(&registry, "x", "1");
    let valid: Value = serde_json::from_slice(&image.config()).expect("JSON");
    let with = |path: &str, value: Value| {
        let mut changed = valid.clone();
        *changed.pointer_mut(path).expect("a place") = value;
        changed
    };
    let swapped = {
        let ids = valid["rootfs"]["diff_ids"].as_array().expect("a list");
        json!([ids[1], ids[0]])
    };
    let cases = [
        with("/rootfs/diff_ids", json!([])),
        with("/rootfs/diff_ids", swapped),
        with("/rootfs/diff_ids/0", json!("sha256:../../x")),
        with("/rootfs/diff_ids/0", json!(digest(b"another"))),
        with("/rootfs", json!({"type": "other"})),
        json!([]),
        json!("x".repeat(5 << 20)),
    ];
    for (n, config) in cases.iter().enumerate() {
        push_config(&registry, &image, config, &format!("c{n}"));
    }
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "0")];
    let here = Here::start(engine, &[&registry.address()], &settings);
    for n in 0..cases.len() {
        refused(&here, &registry.name(&format!("x:c{n}")), BROKEN);
    }
    assert_eq!(here.prints(&registry.name("x:1"), "cat /x"), "x");
}

on_both_engines! {
    together: g11_a_manifest_that_is_not_its_digest, g11_no_image_for_this_platform,
        g11_a_web_page_is_no_manifest;
    native: g11_urls_of_layers_are_not_followed, g11_an_index_and_a_manifest_at_once, g11_an_index_posing_as_a_manifest,
        g11_an_index_in_an_index, g11_a_manifest_without_end, g11_an_image_of_another_platform,
        documents_of_no_known_kind_are_refused, configurations_that_lie_are_refused
}
