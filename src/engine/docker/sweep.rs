//! Finding what nobody will remove any more.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use futures_util::{StreamExt, stream};

use super::daemon::Daemon;
use super::guest_volume::GuestVolume;
use super::removal::Remover;
use super::request::{INSTANCE_LABEL, OWNER_LABEL};
use crate::engine::owner::{Owner, Process, Standing};

/// Every container of ours is called this, its instance and a number.
pub(super) const NAME_PREFIX: &str = "oncebox-";
/// How often a living service looks again.
const EVERY: Duration = Duration::from_secs(60);
/// A container that was created that long ago and never started is abandoned, whoever made it.
const NEVER_STARTED: Duration = Duration::from_secs(60);

/// Sweeps now and every minute, for as long as it is polled; once, when the leftovers are gone, the
/// volumes that only they still used.
pub(super) async fn sweep(
    daemon: Arc<Daemon>,
    remover: Arc<Remover>,
    this: This,
    guest_volume: String,
) {
    let mut first = true;
    loop {
        match daemon.list(OWNER_LABEL).await {
            Ok(containers) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let found = containers.iter().filter_map(Found::read);
                // Asked after the list came: what was in it and is unknown now has been removed.
                let unheld = found.filter(|found| !remover.knows(found.name));
                let left = unheld.filter(|found| this.may_remove(found, now, Process::look));
                let removals = stream::iter(left).for_each_concurrent(None, |found| {
                    tracing::info!(container = found.name, "removing a leftover");
                    remover.discard(found.name.to_owned())
                });
                removals.await;
                if std::mem::take(&mut first) {
                    GuestVolume::remove_others(&daemon, &guest_volume).await;
                }
            }
            Err(error) => tracing::warn!(%error, "could not look for leftovers"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The service process that sweeps.
#[derive(Debug, Clone)]
pub(super) struct This {
    pub(super) instance: String,
    pub(super) owner: Owner,
}

/// What a list tells about one container.
#[derive(Debug, Clone)]
struct Found<'a> {
    name: &'a str,
    instance: &'a str,
    owner: Owner,
    state: Option<State>,
    /// Since the epoch, by the daemon's clock.
    created: Duration,
}

impl<'a> Found<'a> {
    /// `None` for a container that only looks like one of ours.
    fn read(summary: &'a ContainerSummary) -> Option<Self> {
        let names = summary.names.iter().flatten();
        let name = names
            .filter_map(|name| name.strip_prefix('/'))
            .find(|name| name.starts_with(NAME_PREFIX))?;
        let labels = summary.labels.as_ref()?;
        let created = summary.created.and_then(|seconds| u64::try_from(seconds).ok());
        Some(Self {
            name,
            instance: labels.get(INSTANCE_LABEL)?,
            owner: labels.get(OWNER_LABEL)?.parse().ok()?,
            state: summary.state,
            created: Duration::from_secs(created?),
        })
    }
}

impl This {
    /// Whether a container that no guard of ours holds is left over for certain.
    fn may_remove(&self, found: &Found<'_>, now: Duration, look: impl Fn(u32) -> Process) -> bool {
        if found.instance == self.instance {
            return true;
        }
        match found.owner.standing(&self.owner, look) {
            Standing::Dead => true,
            Standing::Alive => false,
            // Its guest ends when its service does, so what still runs may be a living one's.
            Standing::Unknown => match found.state {
                Some(State::EXITED | State::DEAD) => true,
                Some(State::CREATED) => now.saturating_sub(found.created) > NEVER_STARTED,
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn this() -> This {
        This { instance: "me".into(), owner: "boot:1:10:5".parse().unwrap() }
    }

    fn summary(instance: &str, owner: &str, state: State, age: i64) -> ContainerSummary {
        ContainerSummary {
            names: Some(vec!["/oncebox-x-1".into()]),
            labels: Some(HashMap::from([
                (INSTANCE_LABEL.into(), instance.into()),
                (OWNER_LABEL.into(), owner.into()),
            ])),
            state: Some(state),
            created: Some(1_000_000 - age),
            ..Default::default()
        }
    }

    /// Pid 11 runs and began at 7; no other process does.
    fn look(pid: u32) -> Process {
        if pid == 11 { Process::Running { started: 7 } } else { Process::Gone }
    }

    #[test]
    fn only_what_is_left_over_for_certain_is_removed() {
        const LIVING: &str = "boot:1:11:7";
        const REUSED: &str = "boot:1:11:6";
        const DEAD: &str = "boot:1:12:7";
        const ELSEWHERE: &str = "other:1:11:7";
        let table = [
            ("me", "boot:1:10:5", State::RUNNING, 0, true),
            ("me", "boot:1:10:5", State::CREATED, 0, true),
            ("other", LIVING, State::RUNNING, 900, false),
            ("other", LIVING, State::CREATED, 900, false),
            ("other", LIVING, State::EXITED, 900, false),
            ("other", REUSED, State::RUNNING, 0, true),
            ("other", DEAD, State::RUNNING, 0, true),
            ("other", DEAD, State::CREATED, 0, true),
            ("other", DEAD, State::EXITED, 0, true),
            ("other", ELSEWHERE, State::RUNNING, 900, false),
            ("other", ELSEWHERE, State::PAUSED, 900, false),
            ("other", ELSEWHERE, State::CREATED, 60, false),
            ("other", ELSEWHERE, State::CREATED, 61, true),
            ("other", ELSEWHERE, State::CREATED, -5, false),
            ("other", ELSEWHERE, State::EXITED, 0, true),
            ("other", ELSEWHERE, State::DEAD, 0, true),
        ];
        for (instance, owner, state, age, removed) in table {
            let summary = summary(instance, owner, state, age);
            let found = Found::read(&summary).unwrap();
            let row = format!("{instance} {owner} {state} {age}");
            assert_eq!(this().may_remove(&found, NOW, look), removed, "{row}");
        }
    }

    #[test]
    fn a_container_that_only_looks_like_ours_is_not_read() {
        let ours = summary("other", "boot:1:12:7", State::EXITED, 0);
        assert!(Found::read(&ours).is_some());
        let named = ContainerSummary { names: Some(vec!["/web".into()]), ..ours.clone() };
        assert!(Found::read(&named).is_none());
        let owner = summary("other", "somebody", State::EXITED, 0);
        assert!(Found::read(&owner).is_none());
        let bare = ContainerSummary { labels: None, ..ours };
        assert!(Found::read(&bare).is_none());
    }
}
