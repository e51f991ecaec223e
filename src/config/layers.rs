//! Flag over environment over file over default, each value with its origin.

use std::collections::BTreeMap;
use std::io;

use config::{Config, File, FileFormat, Map, Source, Value, ValueKind};

use super::keys::KEYS;
use super::{Origin, SettingsError};

/// The file that is read when it exists and no other is named.
const FILE: &str = "oncebox.toml";

/// What the command line says: flags by their key's name, and the file.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub file: Option<String>,
    pub values: BTreeMap<&'static str, String>,
}

/// The winning value of each key, as text, with its origin. A key without a value is absent.
pub(super) type Layered = BTreeMap<&'static str, (String, Origin)>;

/// An environment variable; an empty one counts as absent.
pub(super) fn given(variable: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

/// Puts the layers on one another. `variable` looks an environment variable up.
pub(super) fn read(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Layered, SettingsError> {
    let path = flags.file.as_deref().unwrap_or(FILE);
    let layers = [
        Layer::new(Origin::Default, |key| key.default.map(str::to_owned)),
        read_file(path, flags.file.is_some())?,
        Layer::new(Origin::Environment, |key| given(&variable, &key.variable())),
        Layer::new(Origin::Flag(String::new()), |key| flags.values.get(key.name).cloned()),
    ];
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = builder
        .build()
        .and_then(|config| config.collect())
        .map_err(|e| SettingsError::File { path: path.to_owned(), reason: e.to_string() })?;

    let mut layered = Layered::new();
    for key in KEYS {
        let Some(value) = merged.get(key.name) else { continue };
        let origin = match value.origin() {
            Some(ENVIRONMENT) => Origin::Environment,
            Some(FLAG) => Origin::Flag(key.flag()),
            Some(DEFAULT) | None => Origin::Default,
            Some(file) => Origin::File(file.to_owned()),
        };
        layered.insert(key.name, (value.kind.to_string(), origin));
    }
    Ok(layered)
}

/// One source of values, in the words of the crate `config`.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

const DEFAULT: &str = "\0default";
const ENVIRONMENT: &str = "\0environment";
const FLAG: &str = "\0flag";

impl Layer {
    fn new(origin: Origin, value: impl Fn(&super::Key) -> Option<String>) -> Self {
        let mark = match origin {
            Origin::Default => DEFAULT,
            Origin::Environment => ENVIRONMENT,
            Origin::Flag(_) => FLAG,
            Origin::File(_) => "",
        };
        let mark = mark.to_owned();
        let found = KEYS.iter().filter_map(|key| {
            value(key).map(|text| (key.name.to_owned(), Value::new(Some(&mark), text)))
        });
        Self(found.collect())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn read_file(path: &str, required: bool) -> Result<Layer, SettingsError> {
    let failed = |reason: String| SettingsError::File { path: path.to_owned(), reason };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !required => return Ok(Layer(Map::new())),
        Err(e) => return Err(failed(e.to_string())),
    };
    let values =
        File::from_str(&text, FileFormat::Toml).collect().map_err(|e| failed(e.to_string()))?;
    let origin = path.to_owned();
    let mut layer = Map::new();
    for (name, value) in values {
        let from = Origin::File(origin.clone());
        if !KEYS.iter().any(|key| key.name == name) {
            return Err(SettingsError::Unknown { key: name, origin: from });
        }
        let text = as_text(&value).ok_or_else(|| SettingsError::Value {
            name: name.to_uppercase(),
            value: value.kind.to_string(),
            origin: from,
            rule: "write a text, a number, true, false or a list of texts".into(),
        })?;
        layer.insert(name, Value::new(Some(&origin), text));
    }
    Ok(Layer(layer))
}

/// Every value is read from its text, so that `8080` and `"8080"` are one.
fn as_text(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::Nil | ValueKind::Table(_) => None,
        ValueKind::Array(items) => {
            items.iter().map(as_text).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        simple => Some(simple.to_string()),
    }
}
