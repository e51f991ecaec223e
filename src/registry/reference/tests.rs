use proptest::prelude::*;
use rstest::rstest;

use super::*;

const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[rstest]
#[case("alpine", "alpine:latest", "docker.io/library/alpine:latest")]
#[case("alpine:3.20", "alpine:3.20", "docker.io/library/alpine:3.20")]
#[case("docker.io/alpine", "alpine:latest", "docker.io/library/alpine:latest")]
#[case("index.docker.io/library/alpine", "alpine:latest", "docker.io/library/alpine:latest")]
#[case("library/alpine", "alpine:latest", "docker.io/library/alpine:latest")]
#[case("me/tool:v1", "me/tool:v1", "docker.io/me/tool:v1")]
#[case("library/a/b", "library/a/b:latest", "docker.io/library/a/b:latest")]
#[case("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest")]
#[case("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest")]
#[case("localhost/x", "localhost/x:latest", "localhost/x:latest")]
#[case("localhost:5000", "localhost:5000", "docker.io/library/localhost:5000")]
#[case("host:5000/x", "host:5000/x:latest", "host:5000/x:latest")]
#[case("Reg.Example:5000/a/b:T", "reg.example:5000/a/b:T", "reg.example:5000/a/b:T")]
#[case("[::1]:80/x", "[::1]:80/x:latest", "[::1]:80/x:latest")]
#[case("[2001:DB8::1]/x:1", "[2001:db8::1]/x:1", "[2001:db8::1]/x:1")]
#[case("10.0.0.1/x", "10.0.0.1/x:latest", "10.0.0.1/x:latest")]
#[case("a__b/c--d/e.f_g", "a__b/c--d/e.f_g:latest", "docker.io/a__b/c--d/e.f_g:latest")]
#[case("LocalHost/x", "localhost/x:latest", "localhost/x:latest")]
#[case("Index.Docker.IO/x", "x:latest", "docker.io/library/x:latest")]
#[case("Foo/bar", "Foo/bar:latest", "Foo/bar:latest")]
#[case("FOO/a/b:1", "FOO/a/b:1", "FOO/a/b:1")]
#[case("docker.io:443/x", "docker.io:443/x:latest", "docker.io:443/x:latest")]
#[case("host:latest", "host:latest", "docker.io/library/host:latest")]
#[case("host", "host", "host")]
fn normalises_as_docker_does(#[case] text: &str, #[case] familiar: &str, #[case] full: &str) {
    let reference: Reference = text.parse().unwrap();
    assert_eq!(reference.to_string(), familiar);
    assert_eq!(reference.full(), full);
    assert_eq!(reference.is_host(), text == "host");
}

#[test]
fn a_digest_stands_alone_or_beside_a_tag() {
    let bare: Reference = format!("reg.example:5000/x@{SHA}").parse().unwrap();
    assert_eq!((bare.tag(), bare.digest()), (None, Some(SHA)));
    assert_eq!(bare.to_string(), format!("reg.example:5000/x@{SHA}"));
    let both: Reference = format!("alpine:3@{SHA}").parse().unwrap();
    assert_eq!((both.tag(), both.digest()), (Some("3"), Some(SHA)));
    assert_eq!(both.to_string(), format!("alpine:3@{SHA}"));
}

#[test]
fn a_digest_can_be_added_but_nothing_else() {
    let reference: Reference = "alpine:3".parse().unwrap();
    let pinned = reference.pinned(SHA).unwrap();
    assert_eq!(pinned, format!("alpine:3@{SHA}").parse().unwrap());
    assert!(pinned.is_unqualified());
    let other = SHA.replace('0', "1");
    assert_eq!(pinned.pinned(&other).unwrap().digest(), Some(&*other));
    for bad in ["", "latest", "sha256:abc", &format!("{SHA}@{SHA}")] {
        assert!(reference.pinned(bad).is_err(), "{bad}");
    }
    assert!(Reference::host().pinned(SHA).is_err());
}

#[test]
fn knows_whether_the_registry_was_written() {
    let written: Reference = "docker.io/alpine".parse().unwrap();
    let left_out: Reference = "alpine".parse().unwrap();
    assert!(!written.is_unqualified() && left_out.is_unqualified());
    assert_eq!(written, left_out);
    assert!(!Reference::host().is_unqualified());
}

#[rstest]
#[case("", "it is empty")]
#[case("a; id", "only printable ASCII")]
#[case("alpine\n", r"'\n'")]
#[case("alpin\u{435}", "only printable ASCII")]
#[case("--privileged", "no part of a name")]
#[case("../x", "is no host name")]
#[case("a/../x", r#"".." is no part of a name"#)]
#[case("./x", "is no host name")]
#[case("/x", "is empty")]
#[case("a//b", "is empty")]
#[case("a/", "is empty")]
#[case("ALPINE", "lower case")]
#[case("Foo/Bar", "lower case")]
#[case("FOO_X/bar", "is no host name")]
#[case("reg.example/Foo", "lower case")]
#[case("https://reg.example/x", "leave out the https://")]
#[case("a%2fb", "no part of a name")]
#[case("a;id", "no part of a name")]
#[case("a___b", "no part of a name")]
#[case("a..b", "no part of a name")]
#[case("a-", "no part of a name")]
#[case("-reg.example/x", "is no host name")]
#[case("a..b/x", "is no host name")]
#[case("reg:0/x", "port")]
#[case("reg:65536/x", "port")]
#[case("reg:+5/x", "port")]
#[case("reg:/x", "port")]
#[case("[::1/x", "closing ]")]
#[case("[::1]80/x", "is no host:port")]
#[case("[::g]:80/x", "no IPv6 address")]
#[case("[::ffff:10.0.0.1]:80/x", "no IPv6 address")]
#[case("[fe80::1%eth0]/x", "no IPv6 address")]
#[case("[]/x", "no part of a name")]
#[case("alpine@sha256:", "64 digits")]
#[case("alpine:1@sha256:a@sha256:b", "64 digits")]
#[case("a/b:c/d", "is no tag")]
#[case("user:pass@reg.example/x", "is no digest")]
#[case("alpine:", "is no tag")]
#[case("alpine:.x", "is no tag")]
#[case("alpine:a:b", "is no tag")]
#[case("alpine@", "is no digest")]
#[case("alpine@sha256:abc", "64 digits")]
#[case("alpine@md5:abc", "none of sha256")]
#[case(&SHA[7..], "image id")]
fn refuses_with_a_reason(#[case] text: &str, #[case] reason: &str) {
    let error = text.parse::<Reference>().unwrap_err().0;
    assert!(error.contains(reason), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[rstest]
#[case(format!("alpine:{}", "t".repeat(129)), "is no tag")]
#[case("a".repeat(300), "the most is 255")]
#[case(format!("alpine@{}", SHA.to_uppercase()), "none of sha256")]
#[case(format!("alpine@{}A", &SHA[..SHA.len() - 1]), "64 digits")]
fn refuses_the_long_and_the_loud(#[case] text: String, #[case] reason: &str) {
    let error = text.parse::<Reference>().unwrap_err().0;
    assert!(error.contains(reason), "{error}");
    assert!(error.len() < 400, "{error}");
}

#[test]
fn the_longest_name_is_accepted() {
    let name = "a".repeat(MAX_NAME - "docker.io/library/".len());
    assert!(name.parse::<Reference>().is_ok());
    assert!(format!("{name}a").parse::<Reference>().is_err());
}

proptest! {
    /// All that the grammar makes is read, and every way to write it leads back.
    #[test]
    fn what_the_grammar_makes_is_read_and_written_back(
        registry in proptest::option::of(prop_oneof![
            "([a-zA-Z0-9]{1,4}(-{1,2}[a-zA-Z0-9]{1,3})?\\.){1,2}[a-zA-Z0-9]{1,5}(:[1-9][0-9]{0,3})?",
            "[a-zA-Z0-9]{1,5}:[1-9][0-9]{0,3}",
            "[a-z0-9]{0,3}[A-Z][a-zA-Z0-9]{0,3}",
            any::<[u16; 8]>().prop_map(|parts| {
                let parts = parts.map(|part| format!("{part:x}"));
                format!("[{}]:5000", parts.join(":"))
            }),
            Just("[::1]".to_owned()),
            Just("localhost".to_owned()),
            Just("docker.io".to_owned()),
            Just("index.docker.io".to_owned()),
        ]),
        path in "(library/)?([a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}/){0,3}[a-z0-9]{1,6}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}"),
        digest in proptest::option::of(prop_oneof![
            "sha256:[0-9a-f]{64}", "sha384:[0-9a-f]{96}", "sha512:[0-9a-f]{128}",
        ]),
    ) {
        // Without a registry, a dot in the path's first part would make it one, and this word is
        // reserved.
        let bare = path.split_once('/').is_some_and(|(first, _)| grammar::is_registry(first));
        prop_assume!(registry.is_some() || !bare);
        prop_assume!(registry.is_some() || tag.is_some() || digest.is_some() || path != HOST);
        let front = registry.as_ref().map(|registry| format!("{registry}/")).unwrap_or_default();
        let behind = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default()
            + &digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        let text = format!("{front}{path}{behind}");
        let reference = text.parse::<Reference>();
        prop_assert!(reference.is_ok(), "{}: {:?}", text, reference);
        let reference = reference.unwrap();
        prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        prop_assert_eq!(&reference.full().parse::<Reference>().unwrap(), &reference);
        prop_assert_eq!(reference.is_unqualified(), registry.is_none());
        prop_assert_eq!(reference.digest(), digest.as_deref());
        let latest = digest.is_none().then_some("latest");
        prop_assert_eq!(reference.tag(), tag.as_deref().or(latest));
        prop_assert!(reference.repository().ends_with(&path));
    }
}
