//! A real registry (Debian's docker-registry) of a test's own, on loopback.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::layers::through;
use super::service::{client, free_address};
use super::tokens::TokenServer;
use super::until;

const START: Duration = Duration::from_secs(20);

/// Who may pull from a registry, and how.
pub enum Door<'a> {
    Open,
    /// With this name and password.
    Password(&'a str, &'a str),
    /// Over TLS with a certificate of this authority.
    Tls(&'a Authority),
    /// The same, and blobs are to be fetched from this address.
    TlsElsewhere(&'a Authority, &'a str),
    /// With tokens that this server gives out.
    Tokens(&'a TokenServer),
}

impl<'a> Door<'a> {
    fn authority(&self) -> Option<&'a Authority> {
        match self {
            Self::Tls(authority) | Self::TlsElsewhere(authority, _) => Some(authority),
            _ => None,
        }
    }
}

/// A registry that is ended when it is dropped, and what it keeps goes with the last one that has
/// the same images.
pub struct Registry {
    child: Child,
    address: SocketAddr,
    /// Its configuration and log.
    folder: TempDir,
    images: Arc<TempDir>,
}

impl Registry {
    /// An open one with nothing in it.
    pub fn start() -> Self {
        Self::launch(Arc::new(folder()), Door::Open, "")
    }

    /// Another door to the same images.
    pub fn door(&self, door: Door<'_>) -> Self {
        Self::launch(Arc::clone(&self.images), door, "")
    }

    /// One that has nothing and fetches what it is asked for from this one.
    pub fn mirror(&self) -> Self {
        let remote = json!({"proxy": {"remoteurl": format!("http://{}", self.address)}});
        Self::launch(Arc::new(folder()), Door::Open, &remote.to_string())
    }

    fn launch(images: Arc<TempDir>, door: Door<'_>, more: &str) -> Self {
        let folder = folder();
        // Another process may take the port between its choice and its use.
        for _ in 0..3 {
            let address = free_address();
            let config = config(address, images.path(), folder.path(), &door, more);
            let file = folder.path().join("config.yml");
            fs::write(&file, config).expect("a file");
            let log = File::create(folder.path().join("log")).expect("a log file");
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&file).env_clear().current_dir(folder.path());
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
            // Its threads are many, and the machine's processors are the tests'.
            command.env("GOMAXPROCS", "2").process_group(0);
            let mut child =
                command.spawn().unwrap_or_else(|e| panic!("docker-registry: {e}; use tests/run"));
            let (scheme, http) = match door.authority() {
                Some(authority) => ("https", client().tls_certs_only([authority.certificate()])),
                None => ("http", client()),
            };
            let http = http.build().expect("a client");
            let url = format!("{scheme}://{address}/v2/");
            let up = until("the registry's first answer", START, || {
                if child.try_wait().expect("a child").is_some() {
                    return Some(false);
                }
                http.get(&url).send().is_ok().then_some(true)
            });
            if up {
                return Self { child, address, folder, images };
            }
        }
        panic!("the registry ends at once: {}", read(&folder.path().join("log")));
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The reference of what it has under this name.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Requests for what it has, such as `GET /v2/x/manifests/y 200`; those that only knock at its
    /// door or push are left out.
    pub fn pulls(&self) -> Vec<String> {
        let log = read(&self.folder.path().join("log"));
        log.lines()
            .filter_map(|line| {
                let (request, rest) = line.split_once("] \"")?.1.split_once(" HTTP/1.1\" ")?;
                let status = rest.split(' ').next()?;
                Some(format!("{request} {status}"))
            })
            .filter(|line| line.starts_with("GET /v2/") || line.starts_with("HEAD /v2/"))
            .filter(|line| !line.starts_with("GET /v2/ "))
            .collect()
    }

    /// How many of those begin with the method and hold this.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let is = |line: &&String| line.starts_with(method) && line.contains(part);
        self.pulls().iter().filter(is).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its configuration; JSON is YAML.
fn config(
    address: SocketAddr,
    images: &Path,
    folder: &Path,
    door: &Door<'_>,
    more: &str,
) -> String {
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": false}},
        "storage": {"filesystem": {"rootdirectory": images}, "delete": {"enabled": true}},
        "http": {"addr": address.to_string(), "secret": "of no use on loopback"},
    });
    if let Some(authority) = door.authority() {
        config["http"]["tls"] = json!({
            "certificate": authority.path("server.pem"), "key": authority.path("server.key"),
        });
    }
    match door {
        Door::Open | Door::Tls(_) => {}
        Door::TlsElsewhere(_, place) => {
            config["middleware"] =
                json!({"storage": [{"name": "redirect", "options": {"baseurl": place}}]});
        }
        Door::Password(user, password) => {
            let file = folder.join("htpasswd");
            let lines = through("htpasswd", &["-niB", "-C", "4", user], password.as_bytes());
            fs::write(&file, lines).expect("a file");
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
        }
        Door::Tokens(server) => {
            config["auth"] = json!({"token": {
                "realm": server.realm(), "service": TokenServer::SERVICE,
                "issuer": TokenServer::ISSUER, "rootcertbundle": server.certificate(),
            }});
        }
    }
    if !more.is_empty() {
        let more: serde_json::Value = serde_json::from_str(more).expect("JSON");
        config["proxy"] = more["proxy"].clone();
    }
    config.to_string()
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("oncebox-it-registry-").tempdir().expect("a folder")
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// A certificate authority that nobody else trusts, and a server's certificate for `127.0.0.1` and
/// `localhost`.
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let made = Self(folder());
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        made.openssl(
            &["req", "-x509", "-subj", "/CN=suite", "-days", "2", "-keyout", "ca.key"],
            &[&key[..], &["-out", "ca.pem", "-addext", "basicConstraints=critical,CA:TRUE"]],
        );
        made.openssl(
            &["req", "-subj", "/CN=registry", "-keyout", "server.key"],
            &[&key[..], &["-out", "server.csr"]],
        );
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
        fs::write(made.path("names"), names).expect("a file");
        made.openssl(
            &["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"],
            &[&["-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem"]],
        );
        made
    }

    /// One of its files: `ca.pem`, `server.pem`, `server.key`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn certificate(&self) -> reqwest::Certificate {
        let pem = fs::read(self.path("ca.pem")).expect("a certificate");
        reqwest::Certificate::from_pem(&pem).expect("a certificate")
    }

    fn openssl(&self, args: &[&str], more: &[&[&str]]) {
        let mut command = Command::new("openssl");
        command.args(args).args(more.concat()).current_dir(self.0.path());
        let output = command.output().expect("openssl runs; use tests/run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
