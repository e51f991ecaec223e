//! The parts of an image reference, each checked by its rule.

use std::net::Ipv6Addr;

/// The registry of a reference that names none.
pub(super) const DEFAULT_REGISTRY: &str = "docker.io";
/// An old name of it that clients still send.
const LEGACY_REGISTRY: &str = "index.docker.io";

const MAX_TAG: usize = 128;
/// Digest algorithms and the hexadecimal digits of each.
const ALGORITHMS: &[(&str, usize)] = &[("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Whether the part in front of the first slash is a registry and not the path's beginning. No path
/// has a capital letter, so what has one is a host.
pub(super) fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Host names are the same in any case, so they are kept in lower case: one registry, one name. A
/// host that only its capital letters tell from a path keeps them.
pub(super) fn registry(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let (host, port) = match lower.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("the registry {} lacks a closing ]", quoted(text)))?;
            // Docker knows no `::ffff:10.0.0.1`.
            if address.parse::<Ipv6Addr>().is_err() || address.contains('.') {
                return Err(format!("{} is no IPv6 address", quoted(address)));
            }
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(format!("the registry {} is no host:port", quoted(text))),
            };
            (None, port)
        }
        None => match lower.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(lower.as_str()), None),
        },
    };
    if host.is_some_and(|host| !host.split('.').all(is_label)) {
        return Err(format!("the registry {} is no host name", quoted(text)));
    }
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(format!("the registry {} has no port from 1 to 65535", quoted(text)));
    }
    Ok(match lower.as_str() {
        LEGACY_REGISTRY => DEFAULT_REGISTRY.into(),
        plain if is_registry(plain) => lower,
        _ => text.into(),
    })
}

fn is_label(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
}

pub(super) fn path(path: &str) -> Result<(), String> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("the name {} must be in lower case", quoted(path)));
    }
    match path.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err("a part of its name is empty".into()),
        Some(component) => Err(format!(
            "{} is no part of a name; each is a-z and 0-9, joined by one of . _ __ or by dashes",
            quoted(component)
        )),
    }
}

/// Letters and digits, joined by `.`, `_`, `__` or any number of dashes.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<&u8>| b.is_some_and(|b| alphanumeric(*b));
    ends(component.as_bytes().first())
        && ends(component.as_bytes().last())
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

pub(super) fn tag(tag: &str) -> Result<String, String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = tag.bytes().next().is_some_and(word);
    if starts && tag.len() <= MAX_TAG && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-')) {
        return Ok(tag.into());
    }
    Err(format!(
        "{} is no tag; a tag has up to {MAX_TAG} of A-Z a-z 0-9 _ . - and starts with none of . -",
        quoted(tag)
    ))
}

pub(super) fn digest(digest: &str) -> Result<String, String> {
    let known = || ALGORITHMS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let (algorithm, hex) = digest
        .split_once(':')
        .ok_or_else(|| format!("{} is no digest; write sha256:…", quoted(digest)))?;
    let digits = ALGORITHMS
        .iter()
        .find_map(|(name, digits)| (*name == algorithm).then_some(*digits))
        .ok_or_else(|| format!("{} is none of {}", quoted(algorithm), known()))?;
    if hex.len() == digits && hex.bytes().all(is_lower_hex) {
        return Ok(digest.into());
    }
    Err(format!("a {algorithm} digest has {digits} digits of 0-9 a-f, not {}", quoted(hex)))
}

pub(super) fn is_lower_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

/// Hostile text made fit for a message: escaped, on one line, and short.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}
