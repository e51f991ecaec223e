//! The system calls a script may make: one list, for both engines.
//!
//! [`list`] is the source. [`bpf`] compiles it for the native engine, [`docker_json`] writes it in
//! Docker's form. On both:
//!
//! * a call on the list is allowed, some only with certain arguments;
//! * a change of the core limit answers 0 and changes nothing, so that programs which switch their
//!   cores off before they touch a secret go on: there are none to switch off;
//! * `clone3` and calls newer than the list answer `ENOSYS`, on which every libc falls back;
//! * `splice`, `tee` and `vmsplice` answer `EINVAL`, on which programs copy by hand;
//! * everything else answers `EPERM`;
//! * a foreign architecture's call (32-bit on a 64-bit machine) kills the process.

mod bpf;
mod code;
mod docker;
#[cfg(test)]
mod emulator;
mod list;

pub use bpf::{NotCompiled, Program, bpf, load};
pub use docker::docker_json;

/// One call on the list: its name, its number here, and the argument patterns that allow it.
struct Allowed {
    name: &'static str,
    number: u32,
    /// Any of these must match; an empty list allows every argument.
    patterns: &'static [Pattern],
    /// Where none of those does, any of these has the call answered as if it were done.
    feigned: &'static [Pattern],
}

/// All of these arguments must match.
type Pattern = &'static [Argument];

/// `arguments[index] & mask == value`. Nothing else is used, because it is the one comparison that
/// means the same in BPF and in libseccomp, upper halves of 32-bit arguments included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Argument {
    index: u8,
    mask: u64,
    value: u64,
}

/// A call answered by an errno of its own.
struct Answered {
    name: &'static str,
    number: u32,
    errno: i32,
}

fn allowed() -> impl Iterator<Item = &'static Allowed> {
    list::ALLOWED.iter().chain(list::LEGACY).chain(list::CONDITIONAL)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_listed_once() {
        let mut seen = BTreeSet::new();
        for call in allowed() {
            assert!(seen.insert(call.number), "{} is listed twice", call.name);
        }
        for call in list::ANSWERED {
            assert!(seen.insert(call.number), "{} is listed twice", call.name);
        }
        assert!(seen.iter().all(|number| *number <= list::NEWEST.number));
    }

    /// A value with bits outside its mask equals nothing, and the engines need not agree on it.
    #[test]
    fn every_pattern_can_match() {
        for call in list::CONDITIONAL {
            for argument in call.patterns.iter().chain(call.feigned).copied().flatten() {
                assert!(argument.index < 6, "{} has six arguments", call.name);
                assert_eq!(argument.value & !argument.mask, 0, "{}", call.name);
            }
        }
    }

    #[test]
    fn nothing_dangerous_is_allowed() {
        let dangerous = [
            "add_key",
            "bpf",
            "chroot",
            "fanotify_init",
            "fsopen",
            "init_module",
            "io_setup",
            "io_uring_setup",
            "kcmp",
            "kexec_load",
            "keyctl",
            "memfd_secret",
            "mount",
            "mount_setattr",
            "move_mount",
            "name_to_handle_at",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "pidfd_getfd",
            "pivot_root",
            "process_madvise",
            "process_vm_readv",
            "ptrace",
            "reboot",
            "request_key",
            "setns",
            "sync",
            "syslog",
            "umount2",
            "unshare",
            "userfaultfd",
        ];
        for call in allowed() {
            assert!(!dangerous.contains(&call.name), "{} is allowed", call.name);
        }
    }
}
