//! The hardening profile as one create request. Everything that is not written here must come
//! back empty (see `read_back`).

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountTmpfsOptions, MountType, MountVolumeOptions, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::image::Facts;
use crate::engine::{ContainerSpec, hardening};

/// Where the volume with the guest is mounted.
pub(super) const GUEST_DIR: &str = "/.oncebox";
/// The guest's file in it.
pub(super) const GUEST_FILE: &str = "oncebox-guest";
/// The file of names in it. Without a network the daemon makes none.
pub(super) const HOSTS_FILE: &str = "hosts";
/// Mount points of our own that an image may declare as a volume as well.
pub(super) const OWN_MOUNTS: &[&str] = &["/tmp", "/dev/shm", HOSTS, GUEST_DIR];
/// Where programs look names up.
pub(super) const HOSTS: &str = "/etc/hosts";

/// A service process; the containers it made carry its id.
pub(super) const INSTANCE_LABEL: &str = "org.oncebox.instance";
/// The process that made a container (`owner::Owner`).
pub(super) const OWNER_LABEL: &str = "org.oncebox.owner";

/// What runtimes add to `/dev` unasked: no script gets terminals, or queues that no limit counts.
const MASKED_DEVICES: &[&str] = &["/dev/mqueue", "/dev/pts"];

/// The mode of a covered volume: anyone may look, nobody may write.
const COVER_MODE: i64 = 0o555;

/// What is the same for every container of one engine.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// [`INSTANCE_LABEL`] and [`OWNER_LABEL`].
    pub(super) labels: HashMap<String, String>,
    /// The volume with the guest.
    pub(super) guest_volume: String,
    /// `RUNTIME`; `None` is the daemon's default.
    pub(super) runtime: Option<String>,
    /// cgroup v1 has a swappiness of each container's own.
    pub(super) swappiness: bool,
    /// Each has files of its own to hide.
    pub(super) processors: i64,
    /// The system calls allowed, in Docker's JSON form.
    pub(super) seccomp: String,
}

impl Profile {
    /// A container for one script; its guest and script run as `uid:uid`, and find names in `hosts`,
    /// a file at the daemon.
    pub(super) fn container(
        &self,
        spec: &ContainerSpec,
        image: &Facts,
        uid: u32,
        hosts: &str,
    ) -> ContainerCreateBody {
        let masked = hardening::MASKED_PATHS.iter().chain(MASKED_DEVICES);
        // How hot a processor gets tells what others do on it. Here `/sys` is the daemon's.
        let throttled = (0..self.processors)
            .map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle"));
        // Owned by the script's uid, since older runtimes replace the mode with that of the
        // image's own `/tmp`.
        let tmp = format!(
            "rw,nosuid,nodev,exec,size={},nr_inodes={},mode=1777,uid={uid},gid={uid}",
            spec.tmp,
            hardening::tmp_inodes(spec.tmp)
        );
        let shm = format!(
            "rw,nosuid,nodev,noexec,size={},nr_inodes={},mode=1777",
            hardening::SHM_BYTES,
            hardening::SHM_INODES
        );
        let limits = limits(spec);
        let common = self.host(image, true);
        let host = HostConfig {
            mounts: Some(common.mounts.into_iter().flatten().chain([names(hosts)]).collect()),
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            memory_swappiness: self.swappiness.then_some(0),
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            pids_limit: limits.pids_limit,
            ulimits: Some(hardening::RLIMITS.iter().map(ulimit).collect()),
            oom_score_adj: Some(hardening::OOM_SCORE_ADJ.into()),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from([("/tmp".into(), tmp), ("/dev/shm".into(), shm)])),
            masked_paths: Some(masked.map(|path| (*path).into()).chain(throttled).collect()),
            readonly_paths: Some(
                hardening::READ_ONLY_PATHS.iter().map(|path| (*path).into()).collect(),
            ),
            security_opt: Some(vec![
                "no-new-privileges".into(),
                format!("seccomp={}", self.seccomp),
            ]),
            ..common
        };
        ContainerCreateBody {
            user: Some(format!("{uid}:{uid}")),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            host_config: Some(host),
            ..self.common(image)
        }
    }

    /// A container that is never started: it only gives a way into the guest's volume.
    pub(super) fn carrier(&self, image: &Facts) -> ContainerCreateBody {
        let host_config = Some(self.host(image, false));
        ContainerCreateBody { host_config, ..self.common(image) }
    }

    fn common(&self, image: &Facts) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(image.id.clone()),
            entrypoint: Some(vec![format!("{GUEST_DIR}/{GUEST_FILE}")]),
            cmd: Some(Vec::new()),
            env: Some(image.variables.iter().map(|name| format!("{name}=")).collect()),
            working_dir: Some("/".into()),
            hostname: Some(hardening::HOSTNAME.into()),
            tty: Some(false),
            network_disabled: Some(true),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".into()]),
                ..Default::default()
            }),
            stop_signal: Some("SIGKILL".into()),
            labels: Some(self.labels.clone()),
            ..Default::default()
        }
    }

    fn host(&self, image: &Facts, read_only_guest: bool) -> HostConfig {
        let guest = Mount {
            typ: Some(MountType::VOLUME),
            source: Some(self.guest_volume.clone()),
            target: Some(GUEST_DIR.into()),
            read_only: Some(read_only_guest),
            volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
            ..Default::default()
        };
        HostConfig {
            mounts: Some(
                std::iter::once(guest)
                    .chain(image.volumes.iter().map(|path| cover(path)))
                    .collect(),
            ),
            network_mode: Some("none".into()),
            // No shared memory of the daemon's making: `/dev/shm` is a tmpfs of ours.
            ipc_mode: Some("none".into()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            cap_drop: Some(vec!["ALL".into()]),
            privileged: Some(false),
            init: Some(false),
            auto_remove: Some(false),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                ..Default::default()
            }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".into()),
                ..Default::default()
            }),
            runtime: self.runtime.clone(),
            ..Default::default()
        }
    }
}

/// The limits that can be changed while a container waits, and no more than those. Memory and swap
/// go together: a daemon refuses one that contradicts the other.
pub(super) fn limits(spec: &ContainerSpec) -> ContainerUpdateBody {
    ContainerUpdateBody {
        memory: Some(number(spec.memory)),
        // With swap included: none.
        memory_swap: Some(number(spec.memory)),
        cpu_period: Some(number(hardening::CPU_PERIOD_US)),
        cpu_quota: Some(number(hardening::cpu_quota_us(spec.cpu_millis))),
        pids_limit: Some(spec.pids.into()),
        ..Default::default()
    }
}

/// All the processor time there is.
pub(super) fn no_throttle() -> ContainerUpdateBody {
    ContainerUpdateBody { cpu_quota: Some(-1), ..Default::default() }
}

/// An empty read-only tmpfs where the image declares a volume: without it the daemon makes a
/// writable one on the host's disk.
fn cover(path: &str) -> Mount {
    Mount {
        typ: Some(MountType::TMPFS),
        target: Some(path.to_owned()),
        read_only: Some(true),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: Some(4096),
            mode: Some(COVER_MODE),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The guest's volume has the file, and only newer daemons mount a single one of a volume's.
fn names(hosts: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(hosts.to_owned()),
        target: Some(HOSTS.into()),
        read_only: Some(true),
        ..Default::default()
    }
}

fn ulimit((name, value): &(&str, u64)) -> ResourcesUlimits {
    let value = number(*value);
    ResourcesUlimits { name: Some((*name).into()), soft: Some(value), hard: Some(value) }
}

/// The API's numbers are signed.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::registry::Image;

    const WANTED: &str = r#"{
    "Image": "sha256:1d",
    "Hostname": "oncebox",
    "User": "20001:20001",
    "AttachStdin": true,
    "AttachStdout": true,
    "AttachStderr": true,
    "OpenStdin": true,
    "StdinOnce": true,
    "Tty": false,
    "Entrypoint": ["/.oncebox/oncebox-guest"],
    "Cmd": [],
    "Env": ["PATH=", "LD_PRELOAD="],
    "WorkingDir": "/",
    "NetworkDisabled": true,
    "Healthcheck": { "Test": ["NONE"] },
    "StopSignal": "SIGKILL",
    "Labels": {
        "org.oncebox.instance": "0190",
        "org.oncebox.owner": "boot:1:10:5"
    },
    "HostConfig": {
        "Memory": 268435456,
        "MemorySwap": 268435456,
        "MemorySwappiness": 0,
        "CpuPeriod": 100000,
        "CpuQuota": 50000,
        "PidsLimit": 64,
        "Ulimits": [
            { "Name": "core", "Soft": 1, "Hard": 1 },
            { "Name": "fsize", "Soft": 1073741824, "Hard": 1073741824 },
            { "Name": "memlock", "Soft": 65536, "Hard": 65536 },
            { "Name": "msgqueue", "Soft": 0, "Hard": 0 },
            { "Name": "nofile", "Soft": 1024, "Hard": 1024 },
            { "Name": "sigpending", "Soft": 1024, "Hard": 1024 }
        ],
        "OomScoreAdj": 500,
        "ReadonlyRootfs": true,
        "Tmpfs": {
            "/tmp": "rw,nosuid,nodev,exec,size=67108864,nr_inodes=16384,mode=1777,uid=20001,gid=20001",
            "/dev/shm": "rw,nosuid,nodev,noexec,size=16777216,nr_inodes=1024,mode=1777"
        },
        "Mounts": [
            {
                "Type": "volume",
                "Source": "oncebox-guest-0123456789abcdef",
                "Target": "/.oncebox",
                "ReadOnly": true,
                "VolumeOptions": { "NoCopy": true }
            },
            {
                "Type": "tmpfs",
                "Target": "/data",
                "ReadOnly": true,
                "TmpfsOptions": { "SizeBytes": 4096, "Mode": 365 }
            },
            {
                "Type": "bind",
                "Source": "/v/hosts",
                "Target": "/etc/hosts",
                "ReadOnly": true
            }
        ],
        "MaskedPaths": [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/key-users",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
            "/dev/mqueue",
            "/dev/pts",
            "/sys/devices/system/cpu/cpu0/thermal_throttle",
            "/sys/devices/system/cpu/cpu1/thermal_throttle"
        ],
        "ReadonlyPaths": [
            "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
        ],
        "SecurityOpt": ["no-new-privileges", "seccomp={}"],
        "CapDrop": ["ALL"],
        "Privileged": false,
        "NetworkMode": "none",
        "IpcMode": "none",
        "CgroupnsMode": "private",
        "Init": false,
        "AutoRemove": false,
        "RestartPolicy": { "Name": "no" },
        "LogConfig": { "Type": "none" },
        "Runtime": "runsc"
    }
}"#;

    pub(in crate::engine::docker) fn profile() -> Profile {
        Profile {
            labels: HashMap::from([
                (INSTANCE_LABEL.into(), "0190".into()),
                (OWNER_LABEL.into(), "boot:1:10:5".into()),
            ]),
            guest_volume: "oncebox-guest-0123456789abcdef".into(),
            runtime: Some("runsc".into()),
            swappiness: true,
            processors: 2,
            seccomp: "{}".into(),
        }
    }

    pub(in crate::engine::docker) fn facts() -> Facts {
        Facts {
            id: "sha256:1d".into(),
            variables: vec!["PATH".into(), "LD_PRELOAD".into()],
            volumes: vec!["/data".into()],
        }
    }

    pub(in crate::engine::docker) fn spec() -> ContainerSpec {
        let reference = "busybox".parse().unwrap();
        ContainerSpec {
            image: Image { reference, digest: Some("sha256:1d".into()), ..Image::host() },
            memory: 256 << 20,
            cpu_millis: 500,
            pids: 64,
            tmp: 64 << 20,
        }
    }

    #[test]
    fn the_whole_request() {
        let body = serde_json::to_value(profile().container(&spec(), &facts(), 20_001, "/v/hosts"))
            .unwrap();
        assert_eq!(body, serde_json::from_str::<serde_json::Value>(WANTED).unwrap());
    }

    #[test]
    fn swappiness_is_only_asked_for_where_it_exists() {
        let profile = Profile { swappiness: false, runtime: None, ..profile() };
        let host = profile.container(&spec(), &facts(), 20_001, "/v/hosts").host_config.unwrap();
        assert_eq!((host.memory_swappiness, host.runtime), (None, None));
    }

    #[test]
    fn the_carrier_may_write_into_the_volume_and_is_closed_otherwise() {
        let body = profile().carrier(&facts());
        let host = body.host_config.unwrap();
        let mounts = host.mounts.unwrap();
        let writable: Vec<_> = mounts.iter().map(|m| m.read_only != Some(true)).collect();
        assert_eq!(writable, [true, false]);
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(body.env.unwrap(), ["PATH=", "LD_PRELOAD="]);
    }
}
