//! What an image says of itself.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;

use super::{MAX_CONFIG, MAX_LAYERS, Manifest, architecture};
use crate::registry::{HistoryEntry, LayerId};

/// The most entries of a history that are read; steps without a layer count as well.
const MAX_HISTORY: usize = 4096;

/// An image's configuration (OCI image spec, config.md). All of it is the image's own word.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub os: String,
    pub architecture: String,
    /// Every variable that it sets, hooks included.
    pub env: Vec<(String, String)>,
    /// RFC 3339.
    pub created: Option<String>,
    /// The oldest first.
    pub history: Vec<HistoryEntry>,
    /// The uncompressed layers, the lowest first.
    pub diff_ids: Vec<LayerId>,
    /// `Env`, `Cmd`, `User` and so on, as they stand there.
    pub config: Value,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    created: Option<String>,
    #[serde(default)]
    config: Value,
    rootfs: RootFs,
    #[serde(default, deserialize_with = "history")]
    history: Vec<HistoryEntry>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(deserialize_with = "diff_ids")]
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Step {
    created: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    empty_layer: Option<bool>,
}

impl From<Step> for HistoryEntry {
    fn from(step: Step) -> Self {
        let Step { created, created_by, comment, empty_layer } = step;
        Self { created, created_by, comment, empty_layer: empty_layer.unwrap_or_default() }
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it, without its own text.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        if u64::try_from(body.len()).is_ok_and(|length| length > MAX_CONFIG) {
            return Err(format!("its configuration has more than {MAX_CONFIG} bytes"));
        }
        let raw: Raw = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("line {line}, column {column} of its configuration is not as it has to be")
        })?;
        let ids = raw.rootfs.diff_ids.iter().map(|id| LayerId::from_digest(id));
        let diff_ids: Vec<_> = ids.collect::<Option<_>>().unwrap_or_default();
        if diff_ids.is_empty() {
            return Err("its configuration names no layers, or none by sha256".into());
        }
        let env = match raw.config.get("Env") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(pairs)) => pairs
                .iter()
                .filter_map(|pair| pair.as_str()?.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            Some(_) => return Err("its configuration's Env is no list".into()),
        };
        let Raw { os, architecture, created, config, history, .. } = raw;
        Ok(Self { os, architecture, env, created, history, diff_ids, config })
    }

    /// Whether it is of the same image as a manifest, and for this machine.
    ///
    /// # Errors
    /// Why it is not; completes "it can't be run here: …".
    pub fn fits(&self, manifest: &Manifest) -> Result<(), String> {
        let (here, there) = (self.diff_ids.len(), manifest.layers.len());
        if here != there {
            return Err(format!("its configuration has {here} layers and its manifest {there}"));
        }
        if self.os != "linux" || self.architecture != architecture() {
            return Err(format!("it is not made for linux/{}", architecture()));
        }
        Ok(())
    }
}

fn history<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HistoryEntry>, D::Error> {
    at_most::<Step, D>(from, MAX_HISTORY).map(|steps| steps.into_iter().map(Into::into).collect())
}

fn diff_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    at_most(from, MAX_LAYERS)
}

/// A list (or null, for none) that is refused before it takes more room than its most.
fn at_most<'de, T, D>(from: D, most: usize) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct AtMost<T>(usize, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {}", self.0)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(item) = list.next_element()? {
                if read.len() == self.0 {
                    return Err(A::Error::invalid_length(self.0 + 1, &self));
                }
                read.push(item);
            }
            Ok(read)
        }
    }

    from.deserialize_any(AtMost(most, PhantomData))
}
