//! Settings: flag over environment over file over default, validated as a whole before anything
//! starts. A bad value names its key, itself, where it came from and the rule it breaks.

mod access;
mod error;
mod executions;
mod forward;
mod http;
mod images;
mod keys;
mod layers;
mod machine;
mod pools;
mod runtimes;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use access::{address_to_ask, keys_file};
pub use error::{Origin, SettingsError};
pub use executions::ExecutionSettings;
pub use forward::ForwardSettings;
pub use http::{HttpSettings, Timeouts};
pub use images::{ImageSettings, Naming};
pub use keys::{KEYS, Key};
pub use layers::Flags;
pub use machine::Machine;
pub use pools::Pools;
pub use runtimes::RuntimeSettings;

use crate::api::access::AccessOptions;
use crate::engine::native::Unenforced;
use crate::execution::admission::AdmissionOptions;
use crate::execution::limits::{Ceilings, Limits};
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::AskedLimits;
use crate::execution::{Rejection, RejectionCode};
use crate::registry::Reference;
use values::Values;

/// Everything the operator can say, valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    pub access: AccessOptions,
    pub engine: EngineChoice,
    pub docker_host: Option<String>,
    /// Docker's runtime; `None` is the daemon's own default.
    pub runtime: Option<String>,
    /// Limits that need not hold where the host can't enforce them; native engine only.
    pub accept_unenforced: Vec<Unenforced>,
    /// `None` keeps the user the service was started as.
    pub user: Option<User>,
    /// `None` is the engine's own default.
    pub base_image: Option<Reference>,
    pub images: ImageSettings,
    pub ceilings: Ceilings,
    pub admission: AdmissionOptions,
    pub executions: ExecutionSettings,
    pub forward: ForwardSettings,
    pub runtimes: RuntimeSettings,
    pub pools: Pools,
    /// Bytes.
    pub max_body: usize,
    pub http: HttpSettings,
    pub drain_timeout: Duration,
    pub log_level: tracing::Level,
    pub log_format: LogFormat,
}

/// Which engine makes the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// Native where its self-check passes, else Docker where it answers.
    Auto,
    Native,
    Docker,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Whom to serve HTTP as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// A name of `/etc/passwd`, with its uid and gid.
    Name(String),
    /// Numbers; the group is the uid's own number where none is given.
    Ids { uid: u32, gid: u32 },
}

impl Settings {
    /// Reads all layers. `variable` looks an environment variable up.
    ///
    /// # Errors
    /// [`SettingsError`] for the first setting that can't be used.
    pub fn load(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
        machine: &Machine,
    ) -> Result<Self, SettingsError> {
        let mut values = Values(layers::read(flags, &variable)?);
        images::refuse_credentials(&values)?;
        images::default_folders(&mut values, machine, &variable);
        let engine = values.need("engine", engine)?;
        let cores = match engine {
            EngineChoice::Docker => machine.processors,
            EngineChoice::Native | EngineChoice::Auto => machine.cores,
        };
        let machine = &Machine { cores, ..*machine };
        values.default_to("max_cpu_limit", machine.cores.to_string());
        let ceilings = ceilings(&values)?;
        let naming = images::naming(&values)?;
        let runtimes = runtimes::runtimes(&values, ceilings, naming)?;
        let mut pools = pools::pools(&values, &ceilings, machine, runtimes.waiting())?;
        let admission = admission(&values, &ceilings, &pools, machine)?;
        // What runs has the first right to process ids.
        if let Some(budget) = &mut pools.budget {
            let running =
                (admission.max_concurrent as u64).saturating_mul(ceilings.max.pids.into());
            budget.pids = budget.pids.saturating_sub(running);
        }
        pools.measure(&ceilings);
        let base_image: Option<Reference> =
            values.get("base_image", |text| text.parse().map_err(|e| format!("{e}")))?;
        let offered = runtimes.offered.runtimes.iter().map(|runtime| &runtime.image);
        let named = base_image.iter().chain(offered);
        let images = images::images(&values, named, &mut pools.custom)?;
        let address = access::address(&values)?;
        Ok(Self {
            address,
            access: access::access(&values, address)?,
            engine,
            docker_host: values.text("docker_host"),
            runtime: values.get("runtime", runtime)?,
            accept_unenforced: values.get("accept_unenforced", unenforced)?.unwrap_or_default(),
            user: values.get("user_name", user)?,
            base_image,
            images,
            runtimes,
            pools,
            admission,
            executions: executions::executions(&values)?,
            forward: forward::forward(&values, &variable)?,
            ceilings,
            max_body: values.need("max_body", |text| {
                let bytes = size(text)?;
                usize::try_from(bytes)
                    .map_err(|_| "that is more than this machine can address".into())
            })?,
            http: http::http(&values)?,
            drain_timeout: values.need("drain_timeout", seconds)?,
            log_level: values.need("log_level", |text| {
                text.parse().map_err(|_| "write error, warn, info, debug or trace".into())
            })?,
            log_format: values.need("log_format", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("write text or json".into()),
            })?,
        })
    }
}

fn ceilings(values: &Values) -> Result<Ceilings, SettingsError> {
    let default = Limits {
        timeout: values.need("timeout", seconds)?,
        memory: values.need("memory_limit", size)?,
        cpu_millis: values.need("cpu_limit", cpu)?,
        pids: values.need("pids_limit", count)?,
        tmp: values.need("tmp_size", size)?,
        output: values.need("output_limit", size)?,
    };
    let max = Limits {
        timeout: values.need("max_timeout", seconds)?,
        memory: values.need("max_memory_limit", size)?,
        cpu_millis: values.need("max_cpu_limit", cpu)?,
        pids: values.need("max_pids_limit", count)?,
        tmp: values.need("max_tmp_size", size)?,
        output: values.need("max_output_limit", size)?,
    };
    let ceilings = Ceilings { default, max };
    ceilings.hold(&AskedLimits::default()).map_err(|Rejection { code, field, detail }| {
        // The ceiling, whose name ends the detail, may be the one to change.
        let ceiling = match code {
            RejectionCode::LimitExceeded => {
                format!(" {}", values.describe(&format!("max_{field}")))
            }
            _ => String::new(),
        };
        values.refused(field, &format!("{detail}{ceiling}"))
    })?;
    Ok(ceilings)
}

fn admission(
    values: &Values,
    ceilings: &Ceilings,
    pools: &Pools,
    machine: &Machine,
) -> Result<AdmissionOptions, SettingsError> {
    // Every process of every container needs a pid of the whole machine's: half of them are ours.
    let waiting = pools.floor().saturating_mul(ceilings.default.pids.into());
    let left = (machine.pid_max / 2).saturating_sub(waiting);
    let by_pids = (left / u64::from(ceilings.max.pids.max(1))).max(1);
    let by_memory = (machine.memory / 2 / ceilings.default.memory.max(1)).max(1);
    let by_cores = machine.cores as u64 * 4;
    let most = by_cores.min(by_memory).min(by_pids);
    let asked = values.get("max_concurrent", count)?;
    let max_concurrent = asked.map_or(most, u64::from);
    if max_concurrent > by_pids {
        let rule = format!(
            "with MAX_PIDS_LIMIT {} and {} containers waiting that is more than half of this \
             machine's {} process ids; write at most {by_pids}, or raise /proc/sys/kernel/pid_max",
            ceilings.max.pids,
            pools.floor(),
            machine.pid_max
        );
        return Err(values.refused("max_concurrent", &rule));
    }
    Ok(AdmissionOptions {
        max_concurrent: usize::try_from(max_concurrent).unwrap_or(usize::MAX),
        queue_limit: values
            .need("queue_limit", |text| text.parse().map_err(|_| "write a whole number".into()))?,
        queue_timeout: values.need("queue_timeout", seconds)?,
    })
}

fn engine(text: &str) -> Result<EngineChoice, String> {
    match text {
        "auto" => Ok(EngineChoice::Auto),
        "native" => Ok(EngineChoice::Native),
        "docker" => Ok(EngineChoice::Docker),
        _ => Err("write auto, native or docker".into()),
    }
}

fn runtime(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write the name under which Docker knows the runtime".into())
    }
}

fn unenforced(text: &str) -> Result<Vec<Unenforced>, String> {
    let one = |name: &str| match name.trim() {
        "memory" => Ok(Unenforced::Memory),
        "cpu" => Ok(Unenforced::Cpu),
        "pids" => Ok(Unenforced::Pids),
        _ => Err("write a list of memory, cpu and pids".to_owned()),
    };
    text.split(',').map(one).collect()
}

fn user(text: &str) -> Result<User, String> {
    let rule = || "write a name of /etc/passwd, or UID[:GID] other than 0".to_owned();
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    match uid.parse::<u32>() {
        Ok(uid) => {
            let gid = gid.map_or(Ok(uid), |gid| gid.parse().map_err(|_| rule()))?;
            if uid == 0 || gid == 0 { Err(rule()) } else { Ok(User::Ids { uid, gid }) }
        }
        Err(_) if gid.is_none() && !text.is_empty() => Ok(User::Name(text.to_owned())),
        Err(_) => Err(rule()),
    }
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.parse().map(|Size(bytes)| bytes).map_err(|e| e.to_string())
}

pub(crate) fn cpu(text: &str) -> Result<u32, String> {
    text.parse().map(|Cpu(millis)| millis).map_err(|e| e.to_string())
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(|Seconds(time)| time).map_err(|e| e.to_string())
}

pub(crate) fn count(text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|n| *n > 0);
    number.ok_or_else(|| "write a whole number above 0".into())
}

#[cfg(test)]
mod tests;
