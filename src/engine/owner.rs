//! Which process a container or a folder belongs to, in words that another process can check.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use rustix::process::{Pid, test_kill_process};

/// One service process: `<boot id>:<pid namespace>:<pid>:<start time>`. A pid alone names a
/// process only within one boot and one pid namespace, and only until it is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(super) boot: String,
    /// Inode of the pid namespace.
    pub(super) namespace: u64,
    pub(super) pid: u32,
    /// Clock ticks since boot (proc_pid_stat(5), field 22).
    pub(super) started: u64,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub(super) fn this() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let link = fs::read_link("/proc/self/ns/pid")?;
        let namespace = link
            .to_str()
            .and_then(|text| text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok())
            .ok_or_else(|| io::Error::other("/proc/self/ns/pid is not of the form pid:[number]"))?;
        let stat = fs::read_to_string("/proc/self/stat")?;
        let started = match Process::parse(&stat) {
            Some(Process::Running { started }) => started,
            _ => return Err(io::Error::other("/proc/self/stat has no start time")),
        };
        Ok(Self { boot, namespace, pid: std::process::id(), started })
    }

    /// What this process can say about the owner of something.
    pub(super) fn standing(&self, this: &Self, look: impl Fn(u32) -> Process) -> Standing {
        if (&self.boot, self.namespace) != (&this.boot, this.namespace) {
            return Standing::Unknown;
        }
        match look(self.pid) {
            Process::Gone => Standing::Dead,
            Process::Running { started } if started != self.started => Standing::Dead,
            Process::Running { .. } | Process::Hidden => Standing::Alive,
        }
    }
}

/// Whether an owner still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Alive,
    Dead,
    /// It belongs to another host or pid namespace, where we can't look.
    Unknown,
}

/// A process by its pid, as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// No process, or a zombie.
    Gone,
    Running {
        started: u64,
    },
    /// There is one, and `/proc` won't say more.
    Hidden,
}

impl Process {
    pub(super) fn look(pid: u32) -> Self {
        if let Some(process) =
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|s| Self::parse(&s))
        {
            return process;
        }
        // Where `hidepid` hides the folder, the kernel still tells "none" from "not yours".
        match i32::try_from(pid).ok().and_then(Pid::from_raw).map(test_kill_process) {
            Some(Err(rustix::io::Errno::SRCH)) | None => Self::Gone,
            Some(_) => Self::Hidden,
        }
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything, parentheses too; the rest is plain.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        match fields.next()? {
            "Z" | "X" => Some(Self::Gone),
            _ => Some(Self::Running { started: fields.nth(18)?.parse().ok()? }),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.boot, self.namespace, self.pid, self.started)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fields: Vec<&str> = text.split(':').collect();
        let [boot, namespace, pid, started] = fields[..] else { return Err(()) };
        Ok(Self {
            boot: boot.to_owned(),
            namespace: namespace.parse().map_err(|_| ())?,
            pid: pid.parse().map_err(|_| ())?,
            started: started.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(boot: &str, namespace: u64, pid: u32, started: u64) -> Owner {
        Owner { boot: boot.into(), namespace, pid, started }
    }

    #[test]
    fn an_owner_survives_its_label() {
        let this = Owner::this().unwrap();
        assert_eq!(this.to_string().parse(), Ok(this));
        for broken in ["", "a:b:c:d", "boot:1:2", "boot:1:2:3:4", "boot:1:-2:3"] {
            assert_eq!(broken.parse::<Owner>(), Err(()), "{broken}");
        }
    }

    #[test]
    fn this_process_is_alive_and_a_reused_pid_is_not_it() {
        let this = Owner::this().unwrap();
        assert_eq!(this.standing(&this, Process::look), Standing::Alive);
        let before = Owner { started: this.started - 1, ..this.clone() };
        assert_eq!(before.standing(&this, Process::look), Standing::Dead);
    }

    #[test]
    fn an_ended_child_is_dead_even_before_it_is_reaped() {
        let this = Owner::this().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let wait = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), wait).unwrap();
        assert_eq!(Process::look(child.id()), Process::Gone, "a zombie");
        child.wait().unwrap();
        let gone = Owner { pid: child.id(), ..this.clone() };
        assert_eq!(gone.standing(&this, Process::look), Standing::Dead);
    }

    #[test]
    fn nothing_is_said_of_another_boot_or_namespace() {
        let this = owner("boot", 1, 10, 5);
        let look = |_| -> Process { panic!("must not look") };
        assert_eq!(owner("other", 1, 10, 5).standing(&this, look), Standing::Unknown);
        assert_eq!(owner("boot", 2, 10, 5).standing(&this, look), Standing::Unknown);
    }

    #[test]
    fn a_hidden_process_counts_as_alive() {
        let this = owner("boot", 1, 10, 5);
        let hidden = owner("boot", 1, 11, 5).standing(&this, |_| Process::Hidden);
        assert_eq!(hidden, Standing::Alive);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) Z (b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4242 9 9";
        assert_eq!(Process::parse(stat), Some(Process::Running { started: 4242 }));
    }
}
