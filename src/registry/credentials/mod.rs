//! Who we are at a registry: from the Docker client's own configuration, as `docker login` leaves
//! it.

mod config;
mod helper;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{ImageError, ImageErrorKind};
use config::Config;

/// The largest configuration that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// For a file to be read; it may be on a file system that hangs.
const READ_TIME: Duration = Duration::from_secs(10);

/// Where credentials are read from, each time they are needed, so that they can change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// A file in the form of `config.json`, such as a mounted secret; it stands above the other.
    pub auth_file: Option<PathBuf>,
    /// The Docker client's configuration folder, whose `config.json` is read where there is one.
    pub docker_config: Option<PathBuf>,
}

/// The credentials for every registry.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    files: CredentialFiles,
}

/// Who we are at one registry. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Password {
        username: String,
        password: String,
    },
    /// An OAuth2 refresh token.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Why credentials that should be there are not to be had. No text of a file or a helper is in it,
/// since that may be the secret.
#[derive(Debug)]
struct Unreadable {
    /// Completes "the credentials for … can't be read: …".
    reason: String,
    /// For the log.
    cause: String,
}

impl Unreadable {
    fn new(reason: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { reason: reason.into(), cause: cause.to_string() }
    }
}

impl Credentials {
    #[must_use]
    pub fn new(files: CredentialFiles) -> Self {
        Self { files }
    }

    /// What to say at this registry (`host[:port]`, `docker.io` for the default one); `None` where
    /// nothing is known, so that it is asked anonymously.
    ///
    /// # Errors
    /// `Auth` when the configuration can't be read or a helper fails.
    pub async fn find(&self, registry: &str) -> Result<Option<Credential>, ImageError> {
        let auth_file = self.files.auth_file.clone();
        let docker_config = self.files.docker_config.as_ref().map(|dir| dir.join("config.json"));
        let files =
            [(auth_file, "REGISTRY_AUTH_FILE"), (docker_config, "config.json in DOCKER_CONFIG")];
        for (path, setting) in files {
            let Some(path) = path else { continue };
            let found = in_file(&path, setting, registry).await;
            match found.map_err(|why| unreadable(registry, &why))? {
                Some(credential) => return Ok(Some(credential)),
                None => continue,
            }
        }
        Ok(None)
    }
}

fn unreadable(registry: &str, why: &Unreadable) -> ImageError {
    let detail = format!("the credentials for {registry} can't be read: {}", why.reason);
    ImageError::new(ImageErrorKind::Auth, detail, why.cause.clone())
}

async fn in_file(
    path: &Path,
    setting: &str,
    registry: &str,
) -> Result<Option<Credential>, Unreadable> {
    let read = tokio::time::timeout(READ_TIME, read(path)).await;
    let broken = |cause| Unreadable::new(format!("the file of {setting} is broken"), cause);
    let text = match read {
        Err(_) => return Err(broken("reading took too long".to_owned())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(Err(error)) => return Err(broken(error.to_string())),
        Ok(Ok(text)) => text,
    };
    let config = Config::parse(&text).map_err(broken)?;
    if let Some((helper, server)) = config.own_helper(registry) {
        return helper::get(helper, &server).await;
    }
    if let Some(helper) = config.store() {
        let found = helper::get(helper, &config::server(registry)).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    config.inline(registry).map_err(broken)
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).await?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(text)
}
