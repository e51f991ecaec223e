//! A compose project of the shipped files, by either Compose, with a name and a port of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::blocking::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;

use super::tools::{self, SERVICE, fetched, root, run};
use crate::support::service::{client, free_address};
use crate::support::{Answer, host, until};

/// Until a container is healthy: its images are here.
const HEALTHY: Duration = Duration::from_secs(90);
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compose {
    /// Debian's docker-compose 1.29.
    V1,
    V2,
}

impl Compose {
    pub fn command(self) -> Command {
        match self {
            Self::V1 => Command::new("/usr/bin/docker-compose"),
            Self::V2 => Command::new(fetched("docker-compose")),
        }
    }
}

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}

/// The socket of the suite's daemon.
pub fn socket() -> String {
    let named = std::env::var("DOCKER_HOST").unwrap_or_default();
    named.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// A project that is taken down when it is dropped, and must then have left nothing.
pub struct Project {
    compose: Compose,
    name: String,
    settings: BTreeMap<String, String>,
    overrides: Vec<&'static str>,
    /// What `/etc/oncebox` is in the container.
    config: TempDir,
    /// Of the services it has had: the mark of the containers that they made.
    owners: BTreeSet<String>,
    /// What requests carry.
    key: Option<String>,
}

impl Project {
    /// Nothing runs yet.
    pub fn new(compose: Compose, settings: &[(&str, &str)], overrides: &[&'static str]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oncebox-it-{}-{number}", std::process::id());
        let config = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        // Others than root read what is in it.
        fs::set_permissions(config.path(), mode(0o755)).expect("a mode");
        let port = free_address().port().to_string();
        let own = [
            ("HOST_PORT", &*port),
            ("ONCEBOX_IMAGE", SERVICE),
            ("DOCKER_SOCKET", &socket()),
            ("CONFIG_FOLDER", config.path().to_str().expect("a path")),
            ("BASE_IMAGE", crate::support::BUSYBOX),
            ("POOL_SIZE", "1"),
            ("HEALTH_INTERVAL", "1s"),
        ];
        let settings = own.iter().chain(settings);
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            compose,
            name,
            settings: settings.collect(),
            overrides: overrides.to_vec(),
            config,
            owners: BTreeSet::new(),
            key: None,
        }
    }

    /// The same, up and healthy.
    pub fn up(compose: Compose, settings: &[(&str, &str)], overrides: &[&'static str]) -> Self {
        let mut project = Self::new(compose, settings, overrides);
        project.run(&["up", "-d"]);
        project.healthy("script-executor");
        project
    }

    /// Runs Compose on it, whatever comes of that.
    pub fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = self.compose.command();
        command.env_clear().current_dir(root());
        for name in ["PATH", "HOME", "DOCKER_HOST", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Not a developer's own .env; the example says what holds anyway.
        command.envs(&self.settings).args(["--env-file", ".env.example", "-p", &self.name]);
        for file in ["docker-compose.yml"].iter().chain(&self.overrides) {
            command.args(["-f", file]);
        }
        command.args(arguments).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// Runs Compose on it, which must do it and have no doubts about the files.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments);
        let said = tools::said(&output);
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", self.log());
        let doubt = said.to_lowercase().contains("warn");
        assert!(!doubt, "{arguments:?}: {said}");
        said
    }

    /// A file of `/etc/oncebox`, with the owner and the mode that config/README.md asks for.
    pub fn configure(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.config.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        chown(&path, Some(0), Some(65532)).expect("the suite is root");
        fs::set_permissions(&path, mode(0o640)).expect("a mode");
    }

    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// From the next `up` on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.into(), value.into());
    }

    /// Lets only one key in from the next `up` on, made by the README's command in a folder that
    /// belongs to somebody; requests carry it.
    pub fn lock(&mut self) {
        let folder = self.config.path();
        chown(folder, Some(1234), Some(1234)).expect("the suite is root");
        let mount = format!("{}:/etc/oncebox", folder.display());
        let mut docker = Command::new("docker");
        docker.args(["run", "--rm", "--network", "none", "--user", "1234:65532", "-v", &mount]);
        docker.args(["-e", "API_KEYS_FILE=/etc/oncebox/keys.toml", SERVICE]);
        let made = run(docker.args(["key", "new", "ci", "--scopes", "execute,admin"]));
        fs::set_permissions(folder.join("keys.toml"), mode(0o640)).expect("a mode");
        self.set("API_KEYS_FILE", "/etc/oncebox/keys.toml");
        self.key = Some(String::from_utf8(made.stdout).expect("a key").trim().to_owned());
    }

    /// Requests carry no key any more.
    pub fn forget_key(&mut self) {
        self.key = None;
    }

    /// The number of a service's container; `None` where there is none.
    pub fn id(&self, service: &str) -> Option<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        let all = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &project];
        host::docker(&[&all[..], &["--filter", &service]].concat()).pop()
    }

    /// What the daemon knows of a service's container.
    pub fn inspect(&self, service: &str) -> Value {
        inspect(&self.id(service).expect("a container"))
    }

    /// Waits until its container is healthy.
    pub fn healthy(&mut self, service: &str) {
        until(&format!("a healthy {service}; {}", self.name), HEALTHY, || {
            let state = &self.inspect(service)["State"];
            if matches!(state["Status"].as_str(), Some("exited" | "restarting")) {
                panic!("{service} ended: {state}\n{}", self.log());
            }
            (state["Health"]["Status"] == "healthy").then_some(())
        });
        if service == "script-executor" {
            self.owners.insert(owner(self.pid()).expect("a living process"));
        }
    }

    /// The service's process, as the machine knows it.
    pub fn pid(&self) -> u32 {
        let pid = self.inspect("script-executor")["State"]["Pid"].as_u64().unwrap_or_default();
        u32::try_from(pid).expect("a pid")
    }

    /// Containers that its services made, with their state.
    pub fn scripts(&self) -> Vec<(String, String)> {
        let format = "{{.ID}} {{.State}} {{.Label \"org.oncebox.owner\"}}";
        let lines = host::docker(&["ps", "--all", "--no-trunc", "--format", format]);
        let ours = lines.iter().filter_map(|line| {
            let [id, state, owner] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
            self.owners.contains(owner).then(|| (id.to_owned(), state.to_owned()))
        });
        ours.collect()
    }

    /// A container of its pool, once that is full and the canary's container is gone.
    pub fn waiting(&self) -> String {
        let full = format!("\noncebox_pool_waiting {}\n", self.settings["POOL_SIZE"]);
        until("a full pool", SETTLE, || {
            let metrics = self.get("/metrics").send().ok()?.text().ok()?;
            let scripts = metrics.contains(&full).then(|| self.scripts())?;
            (scripts.len().to_string() == self.settings["POOL_SIZE"]).then(|| scripts[0].0.clone())
        })
    }

    /// Everything in the daemon that is the project's or was made by its services.
    pub fn left(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let mut left = host::docker(&["ps", "--all", "--quiet", "--filter", &label]);
        left.extend(host::docker(&["network", "ls", "--quiet", "--filter", &label]));
        left.extend(host::docker(&["volume", "ls", "--quiet", "--filter", &label]));
        left.extend(self.scripts().into_iter().map(|(id, state)| format!("script {id} {state}")));
        left
    }

    /// The names of its volumes.
    pub fn volumes(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        host::docker(&["volume", "ls", "--quiet", "--filter", &label])
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.keyed(client().build().expect("a client").get(self.url(path)))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.keyed(client().build().expect("a client").post(self.url(path)).json(body))
    }

    fn keyed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// `POST /execute`, which must run.
    #[track_caller]
    pub fn execute(&self, body: &Value) -> Answer {
        let answer = self.post("/execute", body).send().expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().expect("JSON");
        assert_eq!(status, 200, "{body}\n{}", self.log());
        Answer::read(body)
    }

    /// Where the service is published.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.settings["HOST_PORT"])
    }

    /// What all of it has logged.
    pub fn log(&self) -> String {
        tools::said(&self.compose(&["logs", "--no-color"]))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the project's log\n{}", self.log());
        }
        let down = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "20"]);
        if !failed {
            assert!(down.status.success(), "{}", tools::said(&down));
            assert_eq!(self.left(), Vec::<String>::new(), "left behind");
        }
    }
}

/// Whose containers a service's are. The namespace alone would not do: its number goes to another
/// project's as soon as this service has ended.
fn owner(pid: u32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = host::proc_link(pid, "ns/pid")?.replace(|c: char| !c.is_ascii_digit(), "");
    let inner = host::status(pid, "NSpid")?.split_whitespace().last()?.to_owned();
    let stat = host::proc(pid, "stat")?;
    // proc_pid_stat(5), field 22.
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{}:{namespace}:{inner}:{started}", boot.trim()))
}

/// What the daemon knows of a container.
pub fn inspect(id: &str) -> Value {
    let text = host::docker(&["inspect", id]).join("\n");
    let mut all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].take()
}

/// Removes a reference from the daemon when it is dropped.
pub struct Pulled(pub String);

impl Drop for Pulled {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

/// Runs `docker`, which must do it.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    tools::said(&run(Command::new("docker").args(arguments)))
}
