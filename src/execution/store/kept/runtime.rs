//! A runtime as it is kept.

use serde::{Deserialize, Serialize};

use super::request::{KeptLimits, each, pair, written};
use super::unreadable;
use crate::execution::language::Language;
use crate::execution::request::env_texts;
use crate::execution::runtime::{Name, Runtime};
use crate::execution::store::StoreError;
use crate::registry::Reference;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptRuntime {
    image: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    env: Vec<(String, String)>,
    #[serde(flatten)]
    limits: KeptLimits,
    #[serde(default)]
    pool: usize,
}

impl From<&Runtime> for KeptRuntime {
    fn from(runtime: &Runtime) -> Self {
        Self {
            image: written(&runtime.image),
            display_name: runtime.display_name.clone(),
            description: runtime.description.clone(),
            version: runtime.version.clone(),
            language: runtime.language.map(|language| language.name.to_owned()),
            env: env_texts(&runtime.env).collect(),
            limits: runtime.limits.into(),
            pool: runtime.pool,
        }
    }
}

impl KeptRuntime {
    pub(super) fn restore(self, name: Name) -> Result<Runtime, StoreError> {
        let language = |name: String| Language::find(&name).map_err(unreadable);
        Ok(Runtime {
            name,
            display_name: self.display_name,
            description: self.description,
            version: self.version,
            image: self.image.parse::<Reference>().map_err(unreadable)?,
            language: self.language.map(language).transpose()?,
            env: each(self.env, pair)?,
            limits: self.limits.into(),
            pool: self.pool,
        })
    }
}
