use rstest::rstest;

use super::*;
use crate::registry::ImageErrorKind;

const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn registries(texts: &[&str]) -> Option<Vec<RegistryPattern>> {
    Some(texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn images(texts: &[&str]) -> Option<Vec<ImagePattern>> {
    Some(texts.iter().map(|text| text.parse().unwrap()).collect())
}

/// The whole name as it is run, or the rule.
fn allow(policy: &Policy, text: &str) -> Result<String, String> {
    policy.allow(&reference(text)).map(|run| run.full()).map_err(|error| {
        assert_eq!(error.kind, ImageErrorKind::NotAllowed);
        assert!(!error.passing && error.attempts == 0);
        error.to_string()
    })
}

#[track_caller]
fn refuses(policy: &Policy, text: &str, rule: &str) {
    let error = allow(policy, text).unwrap_err();
    assert!(error.contains(rule), "{error}");
    assert!(error.contains(&reference(text).to_string()), "{error}");
}

#[test]
fn without_rules_the_internet_is_open_and_the_surroundings_are_not() {
    let policy = Policy::default();
    for text in ["alpine", "me/tool:1", "ghcr.io/a/b", "reg.example:5000/x", "8.8.8.8/x", "host"] {
        assert_eq!(allow(&policy, text), Ok(reference(text).full()));
    }
    for text in [
        "localhost/x",
        "127.0.0.1:5000/x",
        "169.254.169.254/latest",
        "[::1]:5000/x",
        "2130706433:80/x",
        "127.1/x",
        "registry:5000/x",
        "metadata.google.internal/x",
        "Foo/bar",
    ] {
        refuses(&policy, text, "TRUSTED_REGISTRIES");
    }
}

#[test]
fn a_private_registry_has_to_be_named_in_full_somewhere() {
    let text = "10.0.0.1:5000/x";
    let trusted = registries(&["10.0.0.1:5000"]);
    let custom = Some("10.0.0.1:5000/team".parse().unwrap());
    for policy in [
        Policy { trusted_registries: trusted, ..Policy::default() },
        Policy { plain_http: vec!["10.0.0.1:5000".into()], ..Policy::default() },
        Policy { custom_registry: custom, ..Policy::default() },
        Policy { named: vec![reference("10.0.0.1:5000/base")], ..Policy::default() },
    ] {
        assert_eq!(allow(&policy, text), Ok("10.0.0.1:5000/x:latest".into()));
        assert_eq!(policy.known_registries().collect::<Vec<_>>(), ["10.0.0.1:5000"]);
        refuses(&policy, "10.0.0.1:5001/x", "10.0.0.1:5001");
        refuses(&policy, "10.0.0.1/x", "10.0.0.1");
    }
    let domain = Policy { trusted_registries: registries(&["*.internal"]), ..Policy::default() };
    refuses(&domain, "reg.internal/x", "in full");
    let both = registries(&["*.internal", "Reg.Internal"]);
    let both = Policy { trusted_registries: both, ..Policy::default() };
    assert!(allow(&both, "reg.internal/x").is_ok());
    let host = Policy { named: vec![Reference::host()], ..Policy::default() };
    assert_eq!(host.known_registries().count(), 0);
}

#[test]
fn only_trusted_registries_are_asked() {
    let trusted_registries = registries(&["docker.io", "*.example.com"]);
    let policy = Policy { trusted_registries, ..Policy::default() };
    for text in ["alpine", "docker.io/me/x", "a.example.com/x", "host"] {
        assert!(allow(&policy, text).is_ok(), "{text}");
    }
    for text in ["ghcr.io/x", "example.com/x", "docker.io:443/x", "a.example.com:80/x"] {
        refuses(&policy, text, "is not among TRUSTED_REGISTRIES");
    }
    refuses(&policy, "ghcr.io/x", "its registry ghcr.io");
    // What the operator names he does not trust with any other image than that.
    let policy = Policy { named: vec![reference("ghcr.io/base:1")], ..policy };
    refuses(&policy, "ghcr.io/x", "TRUSTED_REGISTRIES");
    refuses(&policy, "ghcr.io/base:1", "TRUSTED_REGISTRIES");
}

#[test]
fn only_allowed_images_are_run() {
    let allowed_images = images(&["python:3.*", "ghcr.io/team/**"]);
    let policy = Policy { allowed_images, ..Policy::default() };
    for text in ["python:3.12", "docker.io/python:3.1", "ghcr.io/team/a/b"] {
        assert!(allow(&policy, text).is_ok(), "{text}");
    }
    for text in ["python", "python:2.7", "me/python:3.1", "ghcr.io/x", "host"] {
        refuses(&policy, text, "ALLOWED_IMAGES");
    }
    let host = Policy { allowed_images: images(&["host"]), ..Policy::default() };
    assert_eq!(allow(&host, "host"), Ok("host".into()));
    refuses(&host, "alpine", "ALLOWED_IMAGES");
    let none = Policy { allowed_images: Some(vec![]), ..Policy::default() };
    refuses(&none, "alpine", "ALLOWED_IMAGES");
}

#[test]
fn the_operators_registry_stands_in_where_none_is_named() {
    let custom_registry = Some("reg.internal:5000/team".parse().unwrap());
    let policy = Policy { custom_registry, ..Policy::default() };
    assert_eq!(allow(&policy, "python:3"), Ok("reg.internal:5000/team/python:3".into()));
    assert_eq!(allow(&policy, "me/x"), Ok("reg.internal:5000/team/me/x:latest".into()));
    assert_eq!(allow(&policy, "docker.io/python"), Ok(reference("python").full()));
    assert_eq!(allow(&policy, "ghcr.io/x"), Ok("ghcr.io/x:latest".into()));
    assert_eq!(allow(&policy, "host"), Ok("host".into()));
    refuses(&policy, &format!("{}/x", "a".repeat(235)), "CUSTOM_IMAGE_REGISTRY");

    // It is trusted for what it stands in for, and for nothing else.
    let trusted_registries = registries(&["ghcr.io"]);
    let strict = Policy { trusted_registries, ..policy.clone() };
    assert!(allow(&strict, "python:3").is_ok());
    refuses(&strict, "reg.internal:5000/other/x", "TRUSTED_REGISTRIES");

    // Patterns without a registry mean it as well.
    let allowed_images = images(&["python:3.*", "docker.io/library/ruby"]);
    let listed = Policy { allowed_images, ..policy.clone() };
    assert_eq!(allow(&listed, "python:3.1"), Ok("reg.internal:5000/team/python:3.1".into()));
    refuses(&listed, "docker.io/python:3.1", "ALLOWED_IMAGES");
    refuses(&listed, "ruby", "ALLOWED_IMAGES");
    assert!(allow(&listed, "docker.io/ruby").is_ok());
    let allowed_images = images(&["reg.internal:5000/team/*"]);
    let full = Policy { allowed_images, ..policy };
    assert!(allow(&full, "python").is_ok() && allow(&full, "reg.internal:5000/team/x").is_ok());
    refuses(&full, "me/x", "ALLOWED_IMAGES");
}

#[rstest]
#[case("none", "alpine", true)]
#[case("tag", "alpine", false)]
#[case("tag", "alpine:latest", false)]
#[case("tag", "alpine:3.20", true)]
#[case("tag", "alpine@SHA", true)]
#[case("tag", "alpine:latest@SHA", true)]
#[case("digest", "alpine:3.20", false)]
#[case("digest", "alpine@SHA", true)]
#[case("digest", "alpine:3@SHA", true)]
#[case("digest", "host", true)]
fn an_image_has_to_be_pinned(#[case] rule: &str, #[case] text: &str, #[case] passes: bool) {
    let policy = Policy { require_pinned: rule.parse().unwrap(), ..Policy::default() };
    let text = text.replace("SHA", SHA);
    match passes {
        true => assert!(allow(&policy, &text).is_ok()),
        false => refuses(&policy, &text, "REQUIRE_PINNED"),
    }
}

#[rstest]
#[case("always", &["always"])]
#[case("if-not-present", &["always", "if-not-present", "never"])]
#[case("never", &["never"])]
fn a_request_can_only_be_stricter(#[case] operator: &str, #[case] may: &[&str]) {
    let policy = Policy { pull: operator.parse().unwrap(), ..Policy::default() };
    let image = reference("alpine");
    assert_eq!(policy.pull.to_string(), operator);
    assert_eq!(policy.pull_for(&image, None).unwrap(), policy.pull);
    for asked in ["always", "if-not-present", "never"] {
        match policy.pull_for(&image, Some(asked.parse().unwrap())) {
            Ok(pull) => assert!(may.contains(&asked) && pull.to_string() == asked),
            Err(error) => {
                assert!(!may.contains(&asked), "{asked}: {error}");
                assert_eq!(error.kind, ImageErrorKind::NotAllowed);
                let says = error.to_string();
                assert!(says.contains("PULL_POLICY") && says.contains(operator), "{says}");
            }
        }
    }
}

#[test]
fn settings_are_refused_with_the_words_to_write() {
    let error = "sometimes".parse::<PullPolicy>().unwrap_err().to_string();
    assert_eq!(error, "write always, if-not-present or never");
    let error = "yes".parse::<RequirePinned>().unwrap_err().to_string();
    assert_eq!(error, "write none, tag or digest");
}
