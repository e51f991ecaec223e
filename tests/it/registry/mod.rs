//! Images from registries: real ones, and one that misbehaves in every way it can.
//!
//! Names that begin with `g01_` and so on are rows of the list of attacks on the way to an image.

mod credentials;
mod faults;
mod hostile;
mod import;
mod life;
mod manifests;
mod moving_tags;
mod policy;
mod pulls;
mod redirects;
mod together;
mod trees;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::residue::Residue;
use crate::support::service::oncebox;
use crate::support::{Answer, Engine, Problem, Service, host};

/// A service with images of its own: they are gone when it is dropped.
struct Here {
    service: Service,
    images: Arc<Images>,
}

/// Where a service keeps its images.
struct Images {
    engine: Engine,
    /// The addresses they are pulled from.
    registries: Vec<String>,
    store: TempDir,
}

impl Here {
    /// A service that may pull from these addresses without TLS, and makes no containers ahead.
    fn start(engine: Engine, registries: &[&dyn ToString], settings: &[(&str, &str)]) -> Self {
        Self::on(&Images::from(engine, registries), settings)
    }

    /// The same on images that another service has used, or uses.
    fn on(images: &Arc<Images>, settings: &[(&str, &str)]) -> Self {
        let insecure = images.registries.join(",");
        let path = images.store.path().to_str().expect("text");
        let mut all = vec![("POOL_SIZE", "0"), ("IMAGE_STORE", path)];
        if !insecure.is_empty() {
            all.push(("INSECURE_REGISTRIES", &insecure));
        }
        // Of two values for one name the later one counts.
        all.extend_from_slice(settings);
        Self { service: Service::start(images.engine, &all), images: Arc::clone(images) }
    }

    /// Kills the service; its images stay.
    fn kill(self) -> (Residue, Arc<Images>) {
        (self.service.kill(), self.images)
    }

    /// What a script in this image prints.
    #[track_caller]
    fn prints(&self, image: &str, script: &str) -> String {
        let answer = self.runs(image, script);
        assert_eq!(answer.status(), "completed", "{}", answer.0);
        answer.text()
    }

    #[track_caller]
    fn runs(&self, image: &str, script: &str) -> Answer {
        self.run(&json!({"image": image, "script": script}))
    }

    /// What the service says about an image that can't be run.
    #[track_caller]
    fn fails(&self, image: &str) -> Problem {
        self.refuse(&json!({"image": image, "script": "echo it ran"}))
    }

    /// The same with the time it took to say so.
    #[track_caller]
    fn fails_in(&self, image: &str) -> (Problem, Duration) {
        let began = Instant::now();
        (self.fails(image), began.elapsed())
    }

    /// The native engine's store.
    fn store(&self) -> &Path {
        self.images.store.path()
    }

    /// The subcommand on the same images.
    fn image_command(&self, args: &[&str]) -> Command {
        let mut command = oncebox("image", self.images.engine);
        command.env("IMAGE_STORE", self.store()).args(args);
        command.env("INSECURE_REGISTRIES", self.images.registries.join(","));
        command
    }
}

impl Images {
    fn from(engine: Engine, registries: &[&dyn ToString]) -> Arc<Self> {
        let registries = registries.iter().map(|registry| registry.to_string()).collect();
        let store = tempfile::Builder::new().prefix("oncebox-it-store-").tempdir();
        Arc::new(Self { engine, registries, store: store.expect("a folder") })
    }
}

impl Deref for Here {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        if self.engine == Engine::Docker {
            for registry in &self.registries {
                let all = format!("reference={registry}/**");
                let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
                for line in host::docker(&["image", "ls", "--filter", &all, "--format", format]) {
                    let names = line.split(' ').filter(|name| !name.contains("<none>"));
                    // What another line has removed already is no failure.
                    let names: Vec<&str> = names.collect();
                    let args = [&["image", "rm", "--force"], &names[..]].concat();
                    drop(Command::new("docker").args(args).output());
                }
            }
        }
    }
}

/// A problem's code, HTTP status and the attempts that its text ends with.
#[track_caller]
fn verdict(problem: &Problem) -> (String, u64, u32) {
    let detail = problem.detail();
    let attempts = detail.rsplit_once(" (").and_then(|(_, end)| {
        let count = end.strip_suffix(" attempts)").or_else(|| end.strip_suffix(" attempt)"))?;
        count.parse().ok()
    });
    (problem.code().to_owned(), problem.http(), attempts.unwrap_or_default())
}

/// What a command printed, by whether it succeeded.
fn said(output: &Output) -> (bool, String) {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&both).into_owned())
}

/// A folder with Docker's `config.json` of this content.
fn docker_config(content: &Value) -> TempDir {
    let folder = tempfile::Builder::new().prefix("oncebox-it-config-").tempdir();
    let folder = folder.expect("a folder");
    std::fs::write(folder.path().join("config.json"), content.to_string()).expect("a file");
    folder
}

/// Everything beneath a folder that is no folder itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}
