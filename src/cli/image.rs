//! `oncebox image`: the images of the engine that a service here would use, looked after by hand.
//! No service is needed, and one may run beside it.

mod progress;
mod table;
mod task;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use serde::Serialize;
use tokio::sync::watch;

use crate::api::images::document::{DetailsDocument, ImageDocument, Images};
use crate::config::Settings;
use crate::registry::store::ImportSource;
use crate::registry::{Image, ImageError, Progress, PullState, Reference, Removed};
use crate::startup::{Begun, Offline};
use crate::telemetry;
use task::Task;
pub(super) use task::command;

/// Does what the arguments say.
pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> ExitCode {
    // Bars and lines of their own say how it goes on and what went wrong.
    let level = settings.log_level;
    let wanted = level > tracing::Level::INFO;
    telemetry::start(if wanted { level } else { tracing::Level::ERROR }, settings.log_format);
    let Some(task) = Task::read(matches) else { return ExitCode::from(2) };
    if matches!(task, Task::Import { source: ImportSource::Stdin, .. }) && stdin().is_terminal() {
        eprintln!(
            "oncebox: there is no archive on standard input; pipe one in: docker save IMAGE | oncebox image import -"
        );
        return ExitCode::from(2);
    }
    let done = Begun::now(settings, task.pulled()).and_then(|begun| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no threads: {e}"))?;
        runtime.block_on(async {
            let offline = begun.open().await?;
            if let Some(reason) = &offline.reason {
                eprintln!("oncebox: images of the engine {}: {reason}", offline.engine);
            }
            let done = perform(&offline, task).await;
            offline.close().await;
            done
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("oncebox: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(offline: &Offline, task: Task) -> Result<(), String> {
    let images = offline.registry.images();
    match task {
        Task::List { json: true } => {
            let images = images.list().await.map_err(why)?;
            say_json(&Images { images: images.into_iter().map(ImageDocument::from).collect() })
        }
        Task::List { json: false } => {
            say(&table::list(&images.list().await.map_err(why)?, table::now()));
            Ok(())
        }
        Task::Inspect { reference, json } => {
            let details = images.describe(&offline.name(&reference)?).await.map_err(why)?;
            match json {
                true => say_json(&DetailsDocument::from(details)),
                false => {
                    say(&table::details(&details, table::now()));
                    Ok(())
                }
            }
        }
        Task::Pull(references) => {
            each(references, async |reference| {
                let pull = offline.registry.pull_named(&offline.name(&reference)?);
                let image = watched(pull.progress, pull.outcome).await.map_err(why)?;
                say(&line(&image));
                Ok(())
            })
            .await
        }
        Task::Remove(references) => {
            each(references, async |reference| {
                let reference = offline.name(&reference)?;
                say(&removal(&images.remove(&reference).await.map_err(why)?));
                Ok(())
            })
            .await
        }
        Task::Prune => {
            say(&removal(&images.prune().await.map_err(why)?));
            Ok(())
        }
        Task::Import { source, tag } => import(offline, source, tag).await,
    }
}

impl Offline {
    /// A name as requests would mean it.
    fn name(&self, reference: &Reference) -> Result<Reference, String> {
        self.naming.whole(reference).map_err(|e| e.to_string())
    }
}

/// Does it for each of them; the first that fails does not stop the others.
async fn each(
    references: Vec<Reference>,
    mut one: impl AsyncFnMut(Reference) -> Result<(), String>,
) -> Result<(), String> {
    let mut failed = None;
    for reference in references {
        if let Err(why) = one(reference).await
            && let Some(earlier) = failed.replace(why)
        {
            eprintln!("oncebox: {earlier}");
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn import(
    offline: &Offline,
    source: ImportSource,
    tag: Option<Reference>,
) -> Result<(), String> {
    let Some(store) = &offline.store else {
        return Err(
            "the engine docker keeps its own images; give them to it by `docker load`, or \
                    set ENGINE=native"
                .into(),
        );
    };
    if let ImportSource::File(path) = &source
        && let Err(e) = std::fs::File::open(path)
    {
        return Err(unreadable(path, &e));
    }
    let progress = Progress::default();
    let tag = tag.map(|tag| offline.name(&tag)).transpose()?;
    let work = store.import(source, tag.clone(), &progress);
    for image in watched(progress.watch(), work).await.map_err(why)? {
        let reference = tag.as_ref().unwrap_or(&image.reference).clone();
        say(&line(&Image { reference, ..image }));
    }
    Ok(())
}

/// Root may have become somebody else by now.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            format!(" by user {uid}; pipe it in: oncebox image import - <{shown}")
        }
        _ => format!(": {error}"),
    };
    format!("{shown} can't be read{hint}")
}

/// Shows how far something has come until it is done.
async fn watched<T>(mut progress: watch::Receiver<PullState>, work: impl Future<Output = T>) -> T {
    let mut shown = progress::Shown::on_stderr();
    let mut work = std::pin::pin!(work);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                shown.update(&progress.borrow());
                return done;
            }
            changed = progress.changed(), if open => {
                open = changed.is_ok();
                shown.update(&progress.borrow_and_update());
            }
        }
    }
}

fn line(image: &Image) -> String {
    format!("{} {}\n", image.reference, image.digest.as_deref().unwrap_or("-"))
}

fn removal(removed: &Removed) -> String {
    let mut text = String::new();
    for reference in &removed.references {
        let _ = writeln!(text, "untagged {reference}");
    }
    for digest in &removed.digests {
        let _ = writeln!(text, "deleted {digest}");
    }
    let _ = writeln!(text, "freed {}", table::size(removed.freed));
    text
}

/// What an operator is told, who may also know the cause.
pub(super) fn why(error: ImageError) -> String {
    match telemetry::clean(&error.cause) {
        cause if cause.is_empty() => error.to_string(),
        cause => format!("{error}: {cause}"),
    }
}

fn say_json(document: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(document).map_err(|e| e.to_string())?;
    say(&format!("{text}\n"));
    Ok(())
}

/// Whoever reads may have seen enough.
fn say(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ImageErrorKind;

    fn reference(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    #[test]
    fn what_is_freed_is_said() {
        let removed = Removed {
            references: vec!["a:1".into()],
            digests: vec!["sha256:00".into()],
            freed: 7_340_032,
        };
        assert_eq!(removal(&removed), "untagged a:1\ndeleted sha256:00\nfreed 7.34 MB\n");
        assert_eq!(removal(&Removed::default()), "freed 0 B\n");
    }

    #[test]
    fn an_archive_that_is_closed_to_the_store_s_owner_can_be_piped_in() {
        let told = |kind: io::ErrorKind| unreadable(Path::new("a.tar"), &kind.into());
        let closed = told(io::ErrorKind::PermissionDenied);
        assert!(closed.contains("oncebox image import - <a.tar"), "{closed}");
        assert_eq!(told(io::ErrorKind::NotFound), "a.tar can't be read: entity not found");
    }

    #[test]
    fn an_operator_is_told_the_cause_on_one_line() {
        let error = ImageError::new(ImageErrorKind::Timeout, "it took too long", "a\nb");
        assert_eq!(why(error), "it took too long: a\\nb");
        assert_eq!(why(ImageError::not_found(&reference("a"))), "image a:latest was not found");
    }

    #[tokio::test]
    async fn one_that_fails_does_not_stop_the_others() {
        let check = async |fails: &[&str]| {
            let mut done = Vec::new();
            let all = vec![reference("a"), reference("b"), reference("c")];
            let result = each(all, async |reference| {
                let name = reference.repository().trim_start_matches("library/").to_owned();
                let failed = fails.contains(&name.as_str());
                done.push(name);
                if failed { Err("no".to_owned()) } else { Ok(()) }
            })
            .await;
            assert_eq!(done, ["a", "b", "c"]);
            result
        };
        assert_eq!(check(&[]).await, Ok(()));
        for fails in [&["a"][..], &["c"], &["a", "b", "c"]] {
            assert!(check(fails).await.is_err(), "{fails:?}");
        }
    }
}
