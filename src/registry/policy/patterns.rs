//! Many registries or images in one word of a setting.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use super::InvalidRule;
use crate::registry::grammar::{self, DEFAULT_REGISTRY, quoted};
use crate::registry::{Reference, reference};

/// A registry `host[:port]`, or all those beneath a domain: `*.example.com[:port]`, which
/// `example.com` itself is not. Without a port it is the one at the default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPattern {
    /// Any name in front of it, which begins with a dot, will do.
    beneath: bool,
    name: String,
}

impl RegistryPattern {
    /// `registry` is that of a reference.
    #[must_use]
    pub fn matches(&self, registry: &str) -> bool {
        let registry = registry.to_ascii_lowercase();
        match self.beneath {
            true => registry.strip_suffix(&self.name).is_some_and(|front| !front.is_empty()),
            false => registry == self.name,
        }
    }

    /// The one registry that it names; `None` for a domain.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        (!self.beneath).then_some(&*self.name)
    }
}

impl fmt::Display for RegistryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.beneath { "*" } else { "" }, self.name)
    }
}

impl FromStr for RegistryPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let refused = |why: String| InvalidRule(format!("{}: {why}", quoted(text)));
        if text.contains('/') {
            return Err(refused("write only host[:port], without a scheme or a path".into()));
        }
        let (beneath, host) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        if host.contains('*') {
            let rule = "write host[:port], or *.domain for all beneath it; leave the setting out \
                        to trust all";
            return Err(refused(rule.into()));
        }
        if !beneath && !grammar::is_registry(host) {
            return Err(refused("add a domain or a port".into()));
        }
        let name = grammar::registry(host).map_err(refused)?.to_ascii_lowercase();
        Ok(Self { beneath, name: if beneath { format!(".{name}") } else { name } })
    }
}

/// Images by their names: `*` is anything within a component of the path, `**` any number of
/// components. Where no registry is written the default one is meant, as in a reference. Without a
/// tag any will do, and any digest; but where a pattern names a tag and no digest, an image that is
/// named by its digest does not match, since what is behind the digest may never have had that tag.
#[derive(Debug, Clone)]
pub struct ImagePattern {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    /// This machine's own `/usr`.
    Host,
    Image(Box<Names>),
}

/// `None` is any.
#[derive(Debug, Clone)]
struct Names {
    /// No registry is written.
    unqualified: bool,
    name: GlobMatcher,
    tag: Option<GlobMatcher>,
    digest: Option<GlobMatcher>,
}

impl PartialEq for ImagePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ImagePattern {}

impl ImagePattern {
    /// The pattern names no registry.
    pub(super) fn is_unqualified(&self) -> bool {
        matches!(&self.rule, Rule::Image(names) if names.unqualified)
    }

    /// Whether the whole name is one of those meant.
    #[must_use]
    pub fn matches(&self, reference: &Reference) -> bool {
        let Rule::Image(names) = &self.rule else { return reference.is_host() };
        let Names { name, tag, digest, .. } = &**names;
        let fits = |glob: &GlobMatcher, part: Option<&str>| part.is_some_and(|p| glob.is_match(p));
        let (registry, path) = (reference.registry(), reference.repository());
        !reference.is_host()
            && name.is_match(format!("{}/{path}", registry.to_ascii_lowercase()))
            && tag.as_ref().is_none_or(|glob| fits(glob, reference.tag()))
            && match digest {
                Some(glob) => fits(glob, reference.digest()),
                None => tag.is_none() || reference.digest().is_none(),
            }
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let refused = |why: String| InvalidRule(format!("{}: {why}", quoted(text)));
        Ok(Self { text: text.to_owned(), rule: rule(text).map_err(refused)? })
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    if text == reference::HOST {
        return Ok(Rule::Host);
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/:@*?[]{}!,".contains(c);
    if text.is_empty() || !text.chars().all(known) {
        return Err("write an image's name with * and **, such as python:3.* or team/**".into());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("leave out the {scheme}:// in front"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(glob(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = match rest.split_once('/') {
        // An IPv6 address stands in brackets, which a glob would take for a choice.
        Some((first, rest)) if first.starts_with('[') && grammar::registry(first).is_ok() => {
            (Some(globset::escape(&grammar::registry(first)?)), rest)
        }
        Some((first, rest)) if grammar::is_registry(first) => {
            (Some(registry(first.to_ascii_lowercase())), rest)
        }
        _ => (None, rest),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(glob(tag)?)),
        None => (rest, None),
    };
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("the name {} must be in lower case", quoted(path)));
    }
    if path.split('/').any(str::is_empty) {
        return Err("a part of its name is empty".into());
    }
    if path.split('/').any(|part| part != "**" && part.contains("**")) {
        return Err("** stands alone between slashes; within a component write *".into());
    }
    let unqualified = registry.is_none();
    let registry = registry.unwrap_or_else(|| DEFAULT_REGISTRY.into());
    let official = registry == DEFAULT_REGISTRY && !path.contains('/') && path != "**";
    let owner = if official { "library/" } else { "" };
    let name = glob(&format!("{registry}/{owner}{path}"))?;
    Ok(Rule::Image(Box::new(Names { unqualified, name, tag, digest })))
}

/// By the name that it has in references, where it is one.
fn registry(pattern: String) -> String {
    grammar::registry(&pattern).unwrap_or(pattern)
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.is_empty() {
        return Err("a part of it is empty".into());
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|e| e.kind().to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case("reg.example", "reg.example", true)]
    #[case("Reg.Example", "reg.example", true)]
    #[case("reg.example", "reg.example:5000", false)]
    #[case("reg.example:5000", "reg.example:5000", true)]
    #[case("reg.example:5000", "reg.example", false)]
    #[case("reg.example", "evilreg.example", false)]
    #[case("reg.example", "reg.example.evil.example", false)]
    #[case("*.example.com", "a.example.com", true)]
    #[case("*.example.com", "a.b.example.com", true)]
    #[case("*.example.com", "example.com", false)]
    #[case("*.example.com", "evilexample.com", false)]
    #[case("*.example.com", "a.example.com:5000", false)]
    #[case("*.example.com:5000", "a.example.com:5000", true)]
    #[case("index.docker.io", "docker.io", true)]
    #[case("localhost", "localhost", true)]
    #[case("[::1]:5000", "[::1]:5000", true)]
    #[case("Foo", "Foo", true)]
    fn a_registry_matches(#[case] pattern: &str, #[case] registry: &str, #[case] matches: bool) {
        let pattern: RegistryPattern = pattern.parse().unwrap();
        assert_eq!(pattern.matches(registry), matches);
    }

    #[rstest]
    #[case("", "a domain or a port")]
    #[case("reg", "a domain or a port")]
    #[case("https://reg.example", "without a scheme")]
    #[case("reg.example/team", "a path")]
    #[case("*", "leave the setting out")]
    #[case("reg.*", "*.domain")]
    #[case("*.*.example", "*.domain")]
    #[case("*.", "is no host name")]
    #[case("a b.example", "is no host name")]
    #[case("me@reg.example", "is no host name")]
    fn no_registry_pattern(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<RegistryPattern>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[rstest]
    #[case("python", "python", true)]
    #[case("python", "python:3.12", true)]
    #[case("python", "docker.io/library/python", true)]
    #[case("python", "me/python", false)]
    #[case("python", "reg.example/python", false)]
    #[case("python", "reg.example/library/python", false)]
    #[case("python", "pythonx", false)]
    #[case("library/python", "python", true)]
    #[case("docker.io/python", "python", true)]
    #[case("index.docker.io/python", "python", true)]
    #[case("python:3.*", "python:3.12", true)]
    #[case("python:3.*", "python:2.7", false)]
    #[case("python:3.*", "python", false)]
    #[case("python:latest", "python", true)]
    #[case("python:[23].?", "python:3.1", true)]
    #[case("python:{3.11,3.12}", "python:3.12", true)]
    #[case("python:{3.11,3.12}", "python:3.13", false)]
    #[case("python:Slim*", "python:Slim-1", true)]
    #[case("*", "python", true)]
    #[case("*", "me/python", false)]
    #[case("**", "python", true)]
    #[case("**", "me/python", true)]
    #[case("**", "reg.example/python", false)]
    #[case("me/*", "me/python", true)]
    #[case("me/*", "me/a/b", false)]
    #[case("me/**", "me/a/b", true)]
    #[case("me/**", "you/a", false)]
    #[case("me/**/c", "me/a/b/c", true)]
    #[case("me/**/c", "me/c", true)]
    #[case("m*/python", "me/python", true)]
    #[case("reg.example/team/*", "reg.example/team/x:1", true)]
    #[case("reg.example/team/*", "reg.example/other/x", false)]
    #[case("reg.example/team/*", "reg.example:5000/team/x", false)]
    #[case("reg.example:5000/**", "reg.example:5000/a/b:1", true)]
    #[case("Reg.Example/x", "reg.example/x", true)]
    #[case("*.example.com/x", "a.example.com/x", true)]
    #[case("*.example.com/x", "example.com/x", false)]
    #[case("*.*/**", "ghcr.io/a/b:1", true)]
    #[case("reg.example/*", "reg.example.evil.example/x", false)]
    #[case("[::1]:5000/*", "[::1]:5000/x", true)]
    #[case("[::1]:5000/*", "1:5000/x", false)]
    #[case("Foo/bar", "Foo/bar", true)]
    #[case("foo/bar", "Foo/bar", false)]
    #[case("Foo/bar", "foo/bar", false)]
    #[case("host", "host", true)]
    #[case("host", "host:latest", false)]
    #[case("host:latest", "host", false)]
    #[case("**", "host", false)]
    #[case("*", "host", false)]
    fn an_image_matches(#[case] pattern: &str, #[case] image: &str, #[case] matches: bool) {
        let pattern: ImagePattern = pattern.parse().unwrap();
        assert_eq!(pattern.matches(&image.parse().unwrap()), matches);
    }

    #[test]
    fn a_digest_is_matched_by_itself() {
        let both = format!("python:3.12@{SHA}").parse().unwrap();
        let bare = format!("python@{SHA}").parse().unwrap();
        let matches =
            |pattern: &str, image| pattern.parse::<ImagePattern>().unwrap().matches(image);
        assert!(matches("python", &both) && matches("python", &bare));
        assert!(!matches("python:3.*", &both) && !matches("python:3.*", &bare));
        assert!(matches("python:3.*@*", &both) && !matches("python:3.*@*", &bare));
        let exact = format!("python@{SHA}");
        assert!(matches(&exact, &both) && matches(&exact, &bare));
        let other = exact.replace('0', "1");
        assert!(!matches(&other, &both) && !matches(&other, &bare));
        assert!(!matches("python@sha256:*", &"python:3".parse().unwrap()));
    }

    #[rstest]
    #[case("", "write an image's name")]
    #[case("a b", "write an image's name")]
    #[case("a\\*", "write an image's name")]
    #[case("https://x", "leave out the https://")]
    #[case("Python", "lower case")]
    #[case("reg.example/", "is empty")]
    #[case("a//b", "is empty")]
    #[case("/a", "is empty")]
    #[case("python:", "is empty")]
    #[case("python@", "is empty")]
    #[case("a**", "stands alone")]
    #[case("[a", "unclosed character class")]
    #[case("{a", "unclosed alternate")]
    fn no_image_pattern(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<ImagePattern>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
