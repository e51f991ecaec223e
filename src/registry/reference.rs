//! Image references, in Docker's grammar (distribution/reference): a registry host with an
//! optional port, path components, a tag, a digest or both.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::grammar::{self, DEFAULT_REGISTRY, quoted};

mod prefix;

pub use prefix::RegistryPrefix;

/// Where the default registry keeps images without an owner.
const OFFICIAL: &str = "library";
/// The tag of a reference that names neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The reserved reference: the native engine's image of this machine's own `/usr`.
pub(super) const HOST: &str = "host";

const MAX_NAME: usize = 255;

/// A valid, normalised image reference: `alpine` is `docker.io/library/alpine:latest`.
///
/// It displays in the familiar form, as `docker images` does (`alpine:latest`), and that form parses
/// back to an equal reference. The word `host` alone is reserved and stays as it is; `host:latest`
/// is an ordinary image.
#[derive(Debug, Clone)]
pub struct Reference {
    name: Arc<Name>,
    /// The text named no registry, so that an operator may choose one. Not part of what the
    /// reference means, and so not of its equality.
    unqualified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Host,
    Image { registry: String, repository: String, tag: Option<String>, digest: Option<String> },
}

impl Name {
    /// From parts that are valid by themselves.
    fn new(
        registry: String,
        path: String,
        tag: Option<String>,
        digest: Option<String>,
    ) -> Result<Self, String> {
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official { format!("{OFFICIAL}/{path}") } else { path };
        let length = registry.len() + 1 + repository.len();
        if length > MAX_NAME {
            return Err(format!("its name has {length} characters, the most is {MAX_NAME}"));
        }
        Ok(Self::Image { registry, repository, tag, digest })
    }
}

/// A string that is no image reference, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReference(pub String);

impl Reference {
    /// The reserved reference `host`.
    #[must_use]
    pub fn host() -> Self {
        Self { name: Arc::new(Name::Host), unqualified: false }
    }

    /// This machine's own `/usr`, which only the native engine has.
    #[must_use]
    pub fn is_host(&self) -> bool {
        *self.name == Name::Host
    }

    /// The registry's host and port; empty for `host`. In lower case, except where only a capital
    /// letter tells it from a path, as in `Reg/x`.
    #[must_use]
    pub fn registry(&self) -> &str {
        match &*self.name {
            Name::Host => "",
            Name::Image { registry, .. } => registry,
        }
    }

    /// The path at the registry, such as `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        match &*self.name {
            Name::Host => HOST,
            Name::Image { repository, .. } => repository,
        }
    }

    /// The tag; `latest` where the text named neither tag nor digest, `None` for a bare digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match &*self.name {
            Name::Host => None,
            Name::Image { tag, .. } => tag.as_deref(),
        }
    }

    /// The digest, such as `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        match &*self.name {
            Name::Host => None,
            Name::Image { digest, .. } => digest.as_deref(),
        }
    }

    /// The text named no registry, and the default one stands in.
    #[must_use]
    pub fn is_unqualified(&self) -> bool {
        self.unqualified
    }

    /// The whole name, for an engine that must not guess: `docker.io/library/alpine:latest`.
    #[must_use]
    pub fn full(&self) -> String {
        match &*self.name {
            Name::Host => HOST.into(),
            Name::Image { registry, .. } => {
                format!("{registry}/{}{}", self.repository(), self.suffix())
            }
        }
    }

    /// The same name where it names a registry, and otherwise the one that stands behind `prefix`:
    /// `python:3` is `reg.example/team/python:3`. It takes the name as it is written in short, so
    /// without the default registry's own `library/`.
    ///
    /// # Errors
    /// When the name gets too long.
    pub fn with_registry(&self, prefix: &RegistryPrefix) -> Result<Self, InvalidReference> {
        let Name::Image { repository, tag, digest, .. } = &*self.name else {
            return Ok(self.clone());
        };
        if !self.unqualified {
            return Ok(self.clone());
        }
        let short = official(repository).unwrap_or(repository);
        let path = match &prefix.path {
            Some(path) => format!("{path}/{short}"),
            None => short.to_owned(),
        };
        let name = Name::new(prefix.registry.clone(), path, tag.clone(), digest.clone())
            .map_err(|why| InvalidReference(format!("{prefix}/{short}: {why}")))?;
        Ok(Self { name: Arc::new(name), unqualified: false })
    }

    /// The same name, tag included, with this digest.
    ///
    /// # Errors
    /// When it is no digest, and for `host`, which has none.
    pub fn pinned(&self, digest: &str) -> Result<Self, InvalidReference> {
        let Name::Image { registry, repository, tag, .. } = &*self.name else {
            return Err(InvalidReference(format!("{HOST} is no image and has no digest")));
        };
        let digest = Some(grammar::digest(digest).map_err(InvalidReference)?);
        let (registry, repository, tag) = (registry.clone(), repository.clone(), tag.clone());
        let name = Arc::new(Name::Image { registry, repository, tag, digest });
        Ok(Self { name, unqualified: self.unqualified })
    }

    fn suffix(&self) -> String {
        let tag = self.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Reference {}

impl Hash for Reference {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.registry() == DEFAULT_REGISTRY {
            let path = self.repository();
            // `docker.io/a.b/c` without its registry would name the registry `a.b`.
            let plain = path.split_once('/').filter(|(first, _)| !grammar::is_registry(first));
            if let Some(short) = official(path).or(plain.map(|_| path)) {
                return write!(f, "{short}{}", self.suffix());
            }
        }
        f.write_str(&self.full())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|why| {
            InvalidReference(format!("{} is no image reference: {why}", quoted(text)))
        })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text == HOST {
        return Ok(Reference::host());
    }
    if text.is_empty() {
        return Err("it is empty; write name, name:tag or name@sha256:…".into());
    }
    if let Some(strange) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("it holds {strange:?}; only printable ASCII is allowed, no spaces"));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("leave out the {scheme}:// in front"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(grammar::digest(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = match rest.split_once('/') {
        Some((first, rest)) if grammar::is_registry(first) => {
            (Some(grammar::registry(first)?), rest)
        }
        _ => (None, rest),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(grammar::tag(tag)?)),
        None => (rest, None),
    };
    grammar::path(path)?;
    if text.len() == 64 && text.bytes().all(grammar::is_lower_hex) {
        return Err("64 hexadecimal digits are an image id; name the image instead".into());
    }
    let unqualified = registry.is_none();
    let registry = registry.unwrap_or_else(|| DEFAULT_REGISTRY.into());
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.into()));
    let name = Arc::new(Name::new(registry, path.into(), tag, digest)?);
    Ok(Reference { name, unqualified })
}

/// The name of an image without an owner.
fn official(repository: &str) -> Option<&str> {
    let name = repository.strip_prefix(OFFICIAL)?.strip_prefix('/')?;
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests;
