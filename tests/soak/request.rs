//! One request of the load, and what its answer must be.

use serde_json::Value;

use crate::support::chance::Chance;
use crate::{honest, hostile};

/// One execution in so many is hostile.
const HOSTILE: u64 = 10;

pub struct Request {
    pub name: &'static str,
    pub hostile: bool,
    pub body: Value,
    pub expected: Expected,
}

/// What an answer must say.
pub enum Expected {
    /// Each of these fields has this value.
    Fields(Value),
    /// It ended in one of these ways, and hit this limit where one is named.
    Ends { among: &'static [&'static str], limit: Option<&'static str> },
}

impl Request {
    pub fn drawn(chance: &mut Chance) -> Self {
        if chance.below(HOSTILE) == 0 { hostile::drawn(chance) } else { honest::drawn(chance) }
    }

    /// What is wrong with an answer, if anything.
    pub fn judge(&self, http: u16, answer: &Value) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{}: {what}: {http} {answer}", self.name));
        if http != 200 {
            return wrong("refused");
        }
        match &self.expected {
            Expected::Fields(fields) => {
                let fields = fields.as_object().expect("an object of fields");
                match fields.iter().find(|(field, value)| answer[field] != **value) {
                    Some((field, value)) => wrong(&format!("{field} is not {value}")),
                    None => Ok(()),
                }
            }
            Expected::Ends { among, limit } => {
                if !answer["status"].as_str().is_some_and(|status| among.contains(&status)) {
                    return wrong("ended in another way");
                }
                let hit = answer["limits_hit"].as_array().into_iter().flatten();
                if limit.is_some_and(|limit| !hit.into_iter().any(|hit| hit == limit)) {
                    return wrong("did not hit its limit");
                }
                Ok(())
            }
        }
    }
}
