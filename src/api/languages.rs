//! `GET /languages`: the catalogue.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::execution::language::{CATALOGUE, FALLBACK, Language};

/// The body of `GET /languages`.
#[derive(Serialize, ToSchema)]
#[schema(description = "The languages that scripts can be in.")]
pub(crate) struct Languages {
    languages: Vec<Entry>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
#[schema(as = Language, description = "How a script in this language is run.")]
pub(super) struct Entry {
    /// What a request's `language` says.
    name: &'static str,
    /// Other names that it may say.
    aliases: Vec<&'static str>,
    /// Commands, tried in order until one's program exists in the image; the script's path and the
    /// request's args follow.
    interpreters: &'static [&'static [&'static str]],
    /// What the script is called in the working directory.
    file_name: &'static str,
    /// Of a script that names no language and has no `#!` line.
    default: bool,
}

impl Languages {
    pub(crate) fn all() -> Self {
        Self { languages: CATALOGUE.iter().map(Entry::from).collect() }
    }
}

pub(super) async fn list() -> HttpResponse {
    HttpResponse::Ok().json(Languages::all())
}

impl From<&Language> for Entry {
    fn from(language: &Language) -> Self {
        Self {
            name: language.name,
            aliases: language.aliases().collect(),
            interpreters: language.interpreters,
            file_name: language.file_name,
            default: language.name == FALLBACK.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::language::ALIASES;

    #[test]
    fn every_name_leads_to_its_entry_and_one_is_the_default() {
        let entries: Vec<_> = CATALOGUE.iter().map(Entry::from).collect();
        for entry in &entries {
            for name in entry.aliases.iter().chain([&entry.name]) {
                assert_eq!(Language::find(name).unwrap().name, entry.name);
            }
        }
        let aliases = entries.iter().map(|entry| entry.aliases.len()).sum::<usize>();
        assert_eq!(aliases, ALIASES.len());
        let defaults: Vec<_> = entries.iter().filter(|entry| entry.default).collect();
        assert_eq!(defaults.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["sh"]);
    }
}
