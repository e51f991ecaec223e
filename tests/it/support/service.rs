//! A running service, as a process of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use reqwest::blocking::multipart::Form;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::events::{Event, Events};
use super::residue::Residue;
use super::{Answer, Engine, Problem, Reply, until};

/// Planted in the service's environment; no script and no log may ever see it.
pub const CANARY: &str = "canary-7f3a91c2e5";

/// From its start to its first answer.
const START: Duration = Duration::from_secs(30);
/// From SIGTERM to its end.
const STOP: Duration = Duration::from_secs(20);

/// A service that is stopped when it is dropped, and must then have left nothing behind.
pub struct Service {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    client: Client,
    residue: Option<Residue>,
}

impl Service {
    /// Starts a service of its own with these settings, and waits until it answers.
    pub fn start(engine: Engine, settings: &[(&str, &str)]) -> Self {
        Self::start_program(oncebox("serve", engine), settings)
    }

    /// The same for a program that is started in some way of the caller's.
    pub fn start_program(mut program: Command, settings: &[(&str, &str)]) -> Self {
        let residue = Residue::before();
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        let address = free_address();
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = program
            .env("PORT", address.port().to_string())
            .env("LOG_FORMAT", "json")
            .env("ONCEBOX_CANARY", CANARY)
            .env("EXECUTION_STORE", folder.path().join("executions.redb"))
            .envs(settings.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the service starts");
        let client = client().build().expect("a client");
        let mut service = Self { child, address, folder, client, residue: Some(residue) };
        until("the service's first answer", START, || {
            if let Some(status) = service.child.try_wait().expect("a child") {
                panic!("the service ended at once with {status}:\n{}", service.log());
            }
            service.get("/health").ok().filter(|reply| reply.http == 200)
        });
        service.residue.as_ref().expect("just started").owned_by(service.pid());
        service
    }

    /// Sends a request that runs a script, and reads the answer as documented.
    #[track_caller]
    pub fn run(&self, request: &Value) -> Answer {
        self.execute(request).ran()
    }

    /// Runs the requests, four at a time, and returns the answers in the same order, each with the
    /// time its caller waited.
    pub fn run_all(&self, requests: &[Value]) -> Vec<(Answer, Duration)> {
        const AT_A_TIME: usize = 4;
        let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
        let share = requests.len().div_ceil(AT_A_TIME).max(1);
        std::thread::scope(|scope| {
            for (requests, answers) in requests.chunks(share).zip(answers.chunks_mut(share)) {
                scope.spawn(move || {
                    for (request, answer) in requests.iter().zip(answers) {
                        let began = Instant::now();
                        *answer = Some((self.run(request), began.elapsed()));
                    }
                });
            }
        });
        answers.into_iter().map(|answer| answer.expect("an answer")).collect()
    }

    /// Sends a request that must be refused.
    #[track_caller]
    pub fn refuse(&self, request: &Value) -> Problem {
        self.execute(request).refused()
    }

    /// `POST /execute` with a JSON body.
    #[track_caller]
    pub fn execute(&self, request: &Value) -> Reply {
        let reply = send(self.post().json(request)).expect("an answer");
        if matches!(reply.http, 500 | 502 | 504) {
            eprintln!("--- the end of the service's log\n{}", self.last_words());
        }
        reply
    }

    /// `POST /execute` with any body that claims to be JSON.
    #[track_caller]
    pub fn execute_raw(&self, body: impl Into<reqwest::blocking::Body>) -> Reply {
        send(self.post().header("content-type", "application/json").body(body)).expect("an answer")
    }

    /// `POST /execute` as a form.
    #[track_caller]
    pub fn execute_form(&self, form: Form) -> Reply {
        send(self.post().multipart(form)).expect("an answer")
    }

    /// Sends a request, and goes away when no answer has come after `patience`.
    pub fn abandon(&self, request: &Value, patience: Duration) {
        let gone = send(self.post().timeout(patience).json(request));
        assert!(gone.is_err_and(|e| e.is_timeout()), "answered within {patience:?}");
    }

    /// Sends requests from another thread, even while the service is stopped or killed.
    pub fn poster(&self) -> impl Fn(&Value) -> reqwest::Result<Reply> + Send + use<> {
        let (client, address) = (self.client.clone(), self.address);
        move |request| send(client.post(format!("http://{address}/execute")).json(request))
    }

    /// The same from another address of the loopback network, over connections of its own.
    pub fn poster_from(
        &self,
        from: Ipv4Addr,
    ) -> impl Fn(&Value) -> reqwest::Result<Reply> + Send + Sync + use<> {
        let client = client_from(from);
        let address = self.address;
        move |request| send(client.post(format!("http://{address}/execute")).json(request))
    }

    /// `GET` of a path.
    pub fn get(&self, path: &str) -> reqwest::Result<Reply> {
        send(self.client.get(format!("http://{}{path}", self.address)))
    }

    /// `POST` of JSON to a path.
    pub fn post_to(&self, path: &str, body: &Value) -> Reply {
        send(self.client.post(format!("http://{}{path}", self.address)).json(body))
            .expect("an answer")
    }

    /// `DELETE` of a path.
    pub fn delete(&self, path: &str) -> Reply {
        send(self.client.delete(format!("http://{}{path}", self.address))).expect("an answer")
    }

    /// The same `POST`, answered by a stream of events (`text/event-stream`): their names and data.
    pub fn events(&self, path: &str, body: &Value) -> Vec<(String, Value)> {
        let events = Events::of(self.send_events(path, body).expect("an answer"));
        events.map(|Event { name, data, .. }| (name, data)).collect()
    }

    /// `POST /execute`, followed as it goes on.
    pub fn follow(&self, request: &Value) -> Events {
        Events::of(self.send_events("/execute", request).expect("an answer"))
    }

    /// `POST` of JSON to a path, asking for events.
    pub fn send_events(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        let post = self.client.post(format!("http://{}{path}", self.address));
        post.header("accept", "text/event-stream").json(body).send()
    }

    fn post(&self) -> RequestBuilder {
        self.client.post(format!("http://{}/execute", self.address))
    }

    /// `host:port` to reach it at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log, for a test that has failed.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Tells it to stop, without waiting.
    pub fn terminate(&self) {
        super::host::signal(self.pid(), Signal::TERM);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        until("the service's end", STOP, || self.child.try_wait().expect("a child"))
    }

    /// What it holds now, with all that is new on the machine and bears no service's mark.
    pub fn holds(&self) -> BTreeSet<String> {
        self.residue.as_ref().map(Residue::left).unwrap_or_default()
    }

    /// It has ended by force. What it leaves is the caller's to check.
    pub fn gone_by_force(mut self) -> Residue {
        self.residue.take().expect("a service ends once")
    }

    /// Kills it without a chance to clean up. What it leaves is the caller's to check.
    pub fn kill(mut self) -> Residue {
        self.child.kill().expect("a running service");
        self.child.wait().expect("a child");
        self.residue.take().expect("a service is killed once")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some(residue) = self.residue.take() else { return };
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("--- the end of the service's log\n{}", self.last_words());
            return;
        }
        if self.child.try_wait().expect("a child").is_none() {
            self.terminate();
            let status = self.wait();
            assert!(status.success(), "stopped with {status}:\n{}", self.last_words());
        }
        assert!(!self.log().contains(CANARY), "the service logged its environment");
        residue.gone();
    }
}

/// The service that tests with nothing of their own to set share; it lives as long as one of them.
pub struct Shared;

impl Shared {
    pub fn get(engine: Engine) -> Arc<Service> {
        static NATIVE: Mutex<Weak<Service>> = Mutex::new(Weak::new());
        static DOCKER: Mutex<Weak<Service>> = Mutex::new(Weak::new());
        let slot = match engine {
            Engine::Native => &NATIVE,
            Engine::Docker => &DOCKER,
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let service = Arc::new(Service::start(engine, &[]));
            *slot = Arc::downgrade(&service);
            service
        })
    }
}

/// A file of its own for each program's executions: no two may use one at once.
fn executions() -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("executions");
        // What earlier suites left.
        let _ = std::fs::remove_dir_all(&folder);
        folder
    });
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    FOLDER.join(own).join("executions.redb")
}

/// The program with a clean environment, on one engine.
pub fn oncebox(subcommand: &str, engine: Engine) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncebox"));
    command.arg(subcommand).env_clear();
    for name in ["PATH", "DOCKER_HOST", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("ENGINE", engine.to_string());
    // Otherwise a service of root's would keep images in this machine's own folder for them.
    command.env("IMAGE_STORE", concat!(env!("CARGO_TARGET_TMPDIR"), "/images"));
    command.env("EXECUTION_STORE", executions());
    if engine == Engine::Docker {
        command.env("BASE_IMAGE", engine.base_image());
    }
    command
}

/// The same program, under its own pid, from a shell that prepares something for it first.
pub fn prepared(preparation: &str, program: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{preparation}; exec \"$@\""), "sh"]);
    shell.arg(program.get_program()).args(program.get_args());
    shell.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// A client that waits long enough for anything the suite asks for.
pub fn client() -> ClientBuilder {
    // A process chooses once whose cryptography TLS has; a second choice is not another one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nothing is asked by https; reading the machine's certificates takes longer than most requests.
    Client::builder().timeout(Duration::from_secs(120)).no_proxy().tls_certs_only([])
}

/// The same, which asks from this address of the loopback network.
pub fn client_from(from: impl Into<IpAddr>) -> Client {
    client().local_address(from.into()).build().expect("a client")
}

fn send(request: RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send()?;
    let header = |name: &str| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned)
    };
    Ok(Reply {
        http: response.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        retry_after: header("retry-after"),
        body: response.bytes()?.to_vec(),
    })
}

/// An address that nobody listens at, and that nobody is given who asks for any: those are from
/// `ip_local_port_range`, above.
pub fn free_address() -> SocketAddr {
    const PORTS: Range<u32> = 12_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Suites beside each other start at places of their own.
    let first = std::process::id().wrapping_mul(499);
    let ports = (0..PORTS.end - PORTS.start).map(|_| {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(PORTS.start + next % (PORTS.end - PORTS.start)).expect("a port")
    });
    let mut free = ports.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    free.next().expect("a free port").local_addr().expect("its address")
}
