//! The registry that stands in where a reference names none.

use std::fmt;
use std::str::FromStr;

use super::{InvalidReference, grammar, quoted};

/// A registry, and perhaps a path there, to put in front of names without one:
/// `host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPrefix {
    pub(super) registry: String,
    pub(super) path: Option<String>,
}

impl RegistryPrefix {
    /// The registry's host and port, in lower case.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }
}

impl fmt::Display for RegistryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

impl FromStr for RegistryPrefix {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|why| {
            InvalidReference(format!("{} is no host[:port][/path]: {why}", quoted(text)))
        })
    }
}

fn parse(text: &str) -> Result<RegistryPrefix, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("leave out the {}:// in front", quoted(scheme)));
    }
    if text.contains('@') {
        return Err("leave out what is in front of the @; `docker login` keeps credentials".into());
    }
    let (registry, path) = match text.split_once('/') {
        Some((registry, path)) => (registry, Some(path)),
        None => (text, None),
    };
    if !grammar::is_registry(registry) {
        return Err(format!("add a domain or a port to {}", quoted(registry)));
    }
    if path.is_some_and(|path| path.contains(':')) {
        return Err("leave out the tag".into());
    }
    path.map_or(Ok(()), grammar::path)?;
    Ok(RegistryPrefix { registry: grammar::registry(registry)?, path: path.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::Reference;
    use super::*;

    #[rstest]
    #[case("python:3", "reg.example:5000/team", "reg.example:5000/team/python:3")]
    #[case("python", "Reg.Example", "reg.example/python:latest")]
    #[case("library/python", "reg.example", "reg.example/python:latest")]
    #[case("me/tool:v1", "reg.example/team", "reg.example/team/me/tool:v1")]
    #[case("library/a/b", "reg.example", "reg.example/library/a/b:latest")]
    #[case("python:3", "localhost", "localhost/python:3")]
    #[case("python:3", "[::1]:5000", "[::1]:5000/python:3")]
    #[case("python:3", "docker.io", "docker.io/library/python:3")]
    #[case("python:3", "index.docker.io/team", "docker.io/team/python:3")]
    fn stands_in_front_of_a_bare_name(
        #[case] name: &str,
        #[case] prefix: &str,
        #[case] full: &str,
    ) {
        let prefix: RegistryPrefix = prefix.parse().unwrap();
        assert_eq!(prefix.to_string().parse(), Ok(prefix.clone()));
        let reference: Reference = name.parse().unwrap();
        let moved = reference.with_registry(&prefix).unwrap();
        assert_eq!(moved.full(), full);
        assert!(!moved.is_unqualified());
        // A name that it has once been put in front of is as good as one that was written so.
        assert_eq!(moved.with_registry(&prefix).unwrap(), moved);
    }

    #[rstest]
    #[case("docker.io/python")]
    #[case("other.example/python")]
    #[case("localhost/python")]
    #[case("host")]
    fn leaves_a_whole_name_alone(#[case] name: &str) {
        let prefix = "reg.example/team".parse().unwrap();
        let reference: Reference = name.parse().unwrap();
        assert_eq!(reference.with_registry(&prefix).unwrap(), reference);
    }

    #[rstest]
    #[case("", "a domain or a port")]
    #[case("team", "a domain or a port")]
    #[case("team/python", "a domain or a port")]
    #[case("https://reg.example", "://")]
    #[case("me:secret@reg.example", "docker login")]
    #[case("reg.example/team:1", "the tag")]
    #[case("reg.example/", "is empty")]
    #[case("reg.example/Team", "lower case")]
    #[case("reg.example:0", "port")]
    #[case("reg example:80", "is no host name")]
    #[case("-reg.example", "is no host name")]
    fn refuses_with_the_way_out(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<RegistryPrefix>().unwrap_err().0;
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_name_that_grows_too_long_is_refused() {
        let prefix: RegistryPrefix = "reg.example/team".parse().unwrap();
        let long: Reference = "a".repeat(237).parse().unwrap();
        assert!(long.with_registry(&prefix).is_ok());
        let long: Reference = format!("{}/x", "a".repeat(237)).parse().unwrap();
        let error = long.with_registry(&prefix).unwrap_err().0;
        assert!(error.contains("the most is 255"), "{error}");
    }
}
