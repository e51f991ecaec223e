//! Images: which may be run, how registries are reached, and where this service keeps what it pulls.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::values::{Values, above_zero};
use super::{Machine, SettingsError, seconds, size};
use crate::pool::Floor;
use crate::registry::client::ClientOptions;
use crate::registry::store::StoreOptions;
use crate::registry::{
    CredentialFiles, Credentials, InvalidReference, Policy, PullOptions, Reference, RegistryPrefix,
};

/// Everything about images but their use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSettings {
    pub policy: Policy,
    pub pull: PullOptions,
    /// PEM certificates of further authorities.
    pub authorities: Vec<u8>,
    /// Registries that the operator names, which may be at private addresses.
    pub private: Vec<String>,
    pub credentials: CredentialFiles,
    /// The native engine's images; `None` where no folder is named and there is no home for one.
    pub store: Option<StoreOptions>,
}

impl ImageSettings {
    /// How registries are reached.
    #[must_use]
    pub fn client(&self) -> ClientOptions {
        ClientOptions {
            authorities: self.authorities.clone(),
            plain_http: self.policy.plain_http.clone(),
            private: self.private.clone(),
            credentials: Credentials::new(self.credentials.clone()),
            ..ClientOptions::default()
        }
    }

    /// How images are named here.
    #[must_use]
    pub fn naming(&self) -> Naming {
        Naming(self.policy.custom_registry.clone())
    }
}

/// What a name without a registry means: one at `CUSTOM_IMAGE_REGISTRY`, where there is that. No
/// other rule is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming(pub Option<RegistryPrefix>);

impl Naming {
    /// The whole name.
    ///
    /// # Errors
    /// When it gets too long.
    pub fn whole(&self, reference: &Reference) -> Result<Reference, InvalidReference> {
        let prefix = self.0.as_ref();
        prefix.map_or_else(|| Ok(reference.clone()), |prefix| reference.with_registry(prefix))
    }
}

/// Settings that name a registry, in which credentials are easily left.
const NAMES: &[&str] = &[
    "base_image",
    "custom_pools",
    "custom_image_registry",
    "trusted_registries",
    "allowed_images",
    "insecure_registries",
];

/// To be asked before any of them is read, since an error repeats the value.
pub(super) fn refuse_credentials(values: &Values) -> Result<(), SettingsError> {
    let rule = "credentials don't belong here; `docker login` leaves them where they are read \
                (DOCKER_CONFIG), and REGISTRY_AUTH_FILE names a file with them";
    let shown = |name| values.text(name).and_then(|text| without_credentials(&text));
    match NAMES.iter().find_map(|name| shown(name).map(|shown| (name, shown))) {
        Some((name, shown)) => Err(values.refused_as(name, shown, rule)),
        None => Ok(()),
    }
}

/// What is left of a text with credentials in it; `None` where there are none. An `@` stands behind
/// credentials or in front of a digest.
fn without_credentials(text: &str) -> Option<String> {
    let is_digest = |rest: &str| {
        ["sha256:", "sha384:", "sha512:"].iter().any(|name| rest.starts_with(name)) || rest == "*"
    };
    let entry = |entry: &str| {
        let mut at = entry.match_indices('@').map(|(at, _)| at + 1);
        at.rfind(|at| !is_digest(&entry[*at..])).map(|at| format!("…@{}", &entry[at..]))
    };
    // A password may hold a comma, and then its first part can't be told from a name.
    text.contains('@').then(|| text.split(',').find_map(entry)).flatten()
}

/// Reads them. `operators` are images that he names elsewhere. Those that wait ahead are named as requests name theirs, so that
/// `CUSTOM_IMAGE_REGISTRY` counts for them too.
pub(super) fn images<'a>(
    values: &Values,
    operators: impl Iterator<Item = &'a Reference>,
    floors: &mut [Floor],
) -> Result<ImageSettings, SettingsError> {
    let policy = Policy {
        trusted_registries: values.get("trusted_registries", list)?,
        allowed_images: values.get("allowed_images", list)?,
        require_pinned: values.need("require_pinned", parsed)?,
        pull: values.need("pull_policy", parsed)?,
        custom_registry: values.get("custom_image_registry", parsed)?,
        plain_http: values
            .get("insecure_registries", |text| entries(text).map(host).collect())?
            .unwrap_or_default(),
        named: vec![],
    };
    let pull = PullOptions {
        timeout: values.need("custom_image_pull_timeout", |text| {
            seconds(text).and_then(|time| above_zero(!time.is_zero(), time))
        })?,
        retries: values.need("custom_image_pull_retries", |text| {
            text.parse().map_err(|_| "write a whole number".to_owned())
        })?,
    };
    let mut images = ImageSettings {
        policy,
        pull,
        authorities: values.get("registry_ca", authorities)?.unwrap_or_default(),
        private: vec![],
        credentials: CredentialFiles {
            auth_file: values.get("registry_auth_file", readable)?,
            docker_config: values.get("docker_config", folder)?,
        },
        store: store(values)?,
    };
    let naming = images.naming();
    for floor in floors.iter_mut() {
        let whole = naming.whole(&floor.image);
        floor.image = whole.map_err(|e| values.refused("custom_pools", &e.to_string()))?;
    }
    let named = operators.cloned().chain(floors.iter().map(|floor| floor.image.clone()));
    images.policy.named = named.collect();
    let known: BTreeSet<_> = images.policy.known_registries().map(str::to_owned).collect();
    images.private = known.into_iter().collect();
    Ok(images)
}

/// How images are named here.
pub(super) fn naming(values: &Values) -> Result<Naming, SettingsError> {
    values.get("custom_image_registry", parsed).map(Naming)
}

/// Gives the folders that depend on who runs this their defaults.
pub(super) fn default_folders(
    values: &mut Values,
    machine: &Machine,
    variable: impl Fn(&str) -> Option<String>,
) {
    let folder = |name| variable(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let home = folder("HOME");
    // Whom the process serves as can't read what is at home for whom it was started as.
    if values.text("user_name").is_none()
        && let Some(home) = &home
    {
        values.default_to("docker_config", home.join(".docker").to_string_lossy().into());
    }
    let store = match machine.root {
        true => Some(PathBuf::from("/var/lib")),
        false => folder("XDG_DATA_HOME").or_else(|| Some(home?.join(".local/share"))),
    };
    if let Some(store) = store.map(|store| store.join("oncebox")) {
        values.default_to("image_store", store.to_string_lossy().into());
        let executions = store.join("executions.redb");
        values.default_to("execution_store", executions.to_string_lossy().into());
    }
}

fn store(values: &Values) -> Result<Option<StoreOptions>, SettingsError> {
    let size_limit = values.need("image_store_size", |text| match text {
        "0" => Ok(None),
        _ => size(text).map(Some),
    })?;
    let max_image = values
        .need("max_image_size", |text| size(text).and_then(|bytes| above_zero(bytes > 0, bytes)))?;
    let path = values.get("image_store", folder)?;
    Ok(path.map(|path| StoreOptions { path, size_limit, max_image }))
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn list<T: FromStr<Err: ToString>>(text: &str) -> Result<Vec<T>, String> {
    entries(text).map(parsed).collect()
}

pub(super) fn parsed<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse::<T>().map_err(|e| e.to_string())
}

/// A registry as image references name it.
fn host(text: &str) -> Result<String, String> {
    let rule = "write registries as image references name them, host[:port], behind commas";
    let reference = format!("{text}/x").parse::<Reference>().map_err(|_| rule.to_owned())?;
    if text.contains('/') || reference.is_unqualified() {
        return Err(rule.into());
    }
    Ok(reference.registry().to_owned())
}

fn authorities(path: &str) -> Result<Vec<u8>, String> {
    let pem = fs::read(path).map_err(|e| format!("that file can't be read: {e}"))?;
    let begin = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(begin.len()).any(|part| part == begin) {
        Ok(pem)
    } else {
        Err("name a file with certificates in the form of PEM".into())
    }
}

fn readable(path: &str) -> Result<PathBuf, String> {
    let file = fs::File::open(path).and_then(|file| file.metadata());
    match file {
        Ok(metadata) if metadata.is_dir() => Err("that is a folder; name a file".into()),
        Ok(_) => Ok(path.into()),
        Err(e) => Err(format!("that file can't be read: {e}")),
    }
}

fn folder(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err("write a folder's whole path, from / on".into());
    }
    if path.exists() && !path.is_dir() {
        return Err("that is no folder".into());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("registry.example:5000/team")]
    #[case("busybox@sha256:00,python:3.*")]
    #[case("registry.example:5000/a@sha256:00")]
    #[case("a@*")]
    fn an_at_in_front_of_a_digest_is_none_behind_credentials(#[case] text: &str) {
        assert_eq!(without_credentials(text), None);
    }

    #[rstest]
    #[case("user:secret@registry.example", "…@registry.example")]
    #[case("https://user:secret@registry.example/a", "…@registry.example/a")]
    #[case("a.example,user:se/cr@et@b.example", "…@b.example")]
    #[case("user:se,cret@b.example", "…@b.example")]
    #[case("secret@b.example/x@sha256:00", "…@b.example/x@sha256:00")]
    fn credentials_are_never_shown(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(without_credentials(text).as_deref(), Some(shown));
    }

    #[rstest]
    #[case("localhost", Some("localhost"))]
    #[case("LOCALHOST:5000", Some("localhost:5000"))]
    #[case("registry.example", Some("registry.example"))]
    #[case("[::1]:5000", Some("[::1]:5000"))]
    #[case("10.0.0.1", Some("10.0.0.1"))]
    #[case("docker.io", Some("docker.io"))]
    #[case("registry", None)]
    #[case("*.example", None)]
    #[case("http://registry.example", None)]
    #[case("registry.example/team", None)]
    #[case("", None)]
    fn registries_are_named_as_in_references(#[case] text: &str, #[case] name: Option<&str>) {
        assert_eq!(host(text).ok().as_deref(), name);
    }
}
