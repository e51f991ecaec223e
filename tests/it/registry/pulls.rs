//! Images that are pulled and run, from every kind of honest registry.

use std::process::Command;

use serde_json::json;

use super::{Here, said, verdict};
use crate::support::Engine;
use crate::support::http::Server;
use crate::support::images::{Archive, Document, Format, Image, Packing, architecture, busybox};
use crate::support::registry::{Authority, Door, Registry};

fn an_image_is_pulled_and_run(engine: Engine) {
    let registry = Registry::start();
    let digest = Image::marked("pulled").push(&registry, "some/path/x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("some/path/x:1");
    let answer = here.runs(&name, "cat /mark");
    assert_eq!(answer.text(), "pulled");
    assert_eq!((&answer.0["image"], &answer.0["image_digest"]), (&json!(name), &json!(digest)));
}

/// What is here needs no registry: it is not asked, and may be gone.
fn a_cached_image_asks_nobody(engine: Engine) {
    let registry = Registry::start();
    Image::marked("cached").push(&registry, "x", "1");
    let name = registry.name("x:1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    assert_eq!(here.prints(&name, "cat /mark"), "cached");
    let before = registry.pulls();
    for _ in 0..3 {
        assert_eq!(here.prints(&name, "cat /mark"), "cached");
    }
    assert_eq!(registry.pulls(), before);
    drop(registry);
    assert_eq!(here.prints(&name, "cat /mark"), "cached");
}

/// A pull asks once for each thing it needs, and what an image has twice only once.
fn a_pull_asks_once_for_each_blob(engine: Engine) {
    let registry = Registry::start();
    let layer = Archive::new().file("twice", 0o644, registry.address()).layer();
    let again = Archive::new().whiteout("twice").file("between", 0o644, registry.address());
    let image = Image::new([busybox(), layer.clone(), again.layer(), layer.clone()]);
    image.push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let answer = here.prints(&registry.name("x:1"), "cat /twice /between");
    assert_eq!(answer, registry.address().repeat(2));
    assert_eq!(registry.count("GET", &layer.digest()), 1, "{:#?}", registry.pulls());
    // The daemon has the busybox of another test, perhaps.
    for (digest, _) in image.blobs() {
        assert!(registry.count("GET", &digest) <= 1, "{digest}: {:#?}", registry.pulls());
    }
}

/// A second image with the same base costs only what is new.
fn a_layer_that_is_here_is_not_pulled_again(engine: Engine) {
    let registry = Registry::start();
    let base = Archive::new().file("base", 0o644, registry.address()).layer();
    let image = Image::new([busybox(), base.clone()]);
    for (tag, mark) in [("1", "first"), ("2", "second")] {
        let layer = Archive::new().file("mark", 0o644, mark).layer();
        image.clone().with(layer).push(&registry, "x", tag);
    }
    let here = Here::start(engine, &[&registry.address()], &[]);
    assert_eq!(here.prints(&registry.name("x:1"), "cat /mark"), "first");
    assert_eq!(here.prints(&registry.name("x:2"), "cat /mark"), "second");
    assert_eq!(registry.count("GET", &base.digest()), 1, "{:#?}", registry.pulls());
}

/// Docker's form and the open one, layers packed or not, and every way to name an image.
fn every_form_of_image_runs(engine: Engine) {
    let registry = Registry::start();
    let plain = |mark: &str, packing| Archive::new().file("mark", 0o644, mark).packed(packing);
    let base = || Image::new([busybox()]);
    let docker = base().with(plain("docker", Packing::Gzip)).push(&registry, "x", "docker");
    let oci = base().oci().with(plain("oci", Packing::Gzip)).push(&registry, "x", "oci");
    base().oci().with(plain("plain", Packing::Plain)).push(&registry, "x", "plain");
    base()
        .with(Archive::new().layer())
        .with(plain("empty", Packing::Gzip))
        .push(&registry, "x", "empty");
    let mut cases = vec![
        (registry.name("x:docker"), "docker", Some(docker.clone())),
        (registry.name("x:oci"), "oci", Some(oci.clone())),
        (registry.name("x:plain"), "plain", None),
        (registry.name("x:empty"), "empty", None),
        (registry.name(&format!("x@{docker}")), "docker", Some(docker)),
        (registry.name(&format!("x:oci@{oci}")), "oci", Some(oci)),
    ];
    // Docker reads zstd since 23.0; Debian 12 has 20.10.
    if engine == Engine::Native {
        base().oci().with(plain("zstd", Packing::Zstd)).push(&registry, "x", "zstd");
        cases.push((registry.name("x:zstd"), "zstd", None));
    }
    let here = Here::start(engine, &[&registry.address()], &[]);
    for (name, mark, digest) in cases {
        let answer = here.runs(&name, "cat /mark");
        assert_eq!(answer.text(), mark, "{name}: {}", answer.0);
        assert_eq!(answer.0["image"], name);
        if let Some(digest) = digest {
            assert_eq!(answer.0["image_digest"], digest, "{name}");
        }
    }
}

/// Of an index, this machine's image runs; the digest in the answer is the index's, by which the
/// same image can be asked for again.
fn an_index_leads_to_this_platform(engine: Engine) {
    let registry = Registry::start();
    for format in [Format::Docker, Format::Oci] {
        let mark = format!("{format:?}");
        let mine = Image { format, ..Image::marked(&mark) };
        let foreign = Image { format, ..Image::marked(&format!("not {mark}")) };
        for image in [&mine, &foreign] {
            image.push(&registry, "x", &image.manifest().digest());
        }
        let entries = [(&foreign.manifest(), "s390x"), (&mine.manifest(), architecture())];
        let index = Document::index(format, &entries);
        index.push(&registry, "x", &mark.to_lowercase());
        let here = Here::start(engine, &[&registry.address()], &[]);
        let name = registry.name(&format!("x:{}", mark.to_lowercase()));
        let answer = here.runs(&name, "cat /mark");
        assert_eq!(answer.text(), mark);
        assert_eq!(answer.0["image_digest"], index.digest());
        let pinned = registry.name(&format!("x@{}", index.digest()));
        assert_eq!(here.prints(&pinned, "cat /mark"), mark);
    }
}

fn a_mirror_serves_what_it_fetches(engine: Engine) {
    let registry = Registry::start();
    Image::marked("mirrored").push(&registry, "x", "1");
    let mirror = registry.mirror();
    let here = Here::start(engine, &[&mirror.address()], &[]);
    assert_eq!(here.prints(&mirror.name("x:1"), "cat /mark"), "mirrored");
    assert!(registry.count("GET", "/v2/x/") > 0, "the mirror had it already");
}

/// What another tool pushes runs as well.
fn what_skopeo_pushes_runs(engine: Engine) {
    let registry = Registry::start();
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    let file = folder.path().join("image.tar");
    let layer = Archive::new().file("mark", 0o644, "by skopeo").packed(Packing::Plain);
    let image = Image::new([busybox().packed(Packing::Plain), layer]);
    std::fs::write(&file, image.docker_archive("any/name:1")).expect("a file");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "--tmpdir", folder.path().to_str().expect("text"), "copy"])
        .args(["--dest-tls-verify=false", "--format", "oci"])
        .arg(format!("docker-archive:{}", file.display()))
        .arg(format!("docker://{}", registry.name("x:1")))
        .output()
        .expect("skopeo runs; use tests/run");
    let (success, text) = said(&output);
    assert!(success, "{text}");
    let here = Here::start(engine, &[&registry.address()], &[]);
    assert_eq!(here.prints(&registry.name("x:1"), "cat /mark"), "by skopeo");
}

/// Only names without a registry go to the operator's.
fn unqualified_names_go_to_the_operators_registry(engine: Engine) {
    let registry = Registry::start();
    let other = Registry::start();
    Image::marked("the operator's").push(&registry, "x", "1");
    Image::marked("another's").push(&other, "x", "1");
    let address = registry.address();
    let settings = [("CUSTOM_IMAGE_REGISTRY", address.as_str())];
    let here = Here::start(engine, &[&address, &other.address()], &settings);
    let answer = here.runs("x:1", "cat /mark");
    assert_eq!(answer.text(), "the operator's");
    assert_eq!(answer.0["image"], registry.name("x:1"));
    assert_eq!(here.prints(&other.name("x:1"), "cat /mark"), "another's");
    let missing = here.fails("y:1");
    assert_eq!(verdict(&missing), ("image_not_found".into(), 404, 1), "{}", missing.0);
    assert!(missing.detail().contains(&registry.name("y:1")), "{}", missing.0);
}

/// Whatever goes wrong, no other image runs in its place.
fn nothing_is_substituted(engine: Engine) {
    let registry = Registry::start();
    Image::marked("here").push(&registry, "x", "here");
    let here = Here::start(engine, &[&registry.address()], &[("CUSTOM_IMAGE_PULL_RETRIES", "0")]);
    assert_eq!(here.prints(&registry.name("x:here"), "cat /mark"), "here");
    let nobody = Server::bystander();
    for (name, code) in [
        (registry.name("x:gone"), "image_not_found"),
        (registry.name("x"), "image_not_found"),
        (registry.name(&format!("x@sha256:{}", "0".repeat(64))), "image_not_found"),
        (format!("{}/x:here", nobody.address()), "image_not_allowed"),
    ] {
        let problem = here.fails(&name);
        assert_eq!(problem.code(), code, "{}", problem.0);
        assert_eq!(problem.field(), "image", "{}", problem.0);
        assert!(problem.detail().contains(&name), "{}", problem.0);
    }
    assert_eq!(nobody.connections(), 0);
}

/// An image of one program and no folder at all.
fn an_image_without_any_folder_runs(engine: Engine) {
    let registry = Registry::start();
    let program = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"));
    let layer = Archive::new().file("bin/sh", 0o755, program.expect("busybox")).layer();
    Image::new([layer]).push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let script =
        "echo hi >/tmp/x; read line </tmp/x; echo $line $PWD; [ -e /proc/self ] && echo proc";
    assert_eq!(here.prints(&registry.name("x:1"), script), "hi /tmp/work\nproc\n");
}

/// With a certificate that only the operator's authority vouches for.
fn a_private_authority_is_trusted_by_name(engine: Engine) {
    let authority = Authority::new();
    let open = Registry::start();
    Image::marked("over TLS").push(&open, "x", "1");
    let registry = open.door(Door::Tls(&authority));
    let (address, name) = (registry.address(), registry.name("x:1"));
    let certificate = authority.path("ca.pem");
    let settings =
        [("TRUSTED_REGISTRIES", address.as_str()), ("REGISTRY_CA", certificate.to_str().unwrap())];
    let here = Here::start(engine, &[], &settings);
    assert_eq!(here.prints(&name, "cat /mark"), "over TLS");
    assert_eq!(registry.count("GET", "/manifests/1"), 1, "{:#?}", registry.pulls());
    // Without it nobody vouches, and there is no way around.
    let settings = [("TRUSTED_REGISTRIES", address.as_str()), ("CUSTOM_IMAGE_PULL_RETRIES", "0")];
    let stranger = Here::start(engine, &[], &settings);
    let problem = stranger.fails(&name);
    assert_eq!(verdict(&problem), ("registry_unavailable".into(), 503, 1), "{}", problem.0);
    assert!(problem.detail().contains("certificate"), "{}", problem.0);
}

on_both_engines! {
    together: an_image_is_pulled_and_run, a_cached_image_asks_nobody,
        a_pull_asks_once_for_each_blob, a_layer_that_is_here_is_not_pulled_again,
        every_form_of_image_runs, an_index_leads_to_this_platform, a_mirror_serves_what_it_fetches,
        what_skopeo_pushes_runs, unqualified_names_go_to_the_operators_registry,
        nothing_is_substituted, an_image_without_any_folder_runs;
    native: a_private_authority_is_trusted_by_name
}
