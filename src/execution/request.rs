//! A valid request: what the door hands in. Past it there are no bare strings to check again.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::language::{Language, how_to_run};
use super::limits::Limits;
use super::runtime::{InRuntime, Template};
use super::text;
use super::{Rejection, RejectionCode};
use crate::registry::{PullPolicy, Reference, quoted};

pub use super::text::{Arg, EnvName, EnvValue, Invalid, MAX_STRING, Pattern, RelativePath};

/// Files of one request, at most.
pub const MAX_FILES: usize = 1000;
/// Patterns of result files, at most.
pub const MAX_OUTPUTS: usize = 100;
/// Environment variables, at most.
pub const MAX_ENV: usize = 1000;
/// Args, at most; empty ones, as each costs its NUL and its pointer.
pub const MAX_ARGS: usize = MAX_ARGS_AND_ENV / cost(0);
/// Bytes of args and environment together, at most, counted as the kernel does: each with its NUL
/// and the pointer to it.
pub const MAX_ARGS_AND_ENV: usize = 1024 * 1024;

/// One run of one script, as asked for. Made by `api::dto` through `TryFrom`.
#[derive(Debug, Clone)]
pub struct Execution {
    /// UUIDv7 (RFC 9562).
    pub id: Uuid,
    /// The script's bytes, never empty.
    pub script: Bytes,
    /// Its standard input; `None` is `/dev/null`.
    pub stdin: Option<Bytes>,
    /// `None` is the operator's `BASE_IMAGE`.
    pub image: Option<Reference>,
    /// When a registry is asked for it; only stricter than the operator's.
    pub pull_policy: Option<PullPolicy>,
    /// How to run a script without a `#!` line; `None` is `/bin/sh`.
    pub language: Option<Language>,
    pub args: Vec<Arg>,
    pub env: Vec<(EnvName, EnvValue)>,
    /// It gets what the operator forwards of the service's own environment.
    pub forward_env: bool,
    pub files: Vec<InputFile>,
    pub outputs: Vec<Pattern>,
    pub limits: AskedLimits,
    /// The runtime that the request has named.
    pub runtime: Option<InRuntime>,
    /// The template that it has named.
    pub resources: Option<Template>,
}

/// A file to put beneath the working directory.
#[derive(Debug, Clone)]
pub struct InputFile {
    pub path: RelativePath,
    pub content: Bytes,
    pub executable: bool,
}

/// The limits a request names; `None` is the operator's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AskedLimits {
    pub timeout: Option<Duration>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of one core.
    pub cpu_millis: Option<u32>,
    pub pids: Option<u32>,
    /// Bytes of `/tmp`.
    pub tmp: Option<u64>,
    /// Bytes of stdout and of stderr, each.
    pub output: Option<u64>,
}

impl From<Limits> for AskedLimits {
    /// Asks for just these.
    fn from(limits: Limits) -> Self {
        let Limits { timeout, memory, cpu_millis, pids, tmp, output } = limits;
        Self {
            timeout: Some(timeout),
            memory: Some(memory),
            cpu_millis: Some(cpu_millis),
            pids: Some(pids),
            tmp: Some(tmp),
            output: Some(output),
        }
    }
}

impl AskedLimits {
    /// These, and the others where these name none.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        Self {
            timeout: self.timeout.or(others.timeout),
            memory: self.memory.or(others.memory),
            cpu_millis: self.cpu_millis.or(others.cpu_millis),
            pids: self.pids.or(others.pids),
            tmp: self.tmp.or(others.tmp),
            output: self.output.or(others.output),
        }
    }
}

impl Execution {
    /// All limits that the request asks for, by its own fields or by a template.
    #[must_use]
    pub fn asked_limits(&self) -> AskedLimits {
        let template = self.resources.as_ref();
        template.map_or(self.limits, |template| self.limits.or(&template.limits))
    }

    /// Checks what no field can know alone: counts, sizes together, names that collide.
    ///
    /// # Errors
    /// `invalid_path` on `files` for colliding paths, `invalid_request` for everything else.
    pub fn check(&self) -> Result<(), Rejection> {
        let invalid =
            |field, detail| Err(Rejection { code: RejectionCode::InvalidRequest, field, detail });
        if self.script.iter().all(u8::is_ascii_whitespace) {
            return invalid("script", "the script is empty".into());
        }
        for (field, count, most) in [
            ("files", self.files.len(), MAX_FILES),
            ("outputs", self.outputs.len(), MAX_OUTPUTS),
            ("env", self.env.len(), MAX_ENV),
        ] {
            if count > most {
                return invalid(field, format!("{count} entries are too many; the most is {most}"));
            }
        }
        check_env(&self.env).or_else(|detail| invalid("env", detail))?;
        let args: usize = self.args.iter().map(|arg| cost(arg.as_str().len())).sum();
        let env: usize = self.env.iter().map(|(name, value)| pair_cost(name, value)).sum();
        if args + env > MAX_ARGS_AND_ENV {
            let field = if args > env { "args" } else { "env" };
            return invalid(
                field,
                format!(
                    "args and env take {} bytes together, the most is {MAX_ARGS_AND_ENV}; send \
                     large data as stdin or files",
                    args + env
                ),
            );
        }
        self.check_files().map_err(|detail| Rejection {
            code: RejectionCode::InvalidPath,
            field: "files",
            detail,
        })
    }

    /// No two files, and no file and the script, may need the same name: also not one as a file and
    /// the other as a directory.
    fn check_files(&self) -> Result<(), String> {
        let entry = how_to_run(&self.script, self.language, &[]).entry;
        let mut names = HashSet::from([entry]);
        for file in &self.files {
            let path = file.path.as_str();
            if path == entry {
                return Err(format!("{path:?} is the script's own name; choose another"));
            }
            if !names.insert(path) {
                return Err(format!("{} is there twice", quoted(path)));
            }
        }
        for file in &self.files {
            let path = file.path.as_str();
            let taken = path.match_indices('/').map(|(at, _)| &path[..at]);
            if let Some(parent) = taken.into_iter().find(|parent| names.contains(parent)) {
                return Err(format!(
                    "{} needs {} to be a directory, and it is a file",
                    quoted(path),
                    quoted(parent)
                ));
            }
        }
        Ok(())
    }
}

/// An environment as plain texts.
pub fn env_texts(env: &[(EnvName, EnvValue)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
}

/// Each name may be there once, and with its value it must fit into one string.
///
/// # Errors
/// A sentence with the name.
pub fn check_env(env: &[(EnvName, EnvValue)]) -> Result<(), String> {
    let mut names = HashSet::new();
    for (name, value) in env {
        if !names.insert(name) {
            return Err(format!("{} is there twice", quoted(name.as_str())));
        }
        let len = name.as_str().len() + 1 + value.as_str().len();
        if len > text::MAX_STRING {
            return Err(format!(
                "{} has {len} bytes with its value, the most is {}",
                quoted(name.as_str()),
                text::MAX_STRING
            ));
        }
    }
    Ok(())
}

/// What a string costs execve(2): itself, its NUL and the pointer to it.
const fn cost(len: usize) -> usize {
    len + 1 + size_of::<u64>()
}

fn pair_cost(name: &EnvName, value: &EnvValue) -> usize {
    cost(name.as_str().len() + 1 + value.as_str().len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::execution::testing::{execution, file};

    fn refused(execution: &Execution) -> (RejectionCode, &'static str, String) {
        let Rejection { code, field, detail } = execution.check().unwrap_err();
        (code, field, detail)
    }

    #[test]
    fn an_ordinary_request_passes() {
        let mut request = execution("echo hi");
        request.args = vec!["a b".to_owned().try_into().unwrap()];
        request.env =
            vec![("NAME".to_owned().try_into().unwrap(), "va\nlue".to_owned().try_into().unwrap())];
        request.files = vec![file("data/in.txt", "1"), file("data/in", "2"), file("script", "3")];
        assert_eq!(request.check(), Ok(()));
    }

    #[rstest]
    #[case("")]
    #[case(" \n\t")]
    fn an_empty_script_is_refused(#[case] script: &str) {
        let (code, field, _) = refused(&execution(script));
        assert_eq!((code, field), (RejectionCode::InvalidRequest, "script"));
    }

    #[rstest]
    #[case("echo", &["a", "a"], "twice")]
    #[case("echo", &["a", "a/b"], "directory")]
    #[case("echo", &["a/b/c", "a"], "directory")]
    #[case("echo", &["script.sh"], "the script's own name")]
    #[case("echo", &["script.sh/x"], "directory")]
    #[case("#!/bin/cat\n", &["script"], "the script's own name")]
    fn colliding_files_are_refused(
        #[case] script: &str,
        #[case] paths: &[&str],
        #[case] reason: &str,
    ) {
        let mut request = execution(script);
        request.files = paths.iter().map(|path| file(path, "")).collect();
        let (code, field, detail) = refused(&request);
        assert_eq!((code, field), (RejectionCode::InvalidPath, "files"));
        assert!(detail.contains(reason), "{detail}");
    }

    #[test]
    fn counts_are_capped() {
        let mut request = execution("echo");
        request.files = (0..MAX_FILES).map(|n| file(&format!("f{n}"), "")).collect();
        assert_eq!(request.check(), Ok(()));
        request.files.push(file("one-more", ""));
        assert_eq!(refused(&request).1, "files");

        let mut request = execution("echo");
        request.outputs = vec!["*".to_owned().try_into().unwrap(); MAX_OUTPUTS + 1];
        assert_eq!(refused(&request).1, "outputs");
    }

    #[test]
    fn env_names_are_unique_and_pairs_fit_one_string() {
        let pair = |name: &str, len: usize| {
            let value = "x".repeat(len);
            (name.to_owned().try_into().unwrap(), value.try_into().unwrap())
        };
        let mut request = execution("echo");
        request.env = vec![pair("A", text::MAX_STRING - 2)];
        assert_eq!(request.check(), Ok(()));
        request.env = vec![pair("A", text::MAX_STRING - 1)];
        assert!(refused(&request).2.contains("the most is"));
        request.env = vec![pair("A", 1), pair("A", 2)];
        assert!(refused(&request).2.contains("twice"));
    }

    #[test]
    fn args_and_env_are_capped_together() {
        let mut request = execution("echo");
        let arg: Arg = "x".repeat(128 * 1024 - 9).try_into().unwrap();
        request.args = vec![arg; 8];
        assert_eq!(request.check(), Ok(()));
        request.args.push(String::new().try_into().unwrap());
        let (code, field, detail) = refused(&request);
        assert_eq!((code, field), (RejectionCode::InvalidRequest, "args"));
        assert!(detail.contains("1048585"), "{detail}");
    }
}
