//! `oncebox doctor`: what this machine can do, and how to mend what is missing.

mod cgroups;
mod docker;
mod images;
mod kernel;

use std::fmt;
use std::process::ExitCode;

use crate::config::Settings;
use crate::startup::{Chosen, Launched, close, privileges, try_docker, try_native};

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: String,
    /// What was found.
    found: String,
    /// How to mend it; `None` when there is nothing to mend.
    fix: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: None }
    }

    fn missing(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: Some(fix.into()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.fix.is_none() { "ok" } else { "missing" };
        write!(f, "  {state:<8} {:<22} {}", self.name, self.found)?;
        self.fix.as_ref().map_or(Ok(()), |fix| write!(f, "\n{:>10} to mend it: {fix}", ""))
    }
}

/// Prints the whole list. Succeeds when at least one engine has run a script.
pub fn run(settings: &Settings) -> ExitCode {
    // First, while there is one thread.
    let owner = settings.user.as_ref().and_then(|user| privileges::ids(user).ok());
    let launched = Launched::now(settings, owner);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("oncebox: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    section("Kernel", &kernel::checks());
    section("Control groups", &cgroups::checks());
    section("Images of the native engine", &images::checks(settings, &launched.store));
    runtime.block_on(async {
        section("Docker", &docker::checks(settings.docker_host.as_deref()).await);
        let native = try_native(settings, Some(launched), String::new()).await;
        let docker = try_docker(settings, String::new()).await;
        let checks = [engine("native", &native), engine("docker", &docker)];
        section("Engines", &checks);
        for chosen in [native, docker].into_iter().flatten() {
            close(&*chosen.engine, &chosen.executor).await;
        }
        if checks.iter().any(|check| check.fix.is_none()) {
            println!("\nOncebox can run scripts here.");
            ExitCode::SUCCESS
        } else {
            println!("\nOncebox can't run scripts here: one engine is enough, and there is none.");
            ExitCode::FAILURE
        }
    })
}

fn section(title: &str, checks: &[Check]) {
    println!("{title}");
    for check in checks {
        println!("{check}");
    }
}

/// The whole truth about an engine: a script that ran on it.
fn engine(name: &str, tried: &Result<Chosen, String>) -> Check {
    match tried {
        Ok(Chosen { image, canary, .. }) => {
            Check::ok(name, format!("ran a script in the image {image} in {canary:.1?}"))
        }
        Err(why) => Check::missing(name, why, "see the lists above; one engine is enough"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_to_mend_what_is_missing() {
        assert_eq!(Check::ok("a", "b").to_string(), "  ok       a                      b");
        let missing = Check::missing("a", "b", "c").to_string();
        assert_eq!(missing, "  missing  a                      b\n           to mend it: c");
    }
}
