//! `oncebox key new`: makes an API key. It is said once, and only its hash is kept.

mod append;

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use toml::Value;

use super::{flags, innermost};
use crate::api::access::file::{self, CEILINGS, Fault, KeyFileError};
use crate::api::access::token::Token;
use crate::config::{Flags, keys_file};

pub(super) fn command() -> Command {
    let own = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let new = Command::new("new")
        .about("Make a key and say it once; its hash goes to API_KEYS_FILE, where that is set")
        .after_help("--max-timeout and the like are the ceilings of this key alone.")
        .arg(Arg::new("name").value_name("NAME").required(true).help("For logs, and to find it by"))
        .arg(own("scopes", "SCOPE,…", "execute, images, admin").default_value("execute"))
        .arg(own("rate", "COUNT/UNIT", "Its own RATE_LIMIT, such as 600/m"))
        .arg(own("concurrency", "COUNT", "Its executions at once"));
    Command::new("key")
        .about("Make API keys")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(new)
}

/// Does what the arguments say. No other setting need be right for this.
pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let matches = innermost(matches);
    let flags = flags(matches);
    let path = match keys_file(&flags, |name| std::env::var(name).ok()) {
        Ok(path) => path,
        Err(e) => {
            eprintln!("oncebox: {e}");
            return ExitCode::from(2);
        }
    };
    let made = make(matches, &flags).and_then(|(token, entry)| match &path {
        Some(path) => {
            append::append(path, &entry)?;
            eprintln!("oncebox: the key is in {}; it is said here once:", path.display());
            say(&format!("{}\n", token.reveal()))
        }
        None => {
            eprintln!("oncebox: the key, said here once, and its entry for API_KEYS_FILE:");
            say(&format!("{}\n\n{entry}", token.reveal()))
        }
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("oncebox: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A new key and its entry, held against the rules of the file.
fn make(matches: &ArgMatches, flags: &Flags) -> Result<(Token, String), String> {
    let token = Token::new().map_err(|e| format!("no random bytes for a key: {e}"))?;
    let own = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let scopes = own("scopes").unwrap_or_default().split(',');
    let scopes: Vec<_> = scopes.map(|scope| Value::from(scope.trim())).collect();
    let mut fields = vec![
        ("name", Value::from(own("name").unwrap_or_default())),
        ("hash", Value::from(token.hash().to_string())),
        ("scopes", Value::from(scopes)),
    ];
    fields
        .extend(["rate", "concurrency"].iter().filter_map(|name| Some((*name, own(name)?.into()))));
    let ceilings = CEILINGS.iter().filter_map(|name| Some((*name, flags.values.get(name)?)));
    fields.extend(ceilings.map(|(name, text)| (name, Value::from(text.as_str()))));
    let mut entry = String::from("[[keys]]\n");
    for (name, value) in fields {
        // Never fails: it is memory.
        let _ = writeln!(entry, "{name} = {value}");
    }
    match file::parse(&entry) {
        Ok(_) => Ok((token, entry)),
        Err(Fault::Entry { field, value, rule, .. }) => {
            let value = value.map(|value| format!(" is {value}")).unwrap_or_default();
            Err(format!("{field}{value}: {rule}"))
        }
        Err(other) => Err(other.to_string()),
    }
}

fn say(text: &str) -> Result<(), String> {
    let said = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush());
    said.map_err(|e| format!("the key could not be said, so remove its entry again: {e}"))
}

impl From<KeyFileError> for String {
    fn from(error: KeyFileError) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::file::Key;

    fn made(args: &[&str]) -> Result<Key, String> {
        let command = crate::cli::command();
        let matches = command.try_get_matches_from([&["oncebox", "key", "new"], args].concat());
        let matches = matches.expect("valid arguments");
        let matches = innermost(&matches);
        let (token, entry) = make(matches, &flags(matches))?;
        assert!(!entry.contains(token.reveal()));
        let mut keys = file::parse(&entry).expect("valid");
        let key = keys.remove(0);
        assert_eq!(key.hash, token.hash());
        Ok(key)
    }

    #[test]
    fn arguments_become_an_entry() {
        let plain = made(&["ci"]).expect("made");
        assert_eq!((&*plain.name, plain.scopes.len(), plain.rate), ("ci", 1, None));
        let full = made(&[
            "ci",
            "--scopes=execute, admin",
            "--rate=5/m",
            "--concurrency",
            "2",
            "--max-timeout=1.5",
            "--max-memory-limit=64m",
        ])
        .expect("made");
        assert_eq!((full.scopes.len(), full.allowance.concurrency), (2, Some(2)));
        assert_eq!(full.rate, "5/m".parse().ok());
        assert_eq!(full.allowance.most.memory, Some(64 << 20));
        assert_eq!(full.allowance.most.timeout.map(|time| time.as_millis()), Some(1500));
    }

    #[test]
    fn what_breaks_a_rule_is_said() {
        for (args, told) in [
            (&["a b"][..], "name"),
            (&["ci", "--scopes=all"], "scopes"),
            (&["ci", "--rate=fast"], "rate"),
            (&["ci", "--concurrency=0"], "concurrency"),
            (&["ci", "--max-pids-limit=1"], "max_pids_limit"),
        ] {
            let refused = made(args).expect_err("refused");
            assert!(refused.starts_with(told) && !refused.contains("key 1"), "{refused}");
        }
    }
}
