//! Docker's socket and what answers there.

use std::time::Duration;

use bollard::Docker;
use tokio::time::timeout;

use super::Check;

/// For each answer of the daemon.
const DEADLINE: Duration = Duration::from_secs(5);
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The oldest API the engine speaks.
const API: (u32, u32) = (1, 41);

pub(super) async fn checks(host: Option<&str>) -> Vec<Check> {
    let host = host.unwrap_or(DEFAULT_HOST);
    let answer = match Docker::connect_with_host(host) {
        Ok(docker) => ask(&docker).await,
        Err(e) => Err(e.to_string()),
    };
    match answer {
        Ok(answer) => answer.checks(host),
        Err(why) => vec![Check::missing(
            "socket",
            format!("{host} does not answer: {why}"),
            "install and start Docker (Debian: apt install docker.io), or set DOCKER_HOST",
        )],
    }
}

/// What the daemon says about itself.
#[derive(Debug, Default)]
struct Answer {
    api: String,
    server: String,
    runtime: String,
    cgroup: String,
    seccomp: bool,
}

async fn ask(docker: &Docker) -> Result<Answer, String> {
    let slow = |_| format!("no answer within {} s", DEADLINE.as_secs());
    let version = timeout(DEADLINE, docker.version()).await.map_err(slow)?;
    let version = version.map_err(|e| e.to_string())?;
    let info = timeout(DEADLINE, docker.info()).await.map_err(slow)?;
    let info = info.map_err(|e| e.to_string())?;
    let options = info.security_options.unwrap_or_default();
    Ok(Answer {
        api: version.api_version.unwrap_or_default(),
        server: version.version.unwrap_or_default(),
        runtime: info.default_runtime.unwrap_or_default(),
        cgroup: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        seccomp: options.iter().any(|option| option.contains("seccomp")),
    })
}

impl Answer {
    fn checks(&self, host: &str) -> Vec<Check> {
        let Self { api, server, runtime, cgroup, seccomp } = self;
        vec![
            Check::ok("socket", host),
            if version(api) >= Some(API) {
                Check::ok("API", api)
            } else {
                let fix = format!("install Docker 20.10 or later: API {}.{}", API.0, API.1);
                Check::missing("API", api, fix)
            },
            Check::ok("server", server),
            Check::ok("runtime", runtime),
            Check::ok("cgroup version", cgroup),
            if *seccomp {
                Check::ok("seccomp", "on")
            } else {
                Check::missing("seccomp", "off", "use a Docker and a kernel built with seccomp")
            },
        ]
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_api_and_a_missing_seccomp_are_named() {
        let good = Answer { api: "1.41".into(), seccomp: true, ..Answer::default() };
        assert!(good.checks("unix:///x").iter().all(|check| check.fix.is_none()));
        let bad = Answer { api: "1.9".into(), ..Answer::default() };
        let missing = bad.checks("unix:///x");
        let missing: Vec<_> = missing.iter().filter(|check| check.fix.is_some()).collect();
        assert_eq!(
            missing.iter().map(|check| &*check.name).collect::<Vec<_>>(),
            ["API", "seccomp"]
        );
    }
}
