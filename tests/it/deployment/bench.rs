//! The CIS Docker Benchmark 1.6, sections 4 and 5, over the service and over a container that waits
//! for a script. What can be looked at is looked at, and passes or is listed with a reason; so is
//! what only people can judge.

use serde_json::{Value, json};

use super::project::{Compose, Project, inspect};
use super::tools::{SERVICE, files, read};
use crate::support::turn;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Service,
    Script,
}

/// What is looked at: a container as the daemon knows it, and its image.
struct Seen {
    of: Of,
    container: Value,
    image: Value,
}

impl Seen {
    fn host(&self, field: &str) -> &Value {
        &self.container["HostConfig"][field]
    }

    fn is_empty(&self, field: &str) -> bool {
        match self.host(field) {
            Value::Null => true,
            Value::Array(all) => all.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(on) => !on,
            other => *other == 0,
        }
    }

    fn has_option(&self, option: &str) -> bool {
        let options = self.host("SecurityOpt").as_array().into_iter().flatten();
        options.filter_map(Value::as_str).any(|o| o.starts_with(option))
    }

    /// Places of the machine, not of the daemon's volumes, that the container has.
    fn sources(&self) -> Vec<&str> {
        let mounts = self.container["Mounts"].as_array().into_iter().flatten();
        let bound = mounts.filter(|mount| mount["Type"] == "bind");
        bound.filter_map(|mount| mount["Source"].as_str()).collect()
    }

    fn ports(&self) -> Vec<(&str, &Value)> {
        let ports = self.container["NetworkSettings"]["Ports"].as_object();
        let ports = ports.into_iter().flatten();
        ports.filter(|(_, to)| !to.is_null()).map(|(port, to)| (port.as_str(), to)).collect()
    }
}

/// How a recommendation is checked; `None` where only people can.
type Check = Option<fn(&Seen) -> bool>;

const SENSITIVE: [&str; 9] =
    ["/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/var/lib/docker"];

/// All of the two sections.
const TABLE: &[(&str, &str, Check)] = &[
    ("4.1", "a user for the container", Some(|s| !is_root(&s.container["Config"]["User"]))),
    ("4.2", "trusted base images only", None),
    ("4.3", "no unnecessary packages", None),
    ("4.4", "scanned and rebuilt with security patches", None),
    ("4.5", "content trust", Some(|_| std::env::var("DOCKER_CONTENT_TRUST").is_ok())),
    ("4.6", "HEALTHCHECK in the image", Some(|s| !s.image["Config"]["Healthcheck"].is_null())),
    ("4.7", "no update instruction by itself", Some(|s| s.of == Of::Script || updates_install())),
    ("4.8", "no setuid and setgid files", None),
    ("4.9", "COPY, not ADD", Some(|_| !instructions().any(|i| i.starts_with("ADD ")))),
    ("4.10", "no secrets in Dockerfiles", Some(|_| !names_secrets())),
    ("4.11", "only verified packages", None),
    ("4.12", "signed artifacts are validated", None),
    ("5.1", "no swarm mode", Some(|_| swarm() == "inactive")),
    ("5.2", "an AppArmor profile", Some(|s| !s.has_option("apparmor=unconfined"))),
    ("5.3", "SELinux options", Some(|s| !s.has_option("label=disable"))),
    ("5.4", "capabilities are restricted", Some(capabilities)),
    ("5.5", "not privileged", Some(|s| s.host("Privileged") == false)),
    (
        "5.6",
        "no sensitive folders of the host",
        Some(|s| s.sources().iter().all(|source| !SENSITIVE.contains(source))),
    ),
    ("5.7", "no sshd", Some(|s| !processes(s).iter().any(|line| line.contains("sshd")))),
    (
        "5.8",
        "no privileged ports",
        Some(|s| {
            s.ports().iter().all(|(_, to)| {
                let port = to[0]["HostPort"].as_str().and_then(|port| port.parse::<u16>().ok());
                port.is_some_and(|port| port >= 1024)
            })
        }),
    ),
    (
        "5.9",
        "only the ports that are needed",
        Some(|s| {
            let open: Vec<&str> = s.ports().into_iter().map(|(port, _)| port).collect();
            open == if s.of == Of::Service { vec!["8080/tcp"] } else { vec![] }
        }),
    ),
    ("5.10", "not the host's network", Some(|s| s.host("NetworkMode") != "host")),
    ("5.11", "memory is limited", Some(|s| !s.is_empty("Memory"))),
    ("5.12", "CPU is limited", Some(|s| !s.is_empty("NanoCpus") || !s.is_empty("CpuQuota"))),
    ("5.13", "a read-only root", Some(|s| s.host("ReadonlyRootfs") == true)),
    (
        "5.14",
        "bound to one interface",
        Some(|s| s.ports().iter().all(|(_, to)| to[0]["HostIp"] == "127.0.0.1")),
    ),
    (
        "5.15",
        "restarts on failure, five times",
        Some(|s| {
            let policy = s.host("RestartPolicy");
            policy["Name"] == "on-failure" && policy["MaximumRetryCount"] == 5
        }),
    ),
    ("5.16", "not the host's processes", Some(|s| s.is_empty("PidMode"))),
    ("5.17", "not the host's IPC", Some(|s| s.host("IpcMode") != "host")),
    ("5.18", "no devices of the host", Some(|s| s.is_empty("Devices"))),
    ("5.19", "ulimits where they are needed", Some(|s| !s.is_empty("Ulimits"))),
    (
        "5.20",
        "no shared mount propagation",
        Some(|s| {
            let mounts = s.container["Mounts"].as_array().into_iter().flatten();
            mounts.into_iter().all(|mount| mount["Propagation"] != "shared")
        }),
    ),
    ("5.21", "not the host's UTS namespace", Some(|s| s.host("UTSMode") != "host")),
    ("5.22", "a seccomp profile", Some(|s| !s.has_option("seccomp=unconfined"))),
    ("5.23", "no privileged exec", Some(executes_nothing)),
    ("5.24", "no exec as root", Some(executes_nothing)),
    ("5.25", "the daemon's cgroups", Some(|s| s.is_empty("CgroupParent"))),
    (
        "5.26",
        "no new privileges",
        Some(|s| s.has_option("no-new-privileges") && !s.has_option("no-new-privileges:false")),
    ),
    ("5.27", "health is checked", Some(|s| s.container["State"]["Health"]["Status"] == "healthy")),
    ("5.28", "the latest version of the image", None),
    ("5.29", "the number of processes is limited", Some(|s| !s.is_empty("PidsLimit"))),
    (
        "5.30",
        "not the default bridge",
        Some(|s| !matches!(s.host("NetworkMode").as_str(), None | Some("default" | "bridge"))),
    ),
    ("5.31", "not the host's user namespace by name", Some(|s| s.host("UsernsMode") != "host")),
    (
        "5.32",
        "not the Docker socket",
        Some(|s| {
            let mounts = s.container["Mounts"].as_array().into_iter().flatten();
            mounts.into_iter().all(|m| m["Destination"] != "/var/run/docker.sock")
        }),
    ),
];

/// What does not pass, or is for people to judge, and why it is so.
const LISTED: &[(&str, Of, &str)] = &[
    (
        "4.1",
        Of::Service,
        "it starts as root with SETUID and SETGID alone, to find the socket's group, and is 65532 before it opens a port (docker_a_life…); the image's own user is 65532",
    ),
    (
        "4.2",
        Of::Service,
        "the bases are Docker's official rust and Google's distroless, by version, with a place for digests",
    ),
    (
        "4.2",
        Of::Script,
        "the operator's images: TRUSTED_REGISTRIES, ALLOWED_IMAGES, REQUIRE_PINNED=digest",
    ),
    (
        "4.3",
        Of::Service,
        "one program over a base of libc and certificates (docker_the_image_is_the_binary_and_a_folder)",
    ),
    ("4.3", Of::Script, "the operator's images"),
    (
        "4.4",
        Of::Service,
        "a build with newer bases; no scanner is within reach of the build machines",
    ),
    ("4.4", Of::Script, "the operator's images; PULL_POLICY=always follows a tag"),
    ("4.5", Of::Service, "content trust has no place in Compose; digests pin the bases"),
    ("4.5", Of::Script, "REQUIRE_PINNED=digest, which holds for every image that a request names"),
    ("4.6", Of::Script, "it runs one script and is gone; our PID 1 says that it is ready"),
    ("4.8", Of::Service, "its layers have none (docker_the_image_is_the_binary_and_a_folder)"),
    ("4.8", Of::Script, "the operator's images; no-new-privileges takes their effect away"),
    (
        "4.11",
        Of::Service,
        "Cargo.lock has the checksum of every dependency, and no package is installed",
    ),
    ("4.11", Of::Script, "the operator's images"),
    (
        "4.12",
        Of::Service,
        "no signatures are made yet; `docker buildx bake release` attests provenance",
    ),
    ("4.12", Of::Script, "the operator's images"),
    (
        "5.15",
        Of::Service,
        "unless-stopped: a service that waits for its daemon may need more than five; the daemon doubles the time between them",
    ),
    ("5.15", Of::Script, "never restarted: no container runs two scripts"),
    (
        "5.19",
        Of::Service,
        "it raises its own limit of open files as far as the daemon's lets it; a number here would keep it from starting under a daemon that has less",
    ),
    ("5.23", Of::Service, "the health check alone, without privileges"),
    ("5.24", Of::Service, "the health check alone, as root without a capability"),
    ("5.27", Of::Script, "it runs one script and is gone; the service sees its end"),
    ("5.28", Of::Service, "the image is built from these sources"),
    ("5.28", Of::Script, "PULL_POLICY=always, or pinned digests: the operator chooses"),
    (
        "5.32",
        Of::Service,
        "it makes containers: README, \"The socket\", says what that means and what to do",
    ),
];

#[test]
fn docker_the_benchmark_finds_nothing_that_is_not_listed() {
    let _turn = turn::together();
    let project = Project::up(Compose::V2, &[], &[]);
    let script = inspect(&project.waiting());
    let base = inspect(crate::support::BUSYBOX);
    for seen in [
        Seen {
            of: Of::Service,
            container: project.inspect("script-executor"),
            image: inspect(SERVICE),
        },
        Seen { of: Of::Script, container: script, image: base },
    ] {
        for (id, what, check) in TABLE {
            let listed = LISTED.iter().find(|(i, of, _)| i == id && *of == seen.of);
            let passes = check.is_some_and(|check| check(&seen));
            match listed {
                None => assert!(passes, "{id} {what}: {:?}: {:#}", seen.of, seen.container),
                Some(_) => assert!(!passes, "{id} {what}: {:?} passes and is listed", seen.of),
            }
        }
    }
}

#[test]
fn the_benchmark_is_whole() {
    let ids = (1..=12).map(|n| format!("4.{n}")).chain((1..=32).map(|n| format!("5.{n}")));
    assert!(ids.eq(TABLE.iter().map(|(id, _, _)| (*id).to_owned())));
    for (id, of, _) in LISTED {
        assert!(TABLE.iter().any(|(known, _, _)| known == id), "{id}");
        let times = LISTED.iter().filter(|(i, o, _)| i == id && o == of).count();
        assert_eq!(times, 1, "{id} {of:?}");
    }
}

/// The daemon runs a health check as it runs `docker exec`.
fn executes_nothing(seen: &Seen) -> bool {
    seen.image["Config"]["Healthcheck"].is_null() && seen.container["ExecIDs"].is_null()
}

fn is_root(user: &Value) -> bool {
    let user = user.as_str().unwrap_or_default();
    matches!(user.split(':').next(), None | Some("" | "0" | "root"))
}

fn capabilities(seen: &Seen) -> bool {
    let added = match seen.of {
        Of::Service => json!(["SETUID", "SETGID"]),
        Of::Script => Value::Null,
    };
    let none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let dropped = seen.host("CapDrop") == &json!(["ALL"]);
    dropped && (seen.host("CapAdd") == &added || (none(&added) && none(seen.host("CapAdd"))))
}

fn processes(seen: &Seen) -> Vec<String> {
    crate::support::host::docker(&["top", seen.container["Id"].as_str().expect("an id")])
}

fn swarm() -> String {
    crate::support::host::docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]).join("")
}

/// Every instruction of every Dockerfile, on one line each.
fn instructions() -> impl Iterator<Item = String> {
    let files = files(|name| name.ends_with("Dockerfile")).into_iter();
    let text = files.map(|file| read(&file).replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
    text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().into_iter()
}

fn updates_install() -> bool {
    let updates = |line: &String| line.contains("apt-get update") || line.contains("apk update");
    instructions().filter(updates).all(|line| line.contains("install") || line.contains("apk add"))
}

fn names_secrets() -> bool {
    let words = ["password", "secret", "token", "private_key", "api_key"];
    let sets = |line: &String| line.starts_with("ENV ") || line.starts_with("ARG ");
    instructions().filter(sets).any(|l| words.iter().any(|word| l.to_lowercase().contains(word)))
}
