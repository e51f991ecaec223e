//! The operator's file of runtimes and templates, read into types that are valid. An error names the
//! file, the entry, the field and the rule it breaks, and never a variable's value.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::written::{WrittenLimits, WrittenRuntime};
use crate::api::Problem;
use crate::api::access::file::guarded_text;
use crate::api::dto::{field_at, without_value};
use crate::api::watch::Watched;
use crate::config::Naming;
use crate::execution::limits::Ceilings;
use crate::execution::request::AskedLimits;
use crate::execution::runtime::{Name, Offered, Room, Runtime, Runtimes, built_in};
use crate::registry::quoted;

/// What the operator offers, and how to read it again.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeFile {
    /// `None` where he has no file: then there are only the templates that there always are.
    pub path: Option<PathBuf>,
    pub ceilings: Ceilings,
    pub naming: Naming,
}

impl RuntimeFile {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong in it, without its path.
    pub fn read(&self) -> Result<Offered, String> {
        let Some(path) = &self.path else { return self.parse("") };
        let rule = "everyone on this machine may change the file; chmod o-w it";
        self.parse(&guarded_text(path, 0o002, rule)?)
    }

    fn parse(&self, text: &str) -> Result<Offered, String> {
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| syntax(text, &e))?;
        let templates = self.templates(table.remove("resources"))?;
        let runtimes = self.runtimes(table.remove("runtimes"))?;
        match table.keys().next() {
            None => Ok(Offered { runtimes, templates }),
            Some(unknown) => Err(format!(
                "{} is not known here; there are [[runtimes]] and [resources.NAME]",
                quoted(unknown)
            )),
        }
    }

    fn runtimes(&self, value: Option<Value>) -> Result<Vec<Runtime>, String> {
        let rule = || "write every runtime as an entry [[runtimes]]".to_owned();
        let entries = match value {
            None => Vec::new(),
            Some(Value::Array(entries)) if entries.iter().all(Value::is_table) => entries,
            Some(_) => return Err(rule()),
        };
        let mut names = HashSet::new();
        let mut runtimes = Vec::new();
        for (number, entry) in (1..).zip(entries) {
            let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
            let name = name.parse::<Name>().map(|name| format!(" ({name})")).unwrap_or_default();
            let refused = |why: String| format!("runtime {number}{name}: {why}");
            let written: WrittenRuntime = typed(entry).map_err(refused)?;
            let runtime = Runtime::try_from(written).map_err(|e| refused(said(e)))?;
            let held = self.ceilings.hold(&runtime.limits);
            held.map_err(|e| refused(format!("{}: {}", e.field, e.detail)))?;
            let image = self.naming.whole(&runtime.image);
            let image = image.map_err(|e| refused(format!("image: {e}")))?;
            if !names.insert(runtime.name.clone()) {
                return Err(refused("name: another runtime has the same".into()));
            }
            runtimes.push(Runtime { image, ..runtime });
        }
        Ok(runtimes)
    }

    fn templates(&self, value: Option<Value>) -> Result<BTreeMap<Name, AskedLimits>, String> {
        let mut templates = built_in(&self.ceilings.max);
        let entries = match value {
            None => Table::new(),
            Some(Value::Table(entries)) => entries,
            Some(_) => return Err("write every template as a table [resources.NAME]".into()),
        };
        for (name, entry) in entries {
            let refused = |why: String| format!("resources.{name}: {why}");
            let key = name.parse::<Name>().map_err(|e| format!("resources: {e}"))?;
            if !entry.is_table() {
                return Err(refused("write it as a table [resources.NAME]".into()));
            }
            let limits: AskedLimits = typed::<WrittenLimits>(entry).map_err(refused)?.into();
            let held = self.ceilings.hold(&limits);
            held.map_err(|e| refused(format!("{}: {}", e.field, e.detail)))?;
            templates.insert(key, limits);
        }
        Ok(templates)
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let rule = without_value(e.inner().message());
        match field_at(e.path()) {
            Some(field) => format!("{field}: {rule}"),
            None => rule,
        }
    })
}

fn said(problem: Problem) -> String {
    let Problem { field, detail, .. } = problem;
    field.map_or_else(|| detail.clone(), |field| format!("{field}: {detail}"))
}

fn syntax(text: &str, error: &toml::de::Error) -> String {
    // Further lines would show what is there.
    let message = error.message().lines().next().unwrap_or_default();
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {} is no TOML: {message}", before.matches('\n').count() + 1)
}

/// The file of a running service.
pub struct Reloading {
    pub path: PathBuf,
    pub file: RuntimeFile,
    pub runtimes: Arc<Runtimes>,
    pub room: Room,
}

impl Watched for Reloading {
    const WHAT: &str = "runtimes";

    fn path(&self) -> &Path {
        &self.path
    }

    fn reload(&self) -> Result<usize, String> {
        let named = |why| format!("the runtimes of {}: {why}", self.path.display());
        let offered = self.file.read().map_err(named)?;
        let waiting: usize = offered.runtimes.iter().map(|runtime| runtime.pool).sum();
        let room = self.room.most.saturating_sub(self.room.others);
        if waiting > room {
            return Err(named(format!(
                "pool: {waiting} containers in all are more than the {room} for which there is room"
            )));
        }
        let count = offered.runtimes.len();
        self.runtimes.offer(offered);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
