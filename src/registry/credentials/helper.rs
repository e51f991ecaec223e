//! Credential helpers: programs of the operator's, in the protocol of `docker-credential-helpers`.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{Credential, Unreadable};

/// For a helper to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most a helper may answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// What helpers print where they know nothing of a registry.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<name>` for the credentials of a server.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>, Unreadable> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Unreadable::new("the credential helper's name is none", ""));
    }
    run(&format!("docker-credential-{name}"), server, DEADLINE).await
}

/// The same of a program by its path, within a time.
pub(super) async fn run(
    program: &str,
    server: &str,
    deadline: Duration,
) -> Result<Option<Credential>, Unreadable> {
    let failed = |cause: String| Unreadable::new(format!("{program} failed"), cause);
    let asked = tokio::time::timeout(deadline, ask(program, server)).await;
    let (success, answer) = match asked {
        Err(_) => return Err(failed(format!("no answer in {} s", deadline.as_secs_f32()))),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(answered)) => answered,
    };
    if !success {
        let unknown = String::from_utf8_lossy(&answer).contains(NOT_FOUND);
        return if unknown { Ok(None) } else { Err(failed("it says that it failed".into())) };
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed("its answer is not as it has to be".into()))?;
    Ok(match (answer.username, answer.secret) {
        (_, secret) if secret.is_empty() => None,
        (username, secret) if username == TOKEN_USER => Some(Credential::IdentityToken(secret)),
        (username, password) => Some(Credential::Password { username, password }),
    })
}

/// Whether the helper succeeded, and what it printed.
async fn ask(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that knows the answer without reading is none the worse for it.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
    }
    if answer.len() as u64 > MAX_ANSWER {
        return Err(std::io::Error::other(format!("it answers more than {MAX_ANSWER} bytes")));
    }
    Ok((child.wait().await?.success(), answer))
}
