//! What waits ahead: `POOL_SIZE`, `CUSTOM_POOLS`, and the budget of this machine.

use super::{Machine, SettingsError, count, values::Values};
use crate::execution::limits::Ceilings;
use crate::pool::{Budget, Floor};

/// Containers made ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    /// Of `BASE_IMAGE`.
    pub size: usize,
    /// Of other images.
    pub custom: Vec<Floor>,
    /// The most that may wait, whatever the demand; `None` where nothing is made ahead.
    pub budget: Option<Budget>,
}

impl Pools {
    /// How many wait at all times.
    pub(super) fn floor(&self) -> u64 {
        let custom = self.custom.iter().map(|floor| floor.count);
        custom.fold(self.size, usize::saturating_add) as u64
    }
}

/// Held against half of the machine's process ids: the other half is not ours.
pub(super) fn pools(
    values: &Values,
    ceilings: &Ceilings,
    machine: &Machine,
) -> Result<Pools, SettingsError> {
    let size: usize = values
        .need("pool_size", |text| text.parse().map_err(|_| "write a whole number".to_owned()))?;
    let custom = values.get("custom_pools", custom)?.unwrap_or_default();
    let mut pools = Pools { size, custom, budget: None };
    let each = u64::from(ceilings.default.pids.max(1));
    // One script at least must be able to run beside them.
    let most = (machine.pid_max / 2).saturating_sub(ceilings.max.pids.into()) / each;
    if pools.floor() > most {
        let name = if pools.size as u64 > most { "pool_size" } else { "custom_pools" };
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
