//! What the daemon says it made, held against what was asked for.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody};
use serde_json::{Map, Value, json};

/// Fields that the daemon fills in from the image or from its own defaults, and why they may
/// differ. Every other field is either what was asked for or empty.
const FREE: &[&str] = &[
    // The image's; without a network there is nothing to expose.
    "Config.ExposedPorts",
    // Instructions for builds.
    "Config.OnBuild",
    "Config.Shell",
    // The image's declarations; what became of them is in the row `Mounts`.
    "Config.Volumes",
    // The image's labels stand beside ours; ours have rows of their own.
    "Config.Labels",
    // The image's times stand beside our `NONE`, and time nothing; that has a row of its own.
    "Config.Healthcheck",
    // The daemon's default for a `/dev/shm` that this container does not have.
    "HostConfig.ShmSize",
];

/// One field: its name, what was asked for, what the daemon says.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    field: String,
    wanted: Value,
    found: Value,
}

/// Compares a container that was created and not yet started with its request.
///
/// # Errors
/// A sentence that names the first field that differs.
pub(super) fn check(
    wanted: &ContainerCreateBody,
    found: &ContainerInspectResponse,
) -> Result<(), String> {
    verdict(&rows(wanted, found).map_err(unreadable)?)
}

/// Compares a container that waits with the limits it was given since.
///
/// # Errors
/// As [`check`]; also when it does not run any more.
pub(super) fn check_limits(
    wanted: &ContainerUpdateBody,
    found: &ContainerInspectResponse,
) -> Result<(), String> {
    let limits = object(serde_json::to_value(wanted).map_err(unreadable)?);
    let host = object(serde_json::to_value(&found.host_config).map_err(unreadable)?);
    let running = found.state.as_ref().and_then(|state| state.running);
    let running = Row { field: "State.Running".into(), wanted: json!(true), found: json!(running) };
    let limits = limits.into_iter().map(|(name, wanted)| Row {
        field: format!("HostConfig.{name}"),
        wanted,
        found: host.get(&name).cloned().unwrap_or_default(),
    });
    verdict(&std::iter::once(running).chain(limits).collect::<Vec<_>>())
}

fn verdict(rows: &[Row]) -> Result<(), String> {
    match rows.iter().find(|row| !agrees(&row.wanted, &row.found)) {
        None => Ok(()),
        Some(Row { field, wanted, found }) => {
            let (found, wanted) = (shown(found), shown(wanted));
            Err(format!("the daemon made {field} {found}, wanted {wanted}"))
        }
    }
}

fn unreadable(error: serde_json::Error) -> String {
    format!("the daemon's answer is unreadable: {error}")
}

/// A value for the log; a whole seccomp profile is too long for it.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 300;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The table: every field of the request and every field of the answer.
fn rows(
    wanted: &ContainerCreateBody,
    found: &ContainerInspectResponse,
) -> Result<Vec<Row>, serde_json::Error> {
    let mut config = object(serde_json::to_value(wanted)?);
    let host = object(config.remove("HostConfig").unwrap_or_default());
    let found_config = object(serde_json::to_value(&found.config)?);
    let found_host = object(serde_json::to_value(&found.host_config)?);

    let mut rows = vec![
        Row { field: "Image".into(), wanted: json!(wanted.image), found: json!(found.image) },
        mounts(&host, found)?,
    ];
    let test = |config: &Map<String, Value>| {
        config.get("Healthcheck").map_or(Value::Null, |check| check["Test"].clone())
    };
    rows.push(Row {
        field: "Config.Healthcheck.Test".into(),
        wanted: test(&config),
        found: test(&found_config),
    });
    for (label, value) in wanted.labels.iter().flatten() {
        let found = found.config.as_ref().and_then(|config| config.labels.as_ref()?.get(label));
        rows.push(Row {
            field: format!("Config.Labels.{label}"),
            wanted: json!(value),
            found: json!(found),
        });
    }
    rows.extend(pair("Config", &config, &found_config));
    rows.extend(pair("HostConfig", &host, &found_host));
    Ok(rows)
}

fn pair<'a>(
    section: &'a str,
    wanted: &'a Map<String, Value>,
    found: &'a Map<String, Value>,
) -> impl Iterator<Item = Row> + 'a {
    let only_found = found.keys().filter(|key| !wanted.contains_key(*key));
    wanted.keys().chain(only_found).filter_map(move |key| {
        let field = format!("{section}.{key}");
        let row = |wanted: Option<&Value>, found: Option<&Value>| Row {
            field: field.clone(),
            wanted: wanted.cloned().unwrap_or_default(),
            found: found.cloned().unwrap_or_default(),
        };
        let wanted = wanted.get(key);
        // Without a runtime of the operator's choice the daemon names its default.
        let default_runtime = field == "HostConfig.Runtime" && wanted.is_none();
        let free = FREE.contains(&field.as_str()) || default_runtime;
        (!free).then(|| row(wanted, found.get(key)))
    })
}

/// What is mounted where, in order of the path: nothing but what the request lists.
fn mounts(
    host: &Map<String, Value>,
    found: &ContainerInspectResponse,
) -> Result<Row, serde_json::Error> {
    let line = |typ: &Value, source: &Value, target: &Value, writable: bool| {
        json!([target, typ, source, if writable { "rw" } else { "ro" }])
    };
    let wanted = host.get("Mounts").and_then(Value::as_array).into_iter().flatten().map(|mount| {
        line(&mount["Type"], &mount["Source"], &mount["Target"], mount["ReadOnly"] != json!(true))
    });
    let points = serde_json::to_value(found.mounts.as_deref().unwrap_or_default())?;
    let found = points.as_array().into_iter().flatten().map(|point| {
        let writable = point["RW"] != json!(false);
        // Only a volume has a name.
        let source = if point["Type"] == json!("bind") { &point["Source"] } else { &point["Name"] };
        line(&point["Type"], source, &point["Destination"], writable)
    });
    let sorted = |lines: Vec<Value>| {
        let mut lines = lines;
        lines.sort_by_key(ToString::to_string);
        Value::Array(lines)
    };
    Ok(Row {
        field: "Mounts".into(),
        wanted: sorted(wanted.collect()),
        found: sorted(found.collect()),
    })
}

/// What is asked for must be there, and what is not asked for must be absent: null, no, zero or
/// empty.
fn agrees(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .keys()
            .chain(found.keys())
            .all(|key| agrees(member(wanted, key), member(found, key))),
        (Value::Array(wanted), Value::Array(found)) if !wanted.is_empty() => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(w, f)| agrees(w, f))
        }
        // A number that was asked for is asked for even when it is zero.
        (Value::Number(_), _) => wanted == found,
        _ if nothing(wanted) => nothing(found),
        _ => wanted == found,
    }
}

fn member<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    object.get(key).unwrap_or(&Value::Null)
}

fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(nothing),
        Value::Object(members) => members.values().all(nothing),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker::request::limits;
    use crate::engine::docker::request::tests::{facts, profile, spec};

    fn request() -> ContainerCreateBody {
        profile().container(&spec(), &facts(), 20_001, "/v/hosts")
    }

    /// What Docker 20.10 answers to [`request`].
    fn answer() -> Value {
        let mut config = object(serde_json::to_value(request()).unwrap());
        let mut host = config.remove("HostConfig").unwrap();
        // What the daemon adds of its own.
        host["LogConfig"]["Config"] = json!({});
        host["RestartPolicy"]["MaximumRetryCount"] = json!(0);
        host["ShmSize"] = json!(67_108_864);
        host["ConsoleSize"] = json!([0, 0]);
        host["Binds"] = json!(null);
        host["CapAdd"] = json!(null);
        host["UsernsMode"] = json!("");
        host["OomKillDisable"] = json!(false);
        let mut config = Value::Object(config);
        config["Labels"]["maintainer"] = json!("somebody");
        config["Healthcheck"]["Interval"] = json!(30_000_000_000_u64);
        config["ExposedPorts"] = json!({ "80/tcp": {} });
        config["Volumes"] = json!({ "/data": {} });
        config["OnBuild"] = json!(null);
        json!({
            "Image": "sha256:1d",
            "Config": config,
            "HostConfig": host,
            "Mounts": [
                { "Type": "tmpfs", "Source": "", "Destination": "/data", "RW": false },
                {
                    "Type": "bind",
                    "Source": "/v/hosts",
                    "Destination": "/etc/hosts",
                    "Mode": "",
                    "RW": false,
                    "Propagation": "rprivate",
                },
                {
                    "Type": "volume",
                    "Name": "oncebox-guest-0123456789abcdef",
                    "Source": "/var/lib/docker/volumes/oncebox-guest-0123456789abcdef/_data",
                    "Destination": "/.oncebox",
                    "Driver": "local",
                    "Mode": "z",
                    "RW": false,
                },
            ],
        })
    }

    fn verdict(answer: Value) -> Result<(), String> {
        check(&request(), &serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn what_was_asked_for_is_accepted() {
        assert_eq!(verdict(answer()), Ok(()));
    }

    #[test]
    fn every_doctored_field_is_refused_by_name() {
        let doctored = [
            ("/Image", json!("sha256:0ther")),
            ("/Config/User", json!("0:0")),
            ("/Config/User", json!("")),
            ("/Config/Entrypoint", json!(["/bin/sh"])),
            ("/Config/Cmd", json!(["-c", "x"])),
            ("/Config/Env", json!(["PATH=", "LD_PRELOAD=/x.so"])),
            ("/Config/Env", json!(["PATH=", "LD_PRELOAD=", "MORE=1"])),
            ("/Config/Tty", json!(true)),
            ("/Config/OpenStdin", json!(false)),
            ("/Config/StdinOnce", json!(false)),
            ("/Config/NetworkDisabled", json!(false)),
            ("/Config/Healthcheck", json!({ "Test": ["CMD", "/x"] })),
            ("/Config/Labels/org.oncebox.owner", json!("x")),
            ("/Config/Labels/org.oncebox.instance", json!("")),
            ("/HostConfig/Memory", json!(0)),
            ("/HostConfig/MemorySwap", json!(-1)),
            ("/HostConfig/MemorySwappiness", json!(null)),
            ("/HostConfig/CpuQuota", json!(0)),
            ("/HostConfig/CpuPeriod", json!(50_000)),
            ("/HostConfig/PidsLimit", json!(null)),
            ("/HostConfig/Ulimits", json!([])),
            ("/HostConfig/Ulimits/0/Hard", json!(9)),
            ("/HostConfig/OomScoreAdj", json!(0)),
            ("/HostConfig/OomKillDisable", json!(true)),
            ("/HostConfig/ReadonlyRootfs", json!(false)),
            ("/HostConfig/Tmpfs", json!({})),
            ("/HostConfig/Tmpfs/~1tmp", json!("rw")),
            ("/HostConfig/MaskedPaths", json!([])),
            ("/HostConfig/ReadonlyPaths", json!(null)),
            ("/HostConfig/SecurityOpt", json!(["no-new-privileges", "seccomp=unconfined"])),
            ("/HostConfig/SecurityOpt", json!(["seccomp={}"])),
            ("/HostConfig/CapDrop", json!(null)),
            ("/HostConfig/CapAdd", json!(["SYS_ADMIN"])),
            ("/HostConfig/Privileged", json!(true)),
            ("/HostConfig/NetworkMode", json!("bridge")),
            ("/HostConfig/IpcMode", json!("host")),
            ("/HostConfig/CgroupnsMode", json!("host")),
            ("/HostConfig/CgroupParent", json!("/")),
            ("/HostConfig/Init", json!(true)),
            ("/HostConfig/AutoRemove", json!(true)),
            ("/HostConfig/RestartPolicy/Name", json!("always")),
            ("/HostConfig/LogConfig/Type", json!("json-file")),
            ("/HostConfig/Runtime", json!("runc")),
            ("/HostConfig/Binds", json!(["/:/host"])),
            ("/HostConfig/PidMode", json!("host")),
            ("/HostConfig/UTSMode", json!("host")),
            ("/HostConfig/UsernsMode", json!("host")),
            ("/HostConfig/GroupAdd", json!(["0"])),
            ("/HostConfig/Sysctls", json!({ "net.ipv4.ip_forward": "1" })),
            ("/HostConfig/Devices", json!([{ "PathOnHost": "/dev/kmsg" }])),
            ("/HostConfig/DeviceCgroupRules", json!(["c *:* rwm"])),
            ("/HostConfig/VolumesFrom", json!(["other"])),
            ("/HostConfig/ExtraHosts", json!(["a:1.2.3.4"])),
            ("/HostConfig/PublishAllPorts", json!(true)),
            ("/HostConfig/Mounts", json!([])),
            ("/Mounts", json!([])),
            ("/Mounts/0/RW", json!(true)),
            ("/Mounts/0/Type", json!("volume")),
            ("/Mounts/1/RW", json!(true)),
            ("/Mounts/1/Source", json!("/v/another")),
            ("/Mounts/2/RW", json!(true)),
            ("/Mounts/2/Name", json!("another")),
            ("/Mounts/2/Type", json!("bind")),
        ];
        for (pointer, value) in doctored {
            let mut answer = answer();
            set(&mut answer, pointer, value.clone());
            let Err(refusal) = verdict(answer) else { panic!("{pointer} = {value} was accepted") };
            let mut words = pointer.trim_start_matches('/').split('/');
            let section = words.next().unwrap();
            let field = words.next().filter(|_| section != "Mounts");
            let named = field.map_or(section.to_owned(), |field| format!("{section}.{field}"));
            assert!(refusal.contains(&named), "{pointer}: {refusal}");
        }
    }

    #[test]
    fn a_volume_that_was_not_asked_for_is_refused() {
        let mut answer = answer();
        let volume = json!({ "Type": "volume", "Name": "9f", "Destination": "/x", "RW": true });
        answer["Mounts"].as_array_mut().unwrap().push(volume);
        assert!(verdict(answer).unwrap_err().contains("Mounts"));
    }

    #[test]
    fn every_limit_of_a_waiting_container_is_held_against_what_it_was_given() {
        let wanted = limits(&spec());
        let check = |answer: &Value| {
            check_limits(&wanted, &serde_json::from_value(answer.clone()).unwrap())
        };
        let mut running = answer();
        running["State"] = json!({ "Running": true });
        assert_eq!(check(&running), Ok(()));
        for field in ["Memory", "MemorySwap", "CpuPeriod", "CpuQuota", "PidsLimit"] {
            for value in [json!(1), json!(0), json!(-1), json!(null)] {
                let mut other = running.clone();
                other["HostConfig"][field] = value.clone();
                let refusal = check(&other).unwrap_err();
                let made = format!("the daemon made HostConfig.{field} {value}, wanted ");
                assert!(refusal.contains(&made), "{refusal}");
            }
        }
        let refusal = check(&answer()).unwrap_err();
        assert!(refusal.contains("State.Running null, wanted true"), "{refusal}");
    }

    #[test]
    fn an_empty_answer_is_refused() {
        assert!(verdict(json!({})).is_err());
        let mut configless = answer();
        configless["HostConfig"] = json!(null);
        assert!(verdict(configless).is_err());
    }

    /// Sets a member that need not exist yet.
    fn set(answer: &mut Value, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = answer.pointer_mut(parent).unwrap();
        let key = key.replace("~1", "/");
        match key.parse::<usize>() {
            Ok(index) => parent[index] = value,
            Err(_) => parent[key] = value,
        }
    }
}
