//! `oncebox languages`: what a script may be written in.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::columns::columns;
use crate::api::Languages;
use crate::execution::language::CATALOGUE;

pub(super) fn command() -> Command {
    Command::new("languages")
        .about("List what a script may be written in")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let document = || serde_json::to_string(&Languages::all()).unwrap_or_default() + "\n";
    let text = if matches.get_flag("json") { document() } else { table() };
    // Whoever reads may have seen enough.
    let _ = stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
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
}
