//! Limits: what a request asks for, held against the most the operator allows.

use std::fmt::Display;
use std::time::Duration;

use super::admission::Caller;
use super::quantity::{Cpu, Seconds, Size};
use super::request::{AskedLimits, Execution};
use super::{Rejection, RejectionCode};

/// The least of each limit with which a container can be made and a shell can start.
pub const FLOOR: Limits = Limits {
    timeout: Duration::from_millis(1),
    memory: 6 << 20,
    cpu_millis: 10,
    // The guest and the script.
    pids: 2,
    tmp: 64 << 10,
    output: 0,
};

/// Memory left to the guest and an interpreter beside what the request brings along.
const WORKING_MEMORY: u64 = 4 << 20;

/// A file in `/tmp` takes whole pages.
const PAGE: u64 = 4096;

/// The limits that hold for one execution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub timeout: Duration,
    /// Bytes.
    pub memory: u64,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    pub pids: u32,
    /// Bytes of `/tmp`.
    pub tmp: u64,
    /// Bytes of stdout and of stderr, each.
    pub output: u64,
}

/// The operator's defaults, and the most a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    pub default: Limits,
    pub max: Limits,
}

impl Ceilings {
    /// The same with other defaults, where `usual` names them.
    #[must_use]
    pub fn with_default(&self, usual: &AskedLimits) -> Self {
        Self { default: self.default.replaced(usual), ..*self }
    }

    /// The limits for one request: what it asks for, or the default. Nothing is clamped. Defaults
    /// are held as well, so `hold(&AskedLimits::default())` tells whether the settings agree.
    ///
    /// # Errors
    /// `limit_exceeded` above a ceiling, `invalid_request` below a [`FLOOR`]; the detail names the
    /// value and the bound.
    pub fn hold(&self, asked: &AskedLimits) -> Result<Limits, Rejection> {
        self.hold_as(asked, Whose::Operator)
    }

    /// The same for one caller, whose key may allow less than the operator does. A limit that he
    /// does not name is the default, or what his key allows where that is less.
    ///
    /// # Errors
    /// As [`Ceilings::hold`].
    pub fn hold_for(&self, asked: &AskedLimits, caller: &Caller) -> Result<Limits, Rejection> {
        let Some(allowance) = &caller.allowance else { return self.hold(asked) };
        let default = self.default.at_most(&allowance.most);
        // First what holds for everyone, so that the ceiling to be named is the right one.
        Self { default, ..*self }.hold(asked)?;
        Self { default, max: self.max.at_most(&allowance.most) }.hold_as(asked, Whose::Key)
    }

    fn hold_as(&self, asked: &AskedLimits, whose: Whose) -> Result<Limits, Rejection> {
        let Self { default, max } = self;
        let time = |limits: &Limits| Seconds(limits.timeout);
        let memory = |limits: &Limits| Size(limits.memory);
        let cpu = |limits: &Limits| Cpu(limits.cpu_millis);
        let pids = |limits: &Limits| limits.pids;
        let tmp = |limits: &Limits| Size(limits.tmp);
        let output = |limits: &Limits| Size(limits.output);
        let wanted = default.replaced(asked);
        within("timeout", time, &wanted, max, whose)?;
        within("memory_limit", memory, &wanted, max, whose)?;
        within("cpu_limit", cpu, &wanted, max, whose)?;
        within("pids_limit", pids, &wanted, max, whose)?;
        within("tmp_size", tmp, &wanted, max, whose)?;
        within("output_limit", output, &wanted, max, whose)?;
        Ok(wanted)
    }
}

/// Whose ceiling it is.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Operator,
    Key,
}

fn within<T: PartialOrd + Display>(
    field: &'static str,
    of: impl Fn(&Limits) -> T,
    wanted: &Limits,
    max: &Limits,
    whose: Whose,
) -> Result<(), Rejection> {
    let (value, floor, ceiling) = (of(wanted), of(&FLOOR), of(max));
    if value > ceiling {
        let detail = match whose {
            Whose::Operator => {
                format!(
                    "{value} is more than the ceiling of {ceiling}, MAX_{}",
                    field.to_uppercase()
                )
            }
            Whose::Key => format!("{value} is more than the {ceiling} that this API key allows"),
        };
        return Err(Rejection { code: RejectionCode::LimitExceeded, field, detail });
    }
    if value < floor {
        let detail = format!("{value} is too little; the least is {floor}");
        return Err(Rejection { code: RejectionCode::InvalidRequest, field, detail });
    }
    Ok(())
}

impl Limits {
    /// Each limit, or what `by` names in its place.
    fn replaced(&self, by: &AskedLimits) -> Self {
        Self {
            timeout: by.timeout.unwrap_or(self.timeout),
            memory: by.memory.unwrap_or(self.memory),
            cpu_millis: by.cpu_millis.unwrap_or(self.cpu_millis),
            pids: by.pids.unwrap_or(self.pids),
            tmp: by.tmp.unwrap_or(self.tmp),
            output: by.output.unwrap_or(self.output),
        }
    }

    /// Each limit, lowered where `most` names less.
    fn at_most(&self, most: &AskedLimits) -> Self {
        Self {
            timeout: most.timeout.map_or(self.timeout, |most| most.min(self.timeout)),
            memory: most.memory.map_or(self.memory, |most| most.min(self.memory)),
            cpu_millis: most.cpu_millis.map_or(self.cpu_millis, |most| most.min(self.cpu_millis)),
            pids: most.pids.map_or(self.pids, |most| most.min(self.pids)),
            tmp: most.tmp.map_or(self.tmp, |most| most.min(self.tmp)),
            output: most.output.map_or(self.output, |most| most.min(self.output)),
        }
    }

    /// Checks that what the request brings along leaves room in its own container.
    ///
    /// # Errors
    /// `payload_too_large`, on the limit that is too small for it.
    pub fn hold_payload(&self, execution: &Execution) -> Result<(), Rejection> {
        let contents = execution.files.iter().map(|file| &file.content);
        let files: u64 = contents
            .chain([&execution.script])
            .map(|content| (content.len() as u64).next_multiple_of(PAGE))
            .sum();
        if files > self.tmp {
            return Err(too_large("tmp_size", "script and files", files, self.tmp));
        }
        let stdin = execution.stdin.as_ref().map_or(0, |stdin| stdin.len() as u64);
        let room = self.memory.saturating_sub(WORKING_MEMORY);
        if files + stdin > room {
            return Err(too_large("memory_limit", "script, files and stdin", files + stdin, room));
        }
        Ok(())
    }
}

fn too_large(field: &'static str, what: &str, size: u64, room: u64) -> Rejection {
    let detail = format!(
        "{what} take {}, and {field} leaves {} for them; send less or ask for a larger {field}",
        Size(size),
        Size(room)
    );
    Rejection { code: RejectionCode::PayloadTooLarge, field, detail }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;

    use super::*;
    use crate::execution::admission::Allowance;
    use crate::execution::testing::{CEILINGS, execution, file};

    #[test]
    fn what_is_not_asked_for_is_the_default() {
        assert_eq!(CEILINGS.hold(&AskedLimits::default()), Ok(CEILINGS.default));
        let asked = AskedLimits { pids: Some(10), ..AskedLimits::default() };
        assert_eq!(CEILINGS.hold(&asked), Ok(Limits { pids: 10, ..CEILINGS.default }));
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        for Limits { timeout, memory, cpu_millis, pids, tmp, output } in [FLOOR, CEILINGS.max] {
            let asked = AskedLimits {
                timeout: Some(timeout),
                memory: Some(memory),
                cpu_millis: Some(cpu_millis),
                pids: Some(pids),
                tmp: Some(tmp),
                output: Some(output),
            };
            assert!(CEILINGS.hold(&asked).is_ok());
        }
    }

    const NONE: AskedLimits = AskedLimits {
        timeout: None,
        memory: None,
        cpu_millis: None,
        pids: None,
        tmp: None,
        output: None,
    };

    #[rstest]
    #[case("timeout", AskedLimits { timeout: Some(Duration::from_millis(60_500)), ..NONE },
        "60.5 s is more than the ceiling of 60 s")]
    #[case("memory_limit", AskedLimits { memory: Some((1 << 30) + 1), ..NONE },
        "1073741825 bytes is more than the ceiling of 1 GiB")]
    #[case("cpu_limit", AskedLimits { cpu_millis: Some(2500), ..NONE },
        "2.5 cores is more than the ceiling of 2 cores")]
    #[case("pids_limit", AskedLimits { pids: Some(300), ..NONE },
        "300 is more than the ceiling of 256")]
    #[case("tmp_size", AskedLimits { tmp: Some(1 << 30), ..NONE },
        "1 GiB is more than the ceiling of 256 MiB")]
    #[case("output_limit", AskedLimits { output: Some(u64::MAX), ..NONE },
        "18446744073709551615 bytes is more than the ceiling of 4 MiB")]
    fn too_much_names_value_and_ceiling(
        #[case] field: &'static str,
        #[case] asked: AskedLimits,
        #[case] detail: &str,
    ) {
        let detail = format!("{detail}, MAX_{}", field.to_uppercase());
        let rejection = Rejection { code: RejectionCode::LimitExceeded, field, detail };
        assert_eq!(CEILINGS.hold(&asked), Err(rejection));
    }

    #[rstest]
    #[case("timeout", AskedLimits { timeout: Some(Duration::ZERO), ..NONE },
        "0 s is too little; the least is 0.001 s")]
    #[case("memory_limit", AskedLimits { memory: Some(0), ..NONE },
        "0 bytes is too little; the least is 6 MiB")]
    #[case("cpu_limit", AskedLimits { cpu_millis: Some(9), ..NONE },
        "0.009 cores is too little; the least is 0.01 cores")]
    #[case("pids_limit", AskedLimits { pids: Some(1), ..NONE },
        "1 is too little; the least is 2")]
    #[case("tmp_size", AskedLimits { tmp: Some(1000), ..NONE },
        "1000 bytes is too little; the least is 64 KiB")]
    fn too_little_names_value_and_floor(
        #[case] field: &'static str,
        #[case] asked: AskedLimits,
        #[case] detail: &str,
    ) {
        let rejection =
            Rejection { code: RejectionCode::InvalidRequest, field, detail: detail.into() };
        assert_eq!(CEILINGS.hold(&asked), Err(rejection));
    }

    #[test]
    fn a_key_lowers_ceilings_and_what_is_not_asked_for() {
        let most = AskedLimits { timeout: Some(Duration::from_secs(5)), pids: Some(1000), ..NONE };
        let allowance = Allowance { most, ..Allowance::default() };
        let caller = Caller::with_key("ci".into(), allowance.into());
        let limits = CEILINGS.hold_for(&NONE, &caller).unwrap();
        assert_eq!(limits, Limits { timeout: Duration::from_secs(5), ..CEILINGS.default });
        let ask = |seconds| AskedLimits { timeout: Some(Duration::from_secs(seconds)), ..NONE };
        assert!(CEILINGS.hold_for(&ask(5), &caller).is_ok());
        let detail = |asked| CEILINGS.hold_for(&asked, &caller).unwrap_err().detail;
        assert_eq!(detail(ask(6)), "6 s is more than the 5 s that this API key allows");
        assert_eq!(detail(ask(61)), "61 s is more than the ceiling of 60 s, MAX_TIMEOUT");
        // A key does not raise what the operator allows.
        let pids = AskedLimits { pids: Some(300), ..NONE };
        assert_eq!(detail(pids), "300 is more than the ceiling of 256, MAX_PIDS_LIMIT");
        assert_eq!(CEILINGS.hold_for(&NONE, &Caller::SERVICE), Ok(CEILINGS.default));
    }

    #[test]
    fn the_payload_must_leave_room() {
        let limits = Limits { tmp: 64 << 10, memory: 6 << 20, ..CEILINGS.default };
        let mut request = execution("echo");
        request.files = vec![file("a", &"x".repeat(60 << 10))];
        assert_eq!(limits.hold_payload(&request), Ok(()));
        request.files.push(file("b", "x"));
        let Rejection { code, field, detail } = limits.hold_payload(&request).unwrap_err();
        assert_eq!((code, field), (RejectionCode::PayloadTooLarge, "tmp_size"));
        assert!(detail.starts_with("script and files take 68 KiB, and tmp_size leaves 64 KiB"));

        request.files.clear();
        request.stdin = Some(Bytes::from(vec![0; 2 << 20]));
        let Rejection { code, field, .. } = limits.hold_payload(&request).unwrap_err();
        assert_eq!((code, field), (RejectionCode::PayloadTooLarge, "memory_limit"));
    }
}
