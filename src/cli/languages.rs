//! `oncebox languages`: what a script may be written in.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::columns::columns;
use crate::execution::language::{CATALOGUE, FALLBACK, Language};

pub(super) fn command() -> Command {
    Command::new("languages")
        .about("List what a script may be written in")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let text = if matches.get_flag("json") { document().to_string() + "\n" } else { table() };
    // Whoever reads may have seen enough.
    let _ = stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// The same as at a service's `GET /languages`.
fn document() -> Value {
    let entry = |language: &Language| {
        json!({
            "name": language.name,
            "aliases": language.aliases().collect::<Vec<_>>(),
            "interpreters": language.interpreters,
            "file_name": language.file_name,
            "default": *language == FALLBACK,
        })
    };
    json!({ "languages": CATALOGUE.iter().map(entry).collect::<Vec<_>>() })
}

fn table() -> String {
    let mut rows = vec![["NAME", "ALSO", "FILES", "READ BY"].map(str::to_owned)];
    rows.extend(CATALOGUE.iter().map(|language| {
        let (_, ending) = language.file_name.rsplit_once('.').unwrap_or_default();
        let programs = language.interpreters.iter().map(|argv| argv.join(" "));
        [
            language.name.to_owned(),
            language.aliases().collect::<Vec<_>>().join(", "),
            format!("*.{ending}"),
            programs.collect::<Vec<_>>().join(", else "),
        ]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_language() {
        insta::assert_snapshot!(table());
    }

    #[test]
    fn the_document_has_an_entry_for_each_language() {
        let document = document();
        let python = &document["languages"][2];
        assert_eq!(
            *python,
            json!({"name": "python", "aliases": ["python3"], "file_name": "script.py",
                   "interpreters": [["python3"], ["python"]], "default": false})
        );
        assert_eq!(document["languages"].as_array().map(Vec::len), Some(CATALOGUE.len()));
    }
}
