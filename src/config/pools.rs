//! What waits ahead: `POOL_SIZE`, `CUSTOM_POOLS`, and the budget of this machine.

use super::{Machine, SettingsError, count, values::Values};
use crate::execution::limits::Ceilings;
use crate::execution::runtime::Room;
use crate::pool::{Budget, FIRST_GUESS, Floor};

/// Containers made ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    /// Of `BASE_IMAGE`.
    pub size: usize,
    /// Of other images.
    pub custom: Vec<Floor>,
    /// Of all runtimes in the operator's file.
    pub runtimes: usize,
    /// For how many there is room, with those of runtimes to come.
    pub room: Room,
    /// The most that may wait, whatever the demand; `None` where nothing is made ahead.
    pub budget: Option<Budget>,
}

impl Pools {
    /// Nothing waits.
    #[must_use]
    pub fn none() -> Self {
        Self { size: 0, custom: Vec::new(), runtimes: 0, room: Room::default(), budget: None }
    }

    /// How many wait at all times.
    pub(super) fn floor(&self) -> u64 {
        self.others().saturating_add(self.runtimes) as u64
    }

    fn others(&self) -> usize {
        let custom = self.custom.iter().map(|floor| floor.count);
        custom.fold(self.size, usize::saturating_add)
    }

    /// Sees for how many there is room, as far as memory and process ids go; what is asked for at
    /// the start has it.
    pub(super) fn measure(&mut self, ceilings: &Ceilings) {
        let Some(Budget { memory, pids }) = self.budget else { return };
        let most = (pids / u64::from(ceilings.default.pids.max(1))).min(memory / FIRST_GUESS);
        let most = usize::try_from(most.max(self.floor())).unwrap_or(usize::MAX);
        self.room = Room { most, others: self.others() };
    }
}

/// Held against half of the machine's process ids: the other half is not ours.
pub(super) fn pools(
    values: &Values,
    ceilings: &Ceilings,
    machine: &Machine,
    runtimes: usize,
) -> Result<Pools, SettingsError> {
    let size: usize = values
        .need("pool_size", |text| text.parse().map_err(|_| "write a whole number".to_owned()))?;
    let custom = values.get("custom_pools", custom)?.unwrap_or_default();
    let mut pools = Pools { size, custom, runtimes, ..Pools::none() };
    let each = u64::from(ceilings.default.pids.max(1));
    // One script at least must be able to run beside them.
    let most = (machine.pid_max / 2).saturating_sub(ceilings.max.pids.into()) / each;
    if pools.floor() > most {
        let name = match () {
            () if pools.size as u64 > most => "pool_size",
            () if pools.others() as u64 > most => "custom_pools",
            () => "runtimes_file",
        };
        let rule = format!(
            "with PIDS_LIMIT {each} at most {most} containers can wait in all, and {} are asked \
             for; write less, or raise /proc/sys/kernel/pid_max from {}",
            pools.floor(),
            machine.pid_max
        );
        return Err(values.refused(name, &rule));
    }
    if pools.floor() > 0 {
        pools.budget = Some(Budget { memory: machine.memory / 4, pids: machine.pid_max / 2 });
    }
    Ok(pools)
}

/// `image:tag=3,other=2`; `image:3` is read as well, so a tag that is a number needs the `=`.
fn custom(text: &str) -> Result<Vec<Floor>, String> {
    let rule = || "write IMAGE=COUNT, and more of them behind commas".to_owned();
    let one = |entry: &str| {
        let entry = entry.trim();
        let (image, number) =
            entry.rsplit_once('=').or_else(|| entry.rsplit_once(':')).ok_or_else(rule)?;
        let count = count(number.trim()).map_err(|_| rule())?;
        let image = image.trim().parse().map_err(|e| format!("{e}"))?;
        Ok(Floor { image, count: count as usize })
    };
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, usize)>, String> {
        let floors = custom(text)?;
        Ok(floors.into_iter().map(|floor| (floor.image.to_string(), floor.count)).collect())
    }

    #[rstest]
    #[case("python:3.12=3", &[("python:3.12", 3)])]
    #[case("python:3", &[("python:latest", 3)])]
    #[case("python:3=2", &[("python:3", 2)])]
    #[case("localhost:5000/a=1", &[("localhost:5000/a:latest", 1)])]
    #[case(
        "a:x=1, b=2,c:3",
        &[
            ("a:x", 1),
            ("b:latest", 2),
            ("c:latest", 3),
        ]
    )]
    fn an_image_and_a_number(#[case] text: &str, #[case] floors: &[(&str, usize)]) {
        let floors = floors.iter().map(|(image, count)| ((*image).to_owned(), *count)).collect();
        assert_eq!(read(text), Ok(floors));
    }

    #[rstest]
    #[case("a")]
    #[case("a=")]
    #[case("a=0")]
    #[case("a=-1")]
    #[case("a=1,")]
    #[case("=1")]
    #[case("A b=1")]
    #[case("localhost:5000/a")]
    fn anything_else_is_refused(#[case] text: &str) {
        assert!(read(text).is_err());
    }
}
