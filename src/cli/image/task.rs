//! What the arguments of `oncebox image` ask for.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::registry::Reference;
use crate::registry::store::ImportSource;

/// The subcommands.
pub(in crate::cli) fn command() -> Command {
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON");
    let references = || {
        let names = Arg::new("reference").value_name("REF").value_parser(value_parser!(Reference));
        names.required(true)
    };
    Command::new("image")
        .about("Look after the engine's images; no service is needed")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("ls").about("List them").arg(json()))
        .subcommand(
            Command::new("pull")
                .about("Pull them, or what has changed of them")
                .arg(references().num_args(1..)),
        )
        .subcommand(
            Command::new("inspect").about("Say everything about one").arg(references()).arg(json()),
        )
        .subcommand(
            Command::new("rm")
                .about("Remove names, and images with their last one")
                .arg(references().num_args(1..)),
        )
        .subcommand(Command::new("prune").about("Remove those that no name leads to"))
        .subcommand(
            Command::new("import")
                .about("Take in a docker-archive or an OCI layout, such as `docker save` writes")
                .arg(
                    Arg::new("tag")
                        .long("tag")
                        .value_name("REF")
                        .value_parser(value_parser!(Reference))
                        .help("Under this name instead of its own"),
                )
                .arg(
                    Arg::new("source")
                        .value_name("FILE|DIR|-")
                        .value_parser(value_parser!(PathBuf))
                        .required(true)
                        .help("An archive, a folder, or - for standard input"),
                ),
        )
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    List { json: bool },
    Pull(Vec<Reference>),
    Inspect { reference: Reference, json: bool },
    Remove(Vec<Reference>),
    Prune,
    Import { source: ImportSource, tag: Option<Reference> },
}

impl Task {
    pub(super) fn read(matches: &ArgMatches) -> Option<Self> {
        let (name, matches) = matches.subcommand()?;
        let references =
            || matches.get_many::<Reference>("reference").into_iter().flatten().cloned();
        Some(match name {
            "ls" => Self::List { json: matches.get_flag("json") },
            "pull" => Self::Pull(references().collect()),
            "inspect" => {
                Self::Inspect { reference: references().next()?, json: matches.get_flag("json") }
            }
            "rm" => Self::Remove(references().collect()),
            "prune" => Self::Prune,
            _ => {
                let source = matches.get_one::<PathBuf>("source")?.clone();
                let source = match source {
                    path if path.as_os_str() == "-" => ImportSource::Stdin,
                    path if path.is_dir() => ImportSource::Directory(path),
                    path => ImportSource::File(path),
                };
                Self::Import { source, tag: matches.get_one::<Reference>("tag").cloned() }
            }
        })
    }
}

impl Task {
    /// The images that a registry is to be asked for.
    pub(super) fn pulled(&self) -> &[Reference] {
        match self {
            Self::Pull(references) => references,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(args: &[&str]) -> Task {
        let matches = command().try_get_matches_from(args).expect("valid arguments");
        Task::read(&matches).expect("a task")
    }

    fn reference(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    #[test]
    fn arguments_become_tasks() {
        assert_eq!(task(&["image", "ls"]), Task::List { json: false });
        assert_eq!(task(&["image", "ls", "--json"]), Task::List { json: true });
        let both = vec![reference("a"), reference("b:1")];
        assert_eq!(task(&["image", "pull", "a", "b:1"]), Task::Pull(both.clone()));
        assert_eq!(task(&["image", "rm", "a", "b:1"]), Task::Remove(both));
        let inspect = Task::Inspect { reference: reference("a"), json: true };
        assert_eq!(task(&["image", "inspect", "--json", "a"]), inspect);
        assert_eq!(task(&["image", "prune"]), Task::Prune);
        let import = |source, tag| Task::Import { source, tag };
        assert_eq!(task(&["image", "import", "-"]), import(ImportSource::Stdin, None));
        let tagged = import(ImportSource::File("a.tar".into()), Some(reference("a:1")));
        assert_eq!(task(&["image", "import", "--tag", "a:1", "a.tar"]), tagged);
        let folder = import(ImportSource::Directory("/proc".into()), None);
        assert_eq!(task(&["image", "import", "/proc"]), folder);
    }

    #[test]
    fn what_is_no_task_is_refused_with_usage() {
        for args in [
            &["image"][..],
            &["image", "pull"],
            &["image", "pull", "A b"],
            &["image", "rm"],
            &["image", "inspect", "a", "b"],
            &["image", "import"],
            &["image", "import", "--tag", "A b", "-"],
            &["image", "destroy"],
        ] {
            let refused = command().try_get_matches_from(args).expect_err("refused");
            assert!(refused.use_stderr(), "{args:?}");
        }
    }
}
