//! The Docker client's `config.json`, as far as it says who we are.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Credential;
use crate::registry::grammar::DEFAULT_REGISTRY;

/// What the Docker client calls the default registry.
const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";
/// Other names of it that stand in configurations.
const DEFAULT_NAMES: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    auths: HashMap<String, Auth>,
    creds_store: String,
    cred_helpers: HashMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    /// `username:password` in base64.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The key under which the Docker client keeps this registry at a helper.
pub(super) fn server(registry: &str) -> String {
    match registry {
        DEFAULT_REGISTRY => DEFAULT_SERVER.into(),
        other => other.into(),
    }
}

/// The registry that a key means, in the forms that clients write: `https://host/v1/`,
/// `host:port`. A longer path, as other clients write for one repository, means none.
fn registry_of(key: &str) -> Option<String> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| key.strip_prefix(scheme));
    let (host, path) = match rest.unwrap_or(key).split_once('/') {
        Some((host, path)) => (host, path.trim_end_matches('/')),
        None => (rest.unwrap_or(key), ""),
    };
    if !matches!(path, "" | "v1" | "v2") {
        return None;
    }
    let host = host.to_ascii_lowercase();
    Some(if DEFAULT_NAMES.contains(&host.as_str()) { DEFAULT_REGISTRY.into() } else { host })
}

/// The entry for a registry: under the key that the Docker client writes, else under one that
/// means the same; of several the first by name, so that it is always the same one.
fn entry<'a, T>(entries: &'a HashMap<String, T>, registry: &str) -> Option<(&'a str, &'a T)> {
    let exact = server(registry);
    let same = |key: &str| registry_of(key).as_deref() == Some(registry);
    let known = entries.iter().map(|(key, value)| (key.as_str(), value));
    known.filter(|(key, _)| same(key)).min_by_key(|(key, _)| (*key != exact, *key))
}

impl Config {
    /// Reads a configuration; why it can't be is said without its text, which may be secret.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            format!("line {}, column {} is not as it has to be", error.line(), error.column())
        })
    }

    /// The helper for this registry alone, and what to ask it for.
    pub(super) fn own_helper(&self, registry: &str) -> Option<(&str, String)> {
        let (_, helper) = entry(&self.cred_helpers, registry)?;
        (!helper.is_empty()).then(|| (helper.as_str(), server(registry)))
    }

    /// The helper for all registries.
    pub(super) fn store(&self) -> Option<&str> {
        (!self.creds_store.is_empty()).then_some(self.creds_store.as_str())
    }

    /// What the file itself says; an entry that says nothing is none.
    pub(super) fn inline(&self, registry: &str) -> Result<Option<Credential>, String> {
        let Some((_, auth)) = entry(&self.auths, registry) else { return Ok(None) };
        if !auth.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(auth.identitytoken.clone())));
        }
        let (username, password) = if auth.auth.is_empty() {
            (auth.username.clone(), auth.password.clone())
        } else {
            let pair = BASE64.decode(auth.auth.trim()).ok();
            let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
            let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
            let (username, password) = pair.ok_or_else(|| {
                format!("the auth of {registry} is no username:password in base64")
            })?;
            // The Docker client pads what it writes with zeros.
            (username.to_owned(), password.trim_matches('\0').to_owned())
        };
        Ok((!username.is_empty()).then_some(Credential::Password { username, password }))
    }
}
