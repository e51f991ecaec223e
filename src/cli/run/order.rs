//! What the arguments of `oncebox run` ask for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use uuid::Uuid;

use crate::config::{Flags, KEYS};
use crate::execution::language::Language;
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::{
    Arg as ScriptArg, AskedLimits, EnvName, EnvValue, Execution, InputFile, Invalid, RelativePath,
};
use crate::registry::{PullPolicy, Reference};

/// Where the script comes from when it is not a file.
const STDIN: &str = "-";

/// Settings whose flags are the limits of this one script, with what they may also be called.
const LIMITS: &[(&str, Option<&str>)] = &[
    ("timeout", None),
    ("memory_limit", Some("memory")),
    ("cpu_limit", Some("cpu")),
    ("pids_limit", Some("pids")),
    ("tmp_size", None),
    ("output_limit", None),
];

/// The subcommand. A limit is the same argument here as everywhere, under one more name.
pub(in crate::cli) fn command(setting: impl Fn(&str) -> Option<Arg>) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let many = |arg: Arg| arg.action(ArgAction::Append);
    let limits = LIMITS.iter().filter_map(|(name, short)| {
        let arg = setting(name)?.help_heading("Limits of the script");
        Some(match short {
            Some(short) => arg.visible_alias(*short),
            None => arg,
        })
    });
    Command::new("run")
        .about("Run one script and exit as it does; no service is needed")
        .arg(
            Arg::new("script")
                .value_name("FILE")
                .required(true)
                .help("The script; - reads it from standard input"),
        )
        .arg(text("image", "IMAGE", "What to run it in, instead of BASE_IMAGE"))
        .arg(text("language", "NAME", "What reads it, whatever it is called; see `languages`"))
        .arg(
            many(text("env", "NAME[=VALUE]", "Set a variable, or pass on the caller's own"))
                .short('e'),
        )
        .arg(
            Arg::new("no-forward-env")
                .long("no-forward-env")
                .action(ArgAction::SetTrue)
                .help("Without what FORWARD_ENV_KEYS names"),
        )
        .arg(many(text("file", "LOCAL[:PATH]", "Put a file beside the script")))
        .arg(many(text("output", "PATTERN", "Bring files back that it has written")))
        .arg(text("output-dir", "FOLDER", "Where to put them [default: .]").requires("output"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .conflicts_with("output-dir")
                .help("Print the whole answer as one line of JSON"),
        )
        .arg(text("server", "URL", "Run it at a service, with the key in ONCEBOX_API_KEY"))
        .arg(text("api-key-file", "FILE", "Holds the key instead").requires("server"))
        .arg(Arg::new("args").value_name("ARGS").num_args(0..).last(true).help("For the script"))
        .args(limits)
}

/// What the command line says of the limits, out of what it says of the settings.
pub(in crate::cli) fn own_limits(flags: &mut Flags) -> BTreeMap<&'static str, String> {
    let taken = LIMITS.iter().filter_map(|(name, _)| flags.values.remove_entry(*name));
    taken.collect()
}

/// What a script is made of beside its arguments.
pub(super) struct Surroundings<'a> {
    /// Environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) stdin: &'a mut dyn Read,
    /// Somebody would have to type it.
    pub(super) terminal: bool,
    /// No file, and no standard input, is larger.
    pub(super) most: u64,
}

/// Reads everything that the script needs.
///
/// # Errors
/// A sentence that names the argument.
pub(super) fn execution(
    matches: &ArgMatches,
    limits: &BTreeMap<&'static str, String>,
    around: Surroundings<'_>,
) -> Result<Execution, String> {
    let one = |name: &str| matches.get_one::<String>(name);
    let all = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned();
    let Surroundings { variable, stdin, terminal, most } = around;

    // Everything that can be wrong without being read comes first: standard input may be long.
    let named = one("language")
        .map(|name| Language::find(name))
        .transpose()
        .map_err(|e| about("--language", &e))?;
    let image = one("image").map(|text| text.parse::<Reference>()).transpose();
    let image = image.map_err(|e| about("--image", &e))?;
    let pull_policy = one("pull_policy").map(|text| text.parse::<PullPolicy>()).transpose();
    let pull_policy = pull_policy.map_err(|e| about("--pull-policy", &e))?;
    let outputs = all("output").map(TryInto::try_into).collect::<Result<_, Invalid>>();
    let outputs = outputs.map_err(|e| about("--output", &e))?;
    let args = all("args").map(ScriptArg::try_from).collect::<Result<_, _>>();
    let args = args.map_err(|e| about("an argument of the script", &e))?;
    let env = env(all("env"), variable)?;
    let limits = asked(limits)?;
    let files = all("file").map(|text| file(&text, most)).collect::<Result<_, _>>()?;

    let path = one("script").map(String::as_str).unwrap_or_default();
    let (script, stdin) = match path {
        STDIN => (whole(stdin, most).map_err(|why| format!("standard input {why}"))?, None),
        path => {
            let script = read(path, most)?;
            let stdin = match terminal {
                true => Bytes::new(),
                false => whole(stdin, most).map_err(|why| format!("standard input {why}"))?,
            };
            (script, Some(stdin).filter(|stdin| !stdin.is_empty()))
        }
    };
    Ok(Execution {
        id: Uuid::now_v7(),
        script,
        stdin,
        image,
        pull_policy,
        language: named.or_else(|| Language::of_file(path)),
        args,
        env,
        forward_env: !matches.get_flag("no-forward-env"),
        files,
        outputs,
        limits,
    })
}

fn about(what: &str, rule: &dyn std::fmt::Display) -> String {
    format!("{what}: {rule}")
}

/// `NAME=VALUE`, or `NAME` for the caller's own where there is one; the last of a name counts.
fn env(
    pairs: impl Iterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(EnvName, EnvValue)>, String> {
    let mut env: Vec<(EnvName, EnvValue)> = Vec::new();
    for pair in pairs {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (pair.clone(), variable(&pair)),
        };
        let name = EnvName::try_from(name).map_err(|e| about("-e", &e))?;
        let Some(value) = value else { continue };
        let value = EnvValue::try_from(value);
        let value = value.map_err(|e| format!("-e {}: {e}", name.as_str()))?;
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
    Ok(env)
}

fn asked(limits: &BTreeMap<&'static str, String>) -> Result<AskedLimits, String> {
    fn value<T: std::str::FromStr<Err = Invalid>>(
        limits: &BTreeMap<&'static str, String>,
        name: &str,
    ) -> Result<Option<T>, String> {
        let value = limits.get(name).map(|text| text.parse()).transpose();
        value.map_err(|e| about(&flag(name), &e))
    }
    let pids = limits.get("pids_limit").map(|text| text.parse()).transpose();
    Ok(AskedLimits {
        timeout: value(limits, "timeout")?.map(|Seconds(time)| time),
        memory: value(limits, "memory_limit")?.map(|Size(bytes)| bytes),
        cpu_millis: value(limits, "cpu_limit")?.map(|Cpu(millis)| millis),
        pids: pids.map_err(|_| about(&flag("pids_limit"), &"write a whole number, such as 64"))?,
        tmp: value(limits, "tmp_size")?.map(|Size(bytes)| bytes),
        output: value(limits, "output_limit")?.map(|Size(bytes)| bytes),
    })
}

/// The flag of a setting.
fn flag(name: &str) -> String {
    let key = KEYS.iter().find(|key| key.name == name);
    key.map_or_else(String::new, |key| format!("--{}", key.flag()))
}

/// `LOCAL[:PATH]`: where it is here, and where it will be for the script.
fn file(text: &str, most: u64) -> Result<InputFile, String> {
    let (local, path) = match text.rsplit_once(':') {
        Some((local, path)) => (local, path.to_owned()),
        None => (text, beside(text)),
    };
    let path = RelativePath::try_from(path).map_err(|e| about("--file", &e))?;
    let content = read(local, most)?;
    let mode = fs::metadata(local).map(|about| about.permissions().mode());
    let executable = mode.is_ok_and(|mode| mode & 0o111 != 0);
    Ok(InputFile { path, content, executable })
}

/// Where a script that is run here would find the file, as far as it can be there as well: its own
/// path, else its name alone.
fn beside(local: &str) -> String {
    let path = local.trim_start_matches("./");
    if RelativePath::try_from(path.to_owned()).is_ok() {
        return path.to_owned();
    }
    let name = Path::new(local).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn read(path: &str, most: u64) -> Result<Bytes, String> {
    let opened = File::open(path).map_err(|e| format!("{path} can't be read: {e}"))?;
    whole(&mut &opened, most).map_err(|why| format!("{path} {why}"))
}

fn whole(from: &mut dyn Read, most: u64) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let read: io::Result<usize> = from.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| format!("can't be read: {e}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {}, the most memory a script may have", Size(most)));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests;
