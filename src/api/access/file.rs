//! The file of API keys, read into types that are valid. An error names the file, the entry, the
//! value and the rule it breaks, and never repeats what may be a key.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use super::rate::Rate;
use super::scope::Scope;
use super::token::{Hash, may_hold_a_key};
use crate::config::{count, cpu, seconds, size};
use crate::execution::admission::Allowance;
use crate::execution::limits::FLOOR;
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::AskedLimits;
use crate::registry::quoted;

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;
const MAX_NAME: usize = 64;
/// Of the key in the README, which everybody knows.
pub const EXAMPLE: &str = "sha256:bbca3c3192ea5a6971a79f22e29ac9e688bfca8a3cf045f818022c50bfb1b5fd";

/// One entry of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: Arc<str>,
    pub hash: Hash,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// `None` is what holds for everyone.
    pub rate: Option<Rate>,
    pub allowance: Arc<Allowance>,
}

/// Why the file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API keys of {}: {fault}", path.display())]
pub struct KeyFileError {
    pub path: PathBuf,
    pub fault: Box<Fault>,
}

/// What is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// With the file as a whole.
    File(String),
    /// With one field of one entry; the first is number 1.
    Entry {
        number: usize,
        name: Option<String>,
        field: String,
        value: Option<String>,
        rule: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(rule) => f.write_str(rule),
            Self::Entry { number, name, field, value, rule } => {
                let name = name.as_ref().map(|name| format!(" ({name:?})")).unwrap_or_default();
                let value = value.as_ref().map(|value| format!(" is {value}")).unwrap_or_default();
                write!(f, "key {number}{name}: {field}{value}: {rule}")
            }
        }
    }
}

/// Reads the keys of a file.
///
/// # Errors
/// [`KeyFileError`], for a file that can't be read, that others may read or change, or whose text
/// breaks a rule.
pub fn read(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    let failed = |fault| KeyFileError { path: path.to_owned(), fault: Box::new(fault) };
    let text = text(path).map_err(failed)?;
    match parse(&text) {
        Ok(keys) if keys.is_empty() => {
            let rule = "there is no key in it; `oncebox key new` makes one";
            Err(failed(Fault::File(rule.into())))
        }
        keys => keys.map_err(failed),
    }
}

/// The text of a key file.
pub fn text(path: &Path) -> Result<String, Fault> {
    let rule = "everyone on this machine may read or change the file; chmod o-rw it";
    guarded_text(path, 0o006, rule).map_err(Fault::File)
}

/// The text of a file of the operator's on which nobody else has any of these rights; `rule` says so.
pub fn guarded_text(path: &Path, rights: u32, rule: &str) -> Result<String, String> {
    let unread = |e| format!("the file can't be read: {e}");
    // What is no file, such as a pipe without a writer, must not hold us up.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let opened = opened.map_err(unread)?;
    // Of what was opened, so that it can't be another one by now.
    let metadata = opened.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err("that is no file".into());
    }
    if metadata.permissions().mode() & rights != 0 {
        return Err(rule.into());
    }
    let mut text = String::new();
    opened.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > MAX_FILE {
        return Err("the file is larger than 1 MiB".into());
    }
    Ok(text)
}

/// The keys in a text; there may be none.
pub fn parse(text: &str) -> Result<Vec<Key>, Fault> {
    let table: Table = text.parse().map_err(|e| syntax(text, &e))?;
    let entries = match table.iter().find(|(name, _)| *name != "keys") {
        Some((name, _)) => {
            let rule = format!("{} is not known here; every key is an entry [[keys]]", shown(name));
            return Err(Fault::File(rule));
        }
        None => table.get("keys"),
    };
    let entries = match entries {
        None => &Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(Fault::File("write every key as an entry [[keys]]".into())),
    };
    let mut keys: Vec<Key> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let number = index + 1;
        let Some(table) = entry.as_table() else {
            return Err(Fault::File("write every key as an entry [[keys]]".into()));
        };
        let entry = Entry { number, table };
        let key = entry.key()?;
        for (index, other) in keys.iter().enumerate() {
            let same = |field| Err(entry.fault(field, format!("key {} has the same", index + 1)));
            if other.name == key.name {
                return same("name");
            }
            if other.hash == key.hash {
                return same("hash");
            }
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Where the text is no TOML. Its own words are not repeated, as they may be a key.
fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let message = error.message().lines().next().unwrap_or_default();
    let message = if may_hold_a_key(message) { "it is malformed" } else { message };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    Fault::File(format!("line {} is no TOML: {message}", before.matches('\n').count() + 1))
}

/// A text as it may stand in a message.
fn shown(text: &str) -> String {
    if may_hold_a_key(text) { "a text with a key in it".into() } else { quoted(text) }
}

/// One `[[keys]]`, as it is written.
struct Entry<'a> {
    number: usize,
    table: &'a Table,
}

const FIELDS: [&str; 5] = ["name", "hash", "scopes", "rate", "concurrency"];

/// Fields that are the ceilings of one key.
pub const CEILINGS: [&str; 6] = [
    "max_timeout",
    "max_memory_limit",
    "max_cpu_limit",
    "max_pids_limit",
    "max_tmp_size",
    "max_output_limit",
];

impl Entry<'_> {
    fn key(&self) -> Result<Key, Fault> {
        let known = [&FIELDS[..], &CEILINGS].concat();
        if let Some(unknown) = self.table.keys().find(|name| !known.contains(&name.as_str())) {
            let rule = format!("not known; there are {}", known.join(", "));
            return Err(self.fault(&shown(unknown), rule));
        }
        let name = self.need("name", name)?;
        let hash = match self.table.get("hash") {
            Some(Value::String(text)) => {
                text.parse::<Hash>().map_err(|rule| self.fault("hash", rule))
            }
            _ => Err(self.fault("hash", "write it as a text, sha256: and 64 hex digits")),
        }?;
        if hash.to_string() == EXAMPLE {
            return Err(self.fault("hash", "everybody knows this key: it is the README's example"));
        }
        let most = AskedLimits {
            timeout: self.limit("max_timeout", FLOOR.timeout, seconds, Seconds)?,
            memory: self.limit("max_memory_limit", FLOOR.memory, size, Size)?,
            cpu_millis: self.limit("max_cpu_limit", FLOOR.cpu_millis, cpu, Cpu)?,
            pids: self.limit("max_pids_limit", FLOOR.pids, count, |pids| pids)?,
            tmp: self.limit("max_tmp_size", FLOOR.tmp, size, Size)?,
            output: self.limit("max_output_limit", FLOOR.output, size, Size)?,
        };
        let concurrency = self.get("concurrency", count)?.map(|number| number as usize);
        Ok(Key {
            name: name.into(),
            hash,
            scopes: self.scopes()?,
            rate: self.get("rate", str::parse::<Rate>)?,
            allowance: Arc::new(Allowance { concurrency, most }),
        })
    }

    fn scopes(&self) -> Result<Vec<Scope>, Fault> {
        let rule = "write a list of execute, images and admin";
        let texts: Option<Vec<&str>> = match self.table.get("scopes") {
            Some(Value::Array(scopes)) => scopes.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let texts = texts.filter(|texts| !texts.is_empty());
        let one = |text: &str| text.parse().map_err(|_| self.refused("scopes", text, rule));
        texts.ok_or_else(|| self.fault("scopes", rule))?.into_iter().map(one).collect()
    }

    /// A ceiling, in the spelling of the setting with the same name.
    fn limit<T: PartialOrd + Copy, Q: fmt::Display>(
        &self,
        field: &'static str,
        floor: T,
        parse: fn(&str) -> Result<T, String>,
        quantity: fn(T) -> Q,
    ) -> Result<Option<T>, Fault> {
        self.get(field, |text| match parse(text)? {
            most if most < floor => Err(format!("the least is {}", quantity(floor))),
            most => Ok(most),
        })
    }

    fn need<T, E: fmt::Display>(
        &self,
        field: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Fault> {
        self.get(field, parse)?.ok_or_else(|| self.fault(field, "there must be one"))
    }

    /// Numbers are read from their text, as settings are.
    fn get<T, E: fmt::Display>(
        &self,
        field: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Fault> {
        let text = match self.table.get(field) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Float(number)) => number.to_string(),
            Some(_) => return Err(self.fault(field, "write a text or a number")),
        };
        parse(&text).map(Some).map_err(|rule| self.refused(field, &text, rule))
    }

    fn fault(&self, field: &str, rule: impl fmt::Display) -> Fault {
        let name = self.table.get("name").and_then(Value::as_str);
        let name = name.filter(|text| self::name(text).is_ok()).map(str::to_owned);
        let (field, rule) = (field.to_owned(), rule.to_string());
        Fault::Entry { number: self.number, name, field, value: None, rule }
    }

    fn refused(&self, field: &str, text: &str, rule: impl fmt::Display) -> Fault {
        match self.fault(field, rule) {
            Fault::Entry { number, name, field, rule, .. } => {
                let rule = if may_hold_a_key(&rule) { "it is malformed".into() } else { rule };
                Fault::Entry { number, name, field, value: Some(shown(text)), rule }
            }
            other => other,
        }
    }
}

/// A name stands in logs, so it is plain, and no key by mistake.
pub fn name(text: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain);
    if fits && !may_hold_a_key(text) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 of A-Z a-z 0-9 . _ -, and no key")
    }
}

#[cfg(test)]
mod tests;
