//! What an image's own configuration says, and how little of it is believed.

use bollard::models::ImageInspect;

use super::request::OWN_MOUNTS;
use crate::registry::{Reference, is_hook};

/// What making a container needs to know about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The daemon's own name for it, `sha256:…`: what was inspected is what runs.
    pub(super) id: String,
    /// Names of the variables it sets; each is emptied for the guest.
    pub(super) variables: Vec<String>,
    /// Paths it declares as volumes; each is covered, so that no volume is made for it.
    pub(super) volumes: Vec<String>,
}

/// An image as the daemon describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inspected {
    /// The digest it has at its registry by the name asked for, or its id where it never came from
    /// one.
    pub(super) digest: String,
    /// Its environment, without the hooks.
    pub(super) env: Vec<(String, String)>,
    pub(super) facts: Facts,
}

/// Reads the daemon's answer about a reference; `latest` is the digest that the registry last had
/// under it, where that is known.
///
/// # Errors
/// The reason why the image can't be run here, completing "the image is not for this engine: …".
pub(super) fn read(
    found: ImageInspect,
    architecture: &str,
    reference: &Reference,
    latest: Option<&str>,
) -> Result<Inspected, String> {
    let os = found.os.unwrap_or_default();
    if os != "linux" {
        return Err(format!("it is for {os:?}, not for linux"));
    }
    let built_for = found.architecture.unwrap_or_default();
    if built_for != architecture {
        return Err(format!("it is for {built_for:?}, and this service for {architecture}"));
    }
    let id = found.id.filter(|id| id.starts_with("sha256:"));
    let id = id.ok_or("the daemon gives it no sha256 id")?;
    let digest = digest(&found.repo_digests.unwrap_or_default(), reference, latest);
    let digest = digest.unwrap_or_else(|| id.clone());
    let config = found.config.unwrap_or_default();
    let env = config.env.unwrap_or_default();
    let pairs = || env.iter().filter_map(|pair| pair.split_once('='));
    // The daemon gives every container these, and nothing we say takes them out again.
    if pairs().filter(|(name, _)| !name.is_empty()).count() != env.len() {
        return Err("its Env has an entry that is no NAME=value".into());
    }
    let volumes = config.volumes.unwrap_or_default();
    let volumes = volumes.iter().filter_map(|path| volume(path).transpose());
    let mut volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    volumes.sort_unstable();
    volumes.dedup();
    let variables = pairs().map(|(name, _)| name.to_owned()).collect();
    let env = pairs()
        .filter(|(name, _)| !is_hook(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Inspected { digest, env, facts: Facts { id, variables, volumes } })
}

/// The digest of an image by a name that it has, out of all its `name@sha256:…`: one name may have
/// several, such as an index's and a manifest's. `None` for an image that never was at a registry.
pub(super) fn digest(
    repo_digests: &[String],
    reference: &Reference,
    latest: Option<&str>,
) -> Option<String> {
    let own =
        || pairs(repo_digests).filter(|(name, _)| is_name_of(name, reference)).map(|(_, d)| d);
    let wanted = [reference.digest(), latest].into_iter().flatten();
    let found = wanted.into_iter().find_map(|wanted| own().find(|digest| *digest == wanted));
    // A name that was given here has no digest of its own.
    found.or_else(|| own().next().or_else(|| digests(repo_digests).next())).map(ToOwned::to_owned)
}

/// All digests out of an image's `name@sha256:…`.
pub(super) fn digests(repo_digests: &[String]) -> impl Iterator<Item = &str> {
    pairs(repo_digests).map(|(_, digest)| digest)
}

/// The daemon says `<none>@<none>` where there is none.
fn pairs(repo_digests: &[String]) -> impl Iterator<Item = (&str, &str)> {
    let pairs = repo_digests.iter().filter_map(|text| text.split_once('@'));
    pairs.filter(|(_, digest)| digest.contains(':'))
}

/// Whether a name of the daemon's, such as `busybox`, is that of the reference's repository.
fn is_name_of(name: &str, reference: &Reference) -> bool {
    // With a tag, so that `host` is an ordinary image's name.
    let named = format!("{name}:latest").parse::<Reference>();
    named.is_ok_and(|named| {
        (named.registry(), named.repository()) == (reference.registry(), reference.repository())
    })
}

/// The path to cover for a declared volume; `None` where a mount of ours stands already.
fn volume(declared: &str) -> Result<Option<String>, String> {
    if !declared.starts_with('/') {
        return Err(format!("its volume {declared:?} is not an absolute path"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in declared.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let path = format!("/{}", parts.join("/"));
    if OWN_MOUNTS.contains(&path.as_str()) {
        return Ok(None);
    }
    let beneath = ["/proc", "/sys", "/dev"].iter().chain(OWN_MOUNTS).any(|own| {
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if parts.is_empty() || beneath {
        return Err(format!("its volume {path} lies over a mount of the container's own"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use bollard::models::ImageConfig;

    use super::*;

    fn found(env: &[&str], volumes: &[&str]) -> ImageInspect {
        let own = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
        ImageInspect {
            id: Some("sha256:1d".into()),
            os: Some("linux".into()),
            architecture: Some("amd64".into()),
            config: Some(ImageConfig {
                env: own(env),
                volumes: own(volumes),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn plain(found: ImageInspect) -> Result<Inspected, String> {
        read(found, "amd64", &"busybox".parse().unwrap(), None)
    }

    #[test]
    fn hooks_and_user_words_do_not_leave_the_image() {
        let env = [
            "PATH=/usr/bin",
            "LANG=C.UTF-8",
            "JAVA_HOME=/opt/java",
            "GOPATH=/go",
            "EMPTY=",
            "LD_PRELOAD=/x.so",
            "LD_LIBRARY_PATH=/x",
            "BASH_ENV=/x",
            "BASH_FUNC_ls%%=() { x; }",
            "ENV=/x",
            "PYTHONSTARTUP=/x",
            "NODE_OPTIONS=--require=/x",
            "PERL5OPT=-Mx",
            "RUBYOPT=-rx",
            "LUA_INIT=x",
            "GLIBC_TUNABLES=x",
            "HOME=/root",
        ];
        let image = plain(found(&env, &[])).unwrap();
        let kept: Vec<&str> = image.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["PATH", "LANG", "JAVA_HOME", "GOPATH", "EMPTY"]);
        assert!(image.facts.variables.iter().any(|name| name == "LD_PRELOAD"));
    }

    #[test]
    fn what_is_no_variable_can_t_be_taken_out_of_a_container() {
        for odd in ["no-equals-sign", "=nameless", ""] {
            let refused = plain(found(&["PATH=/usr/bin", odd], &[])).unwrap_err();
            assert!(refused.contains("NAME=value"), "{refused}");
        }
    }

    #[test]
    fn the_digest_is_the_registrys_or_else_the_id() {
        let local = plain(found(&[], &[])).unwrap();
        assert_eq!((local.digest.as_str(), local.facts.id.as_str()), ("sha256:1d", "sha256:1d"));
        let mut pulled = found(&[], &[]);
        pulled.repo_digests = Some(vec!["busybox@sha256:d1".into(), "other@sha256:d2".into()]);
        let pulled = plain(pulled).unwrap();
        assert_eq!((pulled.digest.as_str(), pulled.facts.id.as_str()), ("sha256:d1", "sha256:1d"));
    }

    #[test]
    fn of_several_digests_the_names_own_is_taken() {
        let wide = format!("sha256:{}", "a".repeat(64));
        let all = [
            "reg.example:5000/busybox@sha256:d0".to_owned(),
            "busybox@sha256:d1".into(),
            format!("busybox@{wide}"),
            "docker.io/me/tool@sha256:d3".into(),
            "host@sha256:d4".into(),
        ];
        let of = |reference: &str, latest| {
            digest(&all, &reference.parse().unwrap(), latest).unwrap_or_default()
        };
        assert_eq!(of("busybox", None), "sha256:d1");
        assert_eq!(of("busybox:1", Some(wide.as_str())), wide);
        assert_eq!(of("busybox:1", Some("sha256:d3")), "sha256:d1");
        assert_eq!(of(&format!("busybox:2@{wide}"), Some("sha256:d1")), wide);
        assert_eq!(of("reg.example:5000/busybox", None), "sha256:d0");
        assert_eq!(of("me/tool", None), "sha256:d3");
        assert_eq!(of("host:latest", None), "sha256:d4");
        assert_eq!(of("given:here", None), "sha256:d0");
        let none = ["<none>@<none>".to_owned(), "nonsense".into()];
        assert_eq!(digest(&none, &"busybox".parse().unwrap(), None), None);
    }

    #[test]
    fn an_image_for_another_machine_is_refused() {
        let reason = read(found(&[], &[]), "arm64", &"busybox".parse().unwrap(), None).unwrap_err();
        assert_eq!(reason, "it is for \"amd64\", and this service for arm64");
        let mut windows = found(&[], &[]);
        windows.os = Some("windows".into());
        assert!(plain(windows).unwrap_err().contains("windows"));
        let mut nameless = found(&[], &[]);
        nameless.id = None;
        assert!(plain(nameless).is_err());
    }

    #[test]
    fn volumes_are_covered_where_no_mount_of_ours_stands() {
        let declared = ["/data", "/a/../b/", "/x//y", "/data/", "/tmp", "/dev/shm", "/.oncebox"];
        let image = plain(found(&[], &declared)).unwrap();
        assert_eq!(image.facts.volumes, ["/b", "/data", "/x/y"]);
        for path in ["data", "/", "/..", "/proc/sys", "/dev", "/tmp/work", "/.oncebox/x", "/sys"] {
            let reason = plain(found(&[], &[path])).unwrap_err();
            assert!(reason.contains("volume"), "{path}: {reason}");
        }
        assert!(plain(found(&[], &["/temporary"])).is_ok());
    }
}
