//! What a daemon must be to be used at all.

use std::fmt;
use std::str::FromStr;

use bollard::models::{SystemInfo, SystemVersion};

/// The Docker API's own version, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(u32, u32);

/// The first with `CgroupnsMode` (Docker 20.10).
const NEEDED: ApiVersion = ApiVersion(1, 41);

impl ApiVersion {
    /// The oldest version that both sides speak, so that every daemon behaves as the one that
    /// was tested.
    ///
    /// # Errors
    /// A sentence with the version found and the one needed.
    pub(super) fn choose(server: &SystemVersion) -> Result<Self, String> {
        let parse = |field: &Option<String>| field.as_deref().and_then(|text| text.parse().ok());
        let found: Self = parse(&server.api_version).ok_or("the daemon tells no API version")?;
        let oldest = parse(&server.min_api_version).unwrap_or(NEEDED);
        let name = server.version.as_deref().unwrap_or("of unknown version");
        if found < NEEDED {
            return Err(format!(
                "Docker {name} speaks API {found}, and {NEEDED} is needed; update it to 20.10 or \
                 later"
            ));
        }
        Ok(oldest.max(NEEDED).min(found))
    }

    /// Puts the version in front of the path of a URI, unless one is there.
    pub(super) fn pin(self, uri: &str) -> Option<String> {
        let authority = uri.find("://")? + 3;
        let path = authority + uri.get(authority..)?.find('/')?;
        let (before, path) = uri.split_at(path);
        (!path.starts_with("/v1.")).then(|| format!("{before}/v{self}{path}"))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self(major.parse().map_err(|_| ())?, minor.parse().map_err(|_| ())?))
    }
}

/// What the daemon's host makes of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The architecture of images and of the guest, by Docker's name.
    pub(super) architecture: &'static str,
    pub(super) cgroup_v1: bool,
    pub(super) processors: i64,
}

impl Host {
    /// Holds what the daemon can enforce against what every container needs.
    ///
    /// # Errors
    /// A sentence that names everything missing.
    pub(super) fn assess(info: &SystemInfo, runtime: Option<&str>) -> Result<Self, String> {
        let os = info.os_type.as_deref().unwrap_or_default();
        if os != "linux" {
            return Err(format!("the daemon runs {os:?} containers, and linux ones are needed"));
        }
        let machine = info.architecture.as_deref().unwrap_or_default();
        if machine != std::env::consts::ARCH {
            let own = std::env::consts::ARCH;
            return Err(format!("the daemon's machine is {machine:?}, this service is for {own}"));
        }
        let architecture = match machine {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => return Err(format!("{other} is not supported")),
        };
        let seccomp = |option: &String| option.starts_with("name=seccomp");
        let needs = [
            ("a memory limit", info.memory_limit == Some(true)),
            ("a limit of memory and swap together", info.swap_limit == Some(true)),
            ("a CPU quota", info.cpu_cfs_period == Some(true) && info.cpu_cfs_quota == Some(true)),
            ("a process limit", info.pids_limit == Some(true)),
            ("seccomp", info.security_options.iter().flatten().any(seccomp)),
        ];
        let missing: Vec<&str> =
            needs.iter().filter(|(_, there)| !there).map(|(what, _)| *what).collect();
        if !missing.is_empty() {
            return Err(format!(
                "the daemon cannot enforce {}; see the warnings of `docker info`",
                missing.join(", ")
            ));
        }
        if let Some(runtime) = runtime {
            let known = info.runtimes.clone().unwrap_or_default();
            // A shim is found by its name alone and need not be listed.
            if !known.contains_key(runtime) && !runtime.starts_with("io.containerd.") {
                let mut names: Vec<String> = known.into_keys().collect();
                names.sort_unstable();
                return Err(format!(
                    "RUNTIME is {runtime:?}, which the daemon does not have; it has {}",
                    names.join(", ")
                ));
            }
        }
        let cgroup_v1 = info.cgroup_version.is_some_and(|version| version.as_ref() == "1");
        let processors = info.ncpu.filter(|count| *count > 0);
        let processors = processors.ok_or("the daemon tells no number of processors")?;
        Ok(Self { architecture, cgroup_v1, processors })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{Runtime, SystemInfoCgroupVersionEnum};

    use super::*;

    fn server(api: &str, min: Option<&str>) -> SystemVersion {
        SystemVersion {
            version: Some("19.03.1".into()),
            api_version: Some(api.into()),
            min_api_version: min.map(Into::into),
            ..Default::default()
        }
    }

    #[test]
    fn the_oldest_common_version_is_chosen() {
        let choose = |api, min| ApiVersion::choose(&server(api, min));
        assert_eq!(choose("1.41", Some("1.12")), Ok(ApiVersion(1, 41)));
        assert_eq!(choose("1.53", Some("1.44")), Ok(ApiVersion(1, 44)));
        assert_eq!(choose("1.41", None), Ok(ApiVersion(1, 41)));
        assert_eq!(choose("1.100", Some("1.24")), Ok(ApiVersion(1, 41)));
        let old = choose("1.40", Some("1.12")).unwrap_err();
        assert_eq!(
            old,
            "Docker 19.03.1 speaks API 1.40, and 1.41 is needed; update it to 20.10 or later"
        );
        assert!(choose("new", None).is_err());
    }

    #[test]
    fn the_version_goes_in_front_of_the_path() {
        let pin = |uri: &str| ApiVersion(1, 41).pin(uri);
        let unix = pin("unix://2f7661/containers/json?all=true").unwrap();
        assert_eq!(unix, "unix://2f7661/v1.41/containers/json?all=true");
        assert_eq!(pin("http://host:2375/_ping").unwrap(), "http://host:2375/v1.41/_ping");
        assert_eq!(pin("http://host:2375/v1.53/_ping"), None);
    }

    fn able() -> SystemInfo {
        SystemInfo {
            os_type: Some("linux".into()),
            architecture: Some(std::env::consts::ARCH.into()),
            memory_limit: Some(true),
            swap_limit: Some(true),
            cpu_cfs_period: Some(true),
            cpu_cfs_quota: Some(true),
            pids_limit: Some(true),
            ncpu: Some(2),
            security_options: Some(vec!["name=seccomp,profile=default".into()]),
            runtimes: Some(HashMap::from([("runc".into(), Runtime::default())])),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            ..Default::default()
        }
    }

    #[test]
    fn an_able_daemon_is_accepted() {
        assert!(!Host::assess(&able(), None).unwrap().cgroup_v1);
        let v1 = SystemInfo { cgroup_version: Some(SystemInfoCgroupVersionEnum::_1), ..able() };
        assert!(Host::assess(&v1, Some("runc")).unwrap().cgroup_v1);
        assert!(Host::assess(&able(), Some("io.containerd.runsc.v1")).is_ok());
    }

    #[test]
    fn whatever_is_missing_is_named() {
        let weak = SystemInfo { swap_limit: Some(false), pids_limit: None, ..able() };
        let reason = Host::assess(&weak, None).unwrap_err();
        assert!(
            reason.contains("a limit of memory and swap together, a process limit;"),
            "{reason}"
        );
        let open = SystemInfo { security_options: Some(vec!["name=rootless".into()]), ..able() };
        assert!(Host::assess(&open, None).unwrap_err().contains("seccomp"));
        let reason = Host::assess(&able(), Some("runsc")).unwrap_err();
        assert!(reason.contains("\"runsc\"") && reason.contains("it has runc"), "{reason}");
        let silent = SystemInfo { ncpu: None, ..able() };
        assert!(Host::assess(&silent, None).unwrap_err().contains("processors"));
        let windows = SystemInfo { os_type: Some("windows".into()), ..able() };
        assert!(Host::assess(&windows, None).unwrap_err().contains("windows"));
    }
}
