//! Image references, in Docker's grammar (distribution/reference): a registry host with an
//! optional port, path components, a tag, a digest or both.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::grammar::{self, DEFAULT_REGISTRY, quoted};

/// Where the default registry keeps images without an owner.
const OFFICIAL: &str = "library";
/// The tag of a reference that names neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The reserved reference: the native engine's image of this machine's own `/usr`.
const HOST: &str = "host";

const MAX_NAME: usize = 255;

/// A valid, normalised image reference: `alpine` is `docker.io/library/alpine:latest`.
///
/// It displays in the familiar form, as `docker images` does (`alpine:latest`), and that form parses
/// back to an equal reference. The word `host` alone is reserved and stays as it is; `host:latest`
/// is an ordinary image.
#[derive(Debug, Clone)]
pub struct Reference {
    name: Arc<Name>,
    /// The text named no registry, so that an operator may choose one. Not part of what the
    /// reference means, and so not of its equality.
    unqualified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Host,
    Image { registry: String, repository: String, tag: Option<String>, digest: Option<String> },
}

/// A string that is no image reference, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReference(pub String);

impl Reference {
    /// The reserved reference `host`.
    #[must_use]
    pub fn host() -> Self {
        Self { name: Arc::new(Name::Host), unqualified: false }
    }

    /// This machine's own `/usr`, which only the native engine has.
    #[must_use]
    pub fn is_host(&self) -> bool {
        *self.name == Name::Host
    }

    /// The registry's host and port, in lower case; empty for `host`.
    #[must_use]
    pub fn registry(&self) -> &str {
        match &*self.name {
            Name::Host => "",
            Name::Image { registry, .. } => registry,
        }
    }

    /// The path at the registry, such as `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        match &*self.name {
            Name::Host => HOST,
            Name::Image { repository, .. } => repository,
        }
    }

    /// The tag; `latest` where the text named neither tag nor digest, `None` for a bare digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match &*self.name {
            Name::Host => None,
            Name::Image { tag, .. } => tag.as_deref(),
        }
    }

    /// The digest, such as `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        match &*self.name {
            Name::Host => None,
            Name::Image { digest, .. } => digest.as_deref(),
        }
    }

    /// The text named no registry, and the default one stands in.
    #[must_use]
    pub fn is_unqualified(&self) -> bool {
        self.unqualified
    }

    /// The whole name, for an engine that must not guess: `docker.io/library/alpine:latest`.
    #[must_use]
    pub fn full(&self) -> String {
        match &*self.name {
            Name::Host => HOST.into(),
            Name::Image { registry, .. } => {
                format!("{registry}/{}{}", self.repository(), self.suffix())
            }
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Reference {}

impl Hash for Reference {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.registry() == DEFAULT_REGISTRY {
            let path = self.repository();
            let short = match path.split_once('/') {
                Some((OFFICIAL, name)) if !name.contains('/') => Some(name),
                // `docker.io/a.b/c` without its registry would name the registry `a.b`.
                Some((first, _)) if !grammar::is_registry(first) => Some(path),
                _ => None,
            };
            if let Some(short) = short {
                return write!(f, "{short}{}", self.suffix());
            }
        }
        f.write_str(&self.full())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|why| {
            InvalidReference(format!("{} is no image reference: {why}", quoted(text)))
        })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text == HOST {
        return Ok(Reference::host());
    }
    if text.is_empty() {
        return Err("it is empty; write name, name:tag or name@sha256:…".into());
    }
    if let Some(strange) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("it holds {strange:?}; only printable ASCII is allowed, no spaces"));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("leave out the {scheme}:// in front"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(grammar::digest(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = match rest.split_once('/') {
        Some((first, rest)) if grammar::is_registry(first) => {
            (Some(grammar::registry(first)?), rest)
        }
        _ => (None, rest),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(grammar::tag(tag)?)),
        None => (rest, None),
    };
    grammar::path(path)?;
    if text.len() == 64 && text.bytes().all(grammar::is_lower_hex) {
        return Err("64 hexadecimal digits are an image id; name the image instead".into());
    }
    let unqualified = registry.is_none();
    let registry = registry.unwrap_or_else(|| DEFAULT_REGISTRY.into());
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("{OFFICIAL}/{path}")
    } else {
        path.into()
    };
    let length = registry.len() + 1 + repository.len();
    if length > MAX_NAME {
        return Err(format!("its name has {length} characters, the most is {MAX_NAME}"));
    }
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.into()));
    let name = Arc::new(Name::Image { registry, repository, tag, digest });
    Ok(Reference { name, unqualified })
}

#[cfg(test)]
mod tests {
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
    #[case("Foo/bar", "lower case")]
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
        #[test]
        fn displays_what_parses_back(
            registry in prop_oneof![
                Just(String::new()),
                "([a-z0-9]{1,4}(-[a-z0-9]{1,3})?\\.){0,2}[a-zA-Z0-9]{1,5}(:[1-9][0-9]{0,3})?/",
                Just("[::1]:5000/".to_owned()),
                Just("docker.io/".to_owned()),
            ],
            path in "(library/)?([a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}/){0,3}[a-z0-9]{1,6}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})?",
            digest in "(@sha256:[0-9a-f]{64})?",
        ) {
            let text = format!("{registry}{path}{tag}{digest}");
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.full().parse::<Reference>().unwrap(), &reference);
            } else {
                // Only what was read as a registry can be wrong with it.
                let qualified = format!("docker.io/{path}{tag}{digest}");
                prop_assert!(qualified.parse::<Reference>().is_ok(), "{}", text);
            }
        }

        #[test]
        fn any_text_is_a_reference_or_a_sentence(text in ".{0,80}") {
            match text.parse::<Reference>() {
                Ok(reference) => {
                    prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
                }
                Err(InvalidReference(why)) => prop_assert!(!why.contains(char::is_control)),
            }
        }
    }
}
