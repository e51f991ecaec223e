//! Image references: whatever way one is written leads back to it, and its parts keep the grammar.

use super::one_line;
use crate::registry::{InvalidReference, Reference, RegistryPrefix};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    match text.parse::<Reference>() {
        Ok(reference) => sound(&text, &reference),
        Err(InvalidReference(why)) => {
            one_line(&why);
            assert!(why.len() < 600, "{why}");
        }
    }
    match text.parse::<RegistryPrefix>() {
        Ok(prefix) => {
            assert_eq!(prefix.to_string().parse::<RegistryPrefix>().unwrap(), prefix);
            let behind = "alpine:3".parse::<Reference>().unwrap().with_registry(&prefix);
            if let Ok(behind) = behind {
                assert!(behind.full().starts_with(&format!("{prefix}/")), "{behind}");
                sound(&behind.full(), &behind);
            }
        }
        Err(why) => one_line(&why.to_string()),
    }
}

fn sound(text: &str, reference: &Reference) {
    for written in [reference.to_string(), reference.full()] {
        let again: Reference = written.parse().unwrap();
        assert_eq!(&again, reference, "{text:?} written as {written:?}");
        assert_eq!((again.to_string(), again.full()), (reference.to_string(), reference.full()));
    }
    assert!(reference.full().bytes().all(|byte| byte.is_ascii_graphic()));
    let (registry, repository) = (reference.registry(), reference.repository());
    if reference.is_host() {
        assert_eq!((text, registry, repository), ("host", "", "host"));
        return;
    }
    assert!(registry.len() + 1 + repository.len() <= 255);
    let name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    for part in repository.split('/') {
        let ends = [part.bytes().next(), part.bytes().last()];
        assert!(ends.iter().all(|byte| byte.is_some_and(|b| b.is_ascii_alphanumeric())), "{part}");
        assert!(part.bytes().all(name) && !part.contains(".."), "{part}");
    }
    assert!(!registry.is_empty() && !registry.contains(['/', '@', '?', '#', '%', '\\']));
    assert!(reference.tag().is_some() || reference.digest().is_some());
    assert!(reference.tag().is_none_or(|tag| (1..=128).contains(&tag.len())));
    assert!(reference.digest().is_none_or(|digest| text.ends_with(digest)));
    if reference.is_unqualified() {
        assert_eq!(registry, "docker.io");
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = reference.pinned(&digest).unwrap();
    assert_eq!((pinned.digest(), pinned.tag()), (Some(&*digest), reference.tag()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let references = (
            "(([a-zA-Z0-9.-]{1,8}|localhost|docker\\.io|\\[[0-9a-f:.]{2,12}\\])(:[0-9]{1,5})?/)?",
            "(library/)?([a-z0-9]{1,4}[._-]{0,3}/?){1,4}[a-z0-9]{1,6}",
            "(:[A-Za-z0-9_.-]{1,8})?",
            "(@sha(256|512):([0-9a-f]{64}){1,2})?",
        );
        let references = references.prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}").into_bytes());
        twin::run("reference", 1000, references, super::check);
    }
}
