//! A server that gives out tokens for a registry (distribution's token authentication).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::http::{Request, Response, Server};
use super::layers::through;

/// Who gets a token.
#[derive(Clone)]
pub enum Client {
    Anybody,
    /// Whoever says this name and password.
    Password(&'static str, &'static str),
    /// Whoever has this refresh token.
    Identity(&'static str),
}

/// A running token server.
pub struct TokenServer {
    pub server: Server,
    keys: &'static Keys,
}

/// What tokens are signed with, for all servers of this process: a key of this kind takes a while.
struct Keys {
    key: String,
    certificate: PathBuf,
    /// The certificate as a token's header has it.
    chain: String,
}

impl Keys {
    fn get() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| {
            // Nothing that lives as long as the process is cleared away at its end.
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let certificate = folder.join("tokens.pem");
            let (key, file) = (text(&folder.join("tokens.key")), text(&certificate));
            let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
            let files = ["-subj", "/CN=tokens", "-keyout", &key, "-out", &file];
            through("openssl", &[&args[..], &files].concat(), b"");
            let der = through("openssl", &["x509", "-in", &file, "-outform", "DER"], b"");
            Self { key, certificate, chain: STANDARD.encode(der) }
        })
    }
}

impl TokenServer {
    pub const SERVICE: &'static str = "the suite's registry";
    pub const ISSUER: &'static str = "the suite";

    pub fn start(client: Client) -> Self {
        let keys = Keys::get();
        let server = Server::start(move |request: &Request| {
            if !client.is_known(request) {
                return Response::new(401, "{}").with("Content-Type", "application/json");
            }
            let token = sign(&keys.chain, &keys.key, &access(request));
            let body = json!({"token": token, "access_token": token, "expires_in": 300});
            Response::new(200, body.to_string()).with("Content-Type", "application/json")
        });
        Self { server, keys }
    }

    pub fn realm(&self) -> String {
        format!("http://{}/token", self.server.address())
    }

    /// What the registry checks the tokens with.
    pub fn certificate(&self) -> &Path {
        &self.keys.certificate
    }
}

impl Client {
    fn is_known(&self, request: &Request) -> bool {
        match self {
            Self::Anybody => true,
            Self::Password(user, password) => {
                let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                request.header("authorization") == Some(&basic)
            }
            Self::Identity(token) => {
                let body = String::from_utf8_lossy(&request.body);
                let grant = body.split('&').any(|pair| pair == "grant_type=refresh_token");
                grant && body.split('&').any(|pair| pair == format!("refresh_token={token}"))
            }
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

/// What the request asks for: `scope=repository:name:pull`, in the query or in the form.
fn access(request: &Request) -> Value {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let query = request.path.split_once('?').map_or("", |(_, query)| query).to_owned();
    let all = format!("{query}&{form}");
    let scope = all.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
    let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let mut parts = scope.splitn(3, ':');
    let (kind, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let actions: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
    match kind {
        "repository" => json!([{"type": kind, "name": rest, "actions": actions}]),
        _ => json!([]),
    }
}

/// A JSON web token as distribution reads it: RS256, its certificate in the header.
fn sign(chain: &str, key: &str, access: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [chain]});
    let claims = json!({
        "iss": TokenServer::ISSUER, "aud": TokenServer::SERVICE, "sub": "", "jti": now.to_string(),
        "iat": now - 60, "nbf": now - 60, "exp": now + 300, "access": access,
    });
    let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", coded(&header), coded(&claims));
    let signature = through("openssl", &["dgst", "-sha256", "-sign", key], signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
