//! `oncebox run`: one script, run here or at a service, as if it were run by itself. What it prints
//! is printed, what it exits with is exited with.

mod ending;
mod events;
mod folder;
mod local;
mod order;
mod output;
mod remote;
mod request;
mod server;
mod stops;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, stdin};
use std::process::ExitCode;

use clap::ArgMatches;
use oncebox_guest::glob::Globs;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::execution::request::Execution;
use crate::execution::runtime::{Catalogue, Names};
use crate::execution::transcript::Stream;
use crate::startup::Once;
use crate::telemetry;
use ending::Ending;
use folder::Folder;
use order::Surroundings;
pub(super) use order::{command, own};
use output::Output;
use server::Server;
use stops::Stops;

/// What `docker run` exits with when the fault is not the script's.
const FAILED: u8 = 125;
/// A process that a signal ends, as shells count it.
const SIGNALED: u8 = 128;
const SIGPIPE: u8 = 13;

/// Why there is nothing of the script's to exit with.
#[derive(Debug)]
enum Stopped {
    /// The arguments must change.
    Usage(String),
    Failed(String),
    /// Nobody reads the output any more.
    Unread,
    /// A signal of that number ended us.
    Signal(u8),
}

impl From<io::Error> for Stopped {
    /// Of writing output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(format!("the output can't be written: {error}")),
        }
    }
}

/// Does what the arguments say. `own` are those of them that are settings elsewhere.
pub(super) fn run(
    settings: &Settings,
    own: &BTreeMap<&'static str, String>,
    matches: &ArgMatches,
) -> ExitCode {
    // The script's output is what is to be seen.
    let level = settings.log_level;
    let wanted = level > tracing::Level::INFO;
    let level = if wanted { level } else { level.min(tracing::Level::WARN) };
    telemetry::start(level, settings.log_format);
    let (code, why) = match carry_out(settings, own, matches) {
        Ok(code) => (code, None),
        Err(Stopped::Usage(why)) => (2, Some(why)),
        Err(Stopped::Failed(why)) => (FAILED, Some(why)),
        Err(Stopped::Unread) => (SIGNALED + SIGPIPE, None),
        Err(Stopped::Signal(signal)) => (SIGNALED + signal, None),
    };
    why.iter().for_each(|why| say(why));
    ExitCode::from(code)
}

/// A sentence of ours, beside what the script says.
fn say(sentence: &str) {
    use io::Write as _;
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    let sentence: String = sentence.chars().map(shown).collect();
    // Whoever reads may have left.
    let _ = writeln!(io::stderr(), "oncebox: {sentence}");
}

fn carry_out(
    settings: &Settings,
    own: &BTreeMap<&'static str, String>,
    matches: &ArgMatches,
) -> Result<u8, Stopped> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let variable = |name: &str| std::env::var(name).ok();
    let server = text("server").map(|url| Server::read(url, text("api-key-file"), variable));
    let server = server.transpose().map_err(Stopped::Usage)?;
    let around = Surroundings {
        variable: &variable,
        terminal: stdin().is_terminal(),
        stdin: &mut stdin().lock(),
        most: settings.ceilings.max.memory,
    };
    let mut execution = order::execution(matches, own, around).map_err(Stopped::Usage)?;
    let names = order::names(matches, own);
    let json = matches.get_flag("json");
    let folder = (!execution.outputs.is_empty() && !json)
        .then(|| Folder::open(text("output-dir").unwrap_or(".")));
    let folder = folder.transpose().map_err(Stopped::Usage)?;
    let place = match server {
        Some(server) => Place::There(server, names),
        None => {
            let resolved = catalogue(settings).resolve(&names, execution);
            execution =
                resolved.map_err(|e| Stopped::Usage(format!("--{}: {}", e.field, e.detail)))?;
            Place::Here(Box::new(Once::begin(settings, &execution).map_err(Stopped::Failed)?))
        }
    };
    folder.iter().try_for_each(Folder::can_be_written).map_err(Stopped::Usage)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Stopped::Failed(format!("no threads: {e}")))?;
    let patterns = execution.outputs.iter().map(|p| p.as_str().as_bytes().to_vec()).collect();
    let document = runtime.block_on(follow(place, execution, json));
    // A write that nobody takes is not waited for.
    runtime.shutdown_background();
    let document = document?;
    let ending = Ending::read(&document).map_err(Stopped::Failed)?;
    // The document says everything else.
    Ok(if json { ending.exit_code() } else { conclude(&ending, folder.as_ref(), patterns) })
}

/// What can be named where there is no service.
fn catalogue(settings: &Settings) -> Catalogue {
    let catalogue = Catalogue::default();
    catalogue.offer(settings.runtimes.offered.clone());
    catalogue
}

/// Where the script runs.
enum Place {
    Here(Box<Once>),
    /// With what it calls by a name there.
    There(Server, Names),
}

/// Runs the script to its end, or until a signal says otherwise; the answer's document.
async fn follow(place: Place, execution: Execution, json: bool) -> Result<Vec<u8>, Stopped> {
    let cancel = CancellationToken::new();
    let stops = Stops::heard(&cancel);
    let stops = stops.map_err(|e| Stopped::Failed(format!("no signals: {e}")))?;
    let mut output = Output::new();
    let run = async {
        let printed = (!json).then_some(&mut output);
        let document = match place {
            Place::Here(once) => local::run(*once, execution, printed, &cancel).await,
            // Without its connection the service ends the script.
            Place::There(server, names) => {
                let run = remote::run(&server, &execution, &names, printed);
                let cancelled = || Err(Stopped::Failed("cancelled".into()));
                cancel.run_until_cancelled(run).await.unwrap_or_else(cancelled)
            }
        }?;
        if json {
            let line = [document.as_slice(), b"\n"].concat();
            output.write(Stream::Stdout, &line).await?;
        }
        Ok(document)
    };
    let ended = tokio::select! {
        ended = run => ended,
        () = stops.force.cancelled() => Err(Stopped::Failed("stopped by force".into())),
    };
    stops.first().map_or(ended, |signal| Err(Stopped::Signal(signal)))
}

/// What there is to do when the script has ended; what to exit with.
fn conclude(ending: &Ending, folder: Option<&Folder>, patterns: Vec<Vec<u8>>) -> u8 {
    ending.sentences().iter().for_each(|sentence| say(sentence));
    let Some(folder) = folder else { return ending.exit_code() };
    let asked = Globs::new(&patterns);
    let (mut brought, mut failed) = (false, false);
    // What was not asked for is not taken, whoever sends it.
    for file in ending.files.iter().filter(|file| asked.matches(file.path.as_bytes())) {
        match folder.put(file) {
            Ok(()) => brought = true,
            Err(why) => {
                say(&why);
                failed = true;
            }
        }
    }
    if !brought && !failed {
        say("no file matches --output");
    }
    if failed && ending.exit_code() == 0 { FAILED } else { ending.exit_code() }
}
