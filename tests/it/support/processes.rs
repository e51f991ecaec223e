//! The processes of a service.

use std::time::Duration;

use super::{Engine, Service, host, until};

/// Guests of this service's containers, by their pids outside.
pub fn guests(service: &Service, engine: Engine) -> Vec<u32> {
    let is_guest = |pid: &u32| {
        host::status(*pid, "NSpid").is_some_and(|inner| inner.ends_with("\t1"))
            && host::proc_link(*pid, "exe").is_some_and(|exe| exe.contains("oncebox-guest"))
    };
    match engine {
        Engine::Native => host::descendants(service.pid()).into_iter().filter(is_guest).collect(),
        Engine::Docker => {
            let ours = format!(":{}:", service.pid());
            let format = "{{.ID}} {{.Label \"org.oncebox.owner\"}}";
            let lines = host::docker(&["ps", "--no-trunc", "--format", format]);
            let ids: Vec<&str> = lines
                .iter()
                .filter(|line| line.contains(&ours))
                .filter_map(|line| line.split(' ').next())
                .collect();
            let is_in_one = |pid: &u32| {
                let cgroup = host::proc(*pid, "cgroup").unwrap_or_default();
                ids.iter().any(|id| cgroup.contains(id))
            };
            host::pids().into_iter().filter(is_guest).filter(is_in_one).collect()
        }
    }
}

/// The service's child that makes the containers.
pub fn spawner_of(service: &Service) -> u32 {
    until("the spawner", Duration::from_secs(5), || {
        let children = host::descendants(service.pid());
        let is_spawner =
            |pid: &u32| host::status(*pid, "Name").as_deref() == Some("oncebox-spawner");
        children.into_iter().find(is_spawner)
    })
}
