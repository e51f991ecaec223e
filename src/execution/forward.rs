//! Variables of the service's own environment that scripts get, and the images in which they do.

use std::fmt;

use super::request::{EnvName, EnvValue};
use crate::registry::{Policy, Reference, RegistryPattern};

/// A variable of the service's own, whose value is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Forwarded {
    name: EnvName,
    value: EnvValue,
}

impl Forwarded {
    #[must_use]
    pub fn new(name: EnvName, value: EnvValue) -> Self {
        Self { name, value }
    }

    pub(super) fn pair(&self) -> (&str, &str) {
        (self.name.as_str(), self.value.as_str())
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())
    }
}

/// Which variables go to which images: those that the operator names himself, and those of the
/// registries that he lists. Where he lists none, images may come from anywhere, and none of a
/// request's is trusted so far.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    variables: Vec<Forwarded>,
    trusted: Vec<RegistryPattern>,
    own: Vec<Reference>,
}

impl Forward {
    /// `own` are the operator's images beside those that the policy knows.
    #[must_use]
    pub fn new(variables: Vec<Forwarded>, policy: &Policy, mut own: Vec<Reference>) -> Self {
        let trusted = policy.trusted_registries.clone().unwrap_or_default();
        for image in &policy.named {
            if !own.contains(image) {
                own.push(image.clone());
            }
        }
        Self { variables, trusted, own }
    }

    /// What a script gets in this image, which is named as it is run.
    pub(super) fn to(&self, image: &Reference) -> &[Forwarded] {
        if self.is_empty() {
            return &[];
        }
        let registry = image.registry();
        let trusted = || self.trusted.iter().any(|trusted| trusted.matches(registry));
        if self.own.contains(image) || trusted() { &self.variables } else { &[] }
    }

    /// Whether there is nothing to be handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }
}

/// Which go where, as a sentence.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.variables.iter().map(|variable| variable.name.as_str().to_owned());
        let own = self.own.iter().map(ToString::to_string);
        write!(f, "scripts get {} of this service in the images {}", list(names), list(own))?;
        if self.trusted.is_empty() {
            f.write_str(", and in no other as long as TRUSTED_REGISTRIES lists no registry")
        } else {
            let trusted = self.trusted.iter().map(ToString::to_string);
            write!(f, " and in all of TRUSTED_REGISTRIES ({})", list(trusted))
        }
    }
}

fn list(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn forward(trusted: Option<&str>) -> Forward {
        let text = |text: &str| text.to_owned();
        let variable =
            Forwarded::new(text("TOKEN").try_into().unwrap(), text("hush").try_into().unwrap());
        let policy = Policy {
            trusted_registries: trusted.map(|names| vec![names.parse().unwrap()]),
            named: vec!["busybox:1".parse().unwrap(), "own.example/pooled:2".parse().unwrap()],
            ..Policy::default()
        };
        Forward::new(vec![variable], &policy, vec!["busybox:1".parse().unwrap(), Reference::host()])
    }

    #[rstest]
    #[case("busybox:1", true, true)]
    #[case("docker.io/library/busybox:1", true, true)]
    #[case("own.example/pooled:2", true, true)]
    #[case("host", true, true)]
    #[case("a.trusted.example/x", true, false)]
    #[case("A.Trusted.example/x", true, false)]
    #[case("trusted.example/x", false, false)]
    #[case("a.trusted.example:5000/x", false, false)]
    #[case("a.trusted.example.evil.example/x", false, false)]
    #[case("busybox:2", false, false)]
    #[case("evil.example/library/busybox:1", false, false)]
    #[case("own.example/pooled", false, false)]
    #[case("own.example/other:2", false, false)]
    fn only_the_operators_images_and_those_he_trusts_get_them(
        #[case] image: &str,
        #[case] with_a_list: bool,
        #[case] without_one: bool,
    ) {
        let image: Reference = image.parse().unwrap();
        let gets = |forward: Forward| !forward.to(&image).is_empty();
        assert_eq!(gets(forward(Some("*.trusted.example"))), with_a_list);
        assert_eq!(gets(forward(None)), without_one);
    }

    #[test]
    fn a_value_is_never_shown() {
        for shown in [format!("{:?}", forward(None)), forward(Some("docker.io")).to_string()] {
            assert!(shown.contains("TOKEN") && !shown.contains("hush"), "{shown}");
        }
        assert_eq!(
            forward(None).to_string(),
            "scripts get TOKEN of this service in the images busybox:1, host, own.example/pooled:2, \
             and in no other as long as TRUSTED_REGISTRIES lists no registry"
        );
        let listed = forward(Some("*.trusted.example")).to_string();
        assert!(
            listed.ends_with(" and in all of TRUSTED_REGISTRIES (*.trusted.example)"),
            "{listed}"
        );
    }
}
