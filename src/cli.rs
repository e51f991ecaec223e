//! Arguments to subcommand to exit code.

mod columns;
mod healthcheck;
mod image;
mod key;
mod languages;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Flags, KEYS, Key, Machine, Settings};
use crate::engine::native;
use crate::registry::unpack;
use crate::{doctor, startup};

/// Runs what the arguments say.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Our own re-executions, which no one else should find: their arguments are ours alone.
    if args.get(1).is_some_and(|name| name == "spawner") {
        return native::spawner_main(&args[2..]);
    }
    if args.get(1).is_some_and(|name| name == "unpacker") {
        return unpack::unpacker_main();
    }
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(told) => {
            // Nobody is left to tell when stderr is closed.
            let _ = told.print();
            return if told.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let (name, matches) = matches.subcommand().unwrap_or(("serve", &matches));
    if name == "key" {
        return key::run(matches);
    }
    if name == "languages" {
        return languages::run(matches);
    }
    let mut flags = flags(innermost(matches));
    if name == "healthcheck" {
        return healthcheck::run(&flags, matches);
    }
    // There they are the script's own, and no settings.
    let limits = if name == "run" { run::own_limits(&mut flags) } else { BTreeMap::new() };
    match Settings::load(&flags, |name| std::env::var(name).ok(), &Machine::this()) {
        Ok(settings) if name == "doctor" => doctor::run(&settings),
        Ok(settings) if name == "image" => image::run(&settings, matches),
        Ok(settings) if name == "run" => run::run(&settings, &limits, matches),
        Ok(settings) => startup::serve(&settings),
        Err(e) => {
            eprintln!("oncebox: {e}");
            ExitCode::from(2)
        }
    }
}

fn command() -> Command {
    Command::new("oncebox")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(
            "Every setting is also an environment variable in upper case and a key of the file in \
             lower case; a flag stands above the environment, and that above the file.",
        )
        .arg(file_arg())
        .args(KEYS.iter().map(arg))
        .subcommand(Command::new("serve").about("Serve HTTP; what happens without a subcommand"))
        .subcommand(run::command(setting))
        .subcommand(languages::command())
        .subcommand(image::command())
        .subcommand(key::command())
        .subcommand(healthcheck::command())
        .subcommand(
            Command::new("doctor").about("Check what this machine can do, and say how to mend it"),
        )
}

/// The argument of a setting, by its name.
fn setting(name: &str) -> Option<Arg> {
    KEYS.iter().find(|key| key.name == name).map(arg)
}

fn file_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Settings file [default: oncebox.toml, where there is one]")
        .global(true)
}

fn arg(key: &'static Key) -> Arg {
    let default = key.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let arg = Arg::new(key.name)
        .long(key.flag())
        .value_name(key.value)
        .help(format!("{}{default}", key.help))
        .help_heading("Settings")
        .action(ArgAction::Set)
        .global(true);
    // A switch may go without its value.
    if key.value == "BOOL" { arg.num_args(0..=1).default_missing_value("true") } else { arg }
}

/// The flags of every level are known at the last one.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

fn flags(matches: &ArgMatches) -> Flags {
    // A subcommand may have an argument of its own under a setting's name.
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let values = KEYS.iter().filter_map(|key| text(key.name).map(|value| (key.name, value)));
    Flags { file: text("config"), values: values.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> Flags {
        let matches = command().try_get_matches_from(args).expect("valid arguments");
        flags(innermost(&matches))
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_read_before_and_after_the_subcommand() {
        let flags = check(&["oncebox", "--port", "1", "serve", "--memory-limit=1m"]);
        assert_eq!(flags.values["port"], "1");
        assert_eq!(flags.values["memory_limit"], "1m");
        let flags = check(&["oncebox", "--allow-anonymous", "--user", "1000", "--config", "x"]);
        assert_eq!(flags.values["allow_anonymous"], "true");
        assert_eq!(flags.values["user_name"], "1000");
        assert_eq!(flags.file.as_deref(), Some("x"));
        assert!(check(&["oncebox"]).values.is_empty());
        let flags = check(&["oncebox", "--engine=native", "image", "ls", "--image-store", "/x"]);
        assert_eq!((&*flags.values["engine"], &*flags.values["image_store"]), ("native", "/x"));
    }
}
