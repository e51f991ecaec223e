//! Typed reading of the layered values.

use super::layers::Layered;
use super::{Origin, SettingsError};

/// A value that must be above zero, which it `is`.
pub(super) fn above_zero<T>(is: bool, value: T) -> Result<T, String> {
    if is { Ok(value) } else { Err("write more than 0".into()) }
}

/// The winning values; each getter turns one into its type or names it in the error.
pub(super) struct Values(pub(super) Layered);

impl Values {
    /// The value read by `parse`, whose error is the rule that the value breaks.
    pub(super) fn get<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let Some((text, _)) = self.0.get(name) else { return Ok(None) };
        parse(text).map(Some).map_err(|rule| self.refused(name, &rule))
    }

    /// Gives a key a default that depends on the machine.
    pub(super) fn default_to(&mut self, name: &'static str, text: String) {
        self.0.entry(name).or_insert((text, Origin::Default));
    }

    /// As [`Values::get`], for a key that has a default.
    pub(super) fn need<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, SettingsError> {
        self.get(name, parse)?.ok_or_else(|| self.refused(name, "it has no value"))
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.0.get(name).map(|(text, _)| text.clone())
    }

    /// Where a value came from.
    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.0.get(name).map(|(_, origin)| origin)
    }

    /// The error that names a setting, its value and its origin.
    pub(super) fn refused(&self, name: &str, rule: &str) -> SettingsError {
        let (value, origin) =
            self.0.get(name).cloned().unwrap_or_else(|| (String::new(), Origin::Default));
        SettingsError::Value { name: name.to_uppercase(), value, origin, rule: rule.to_owned() }
    }

    /// The same for a value that must not be repeated as it is.
    pub(super) fn refused_as(&self, name: &str, shown: String, rule: &str) -> SettingsError {
        match self.refused(name, rule) {
            SettingsError::Value { name, origin, rule, .. } => {
                SettingsError::Value { name, value: shown, origin, rule }
            }
            other => other,
        }
    }

    /// A setting's value and origin, behind its name.
    pub(super) fn describe(&self, name: &str) -> String {
        let (value, origin) =
            self.0.get(name).cloned().unwrap_or_else(|| (String::new(), Origin::Default));
        format!("{value} ({origin})")
    }
}
