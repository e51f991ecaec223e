//! Kernel version, namespaces, seccomp and the few numbers that containers depend on.

use std::fs;
use std::path::Path;

use super::Check;

/// What the native engine needs of the kernel, and the version each came with: clone3(2) with
/// CLONE_INTO_CGROUP, waitid(2) by pidfd, and overlays in a user namespace, which are the last.
const CALLS: &[(&str, (u32, u32))] =
    &[("clone3 into cgroup", (5, 7)), ("waitid by pidfd", (5, 4)), ("overlay for users", (5, 11))];

/// Each namespace by its name in `/proc/self/ns`, and by that of its count in `/proc/sys/user`.
const NAMESPACES: &[(&str, &str)] = &[
    ("pid", "pid"),
    ("mnt", "mnt"),
    ("net", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

/// Fewer process ids than this leave no room for containers.
const PID_MAX: u64 = 16_384;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = calls(&read("/proc/sys/kernel/osrelease"));
    for (file, count) in NAMESPACES {
        let exists = Path::new("/proc/self/ns").join(file).exists();
        checks.push(namespace(
            count,
            exists,
            &read(&format!("/proc/sys/user/max_{count}_namespaces")),
        ));
    }
    if !rustix::process::geteuid().is_root() {
        checks.push(unprivileged_namespaces(
            &read("/proc/sys/kernel/unprivileged_userns_clone"),
            &read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ));
    }
    checks.push(seccomp(&read("/proc/sys/kernel/seccomp/actions_avail")));
    checks.push(memfd(memfd_works(), &read("/proc/sys/vm/memfd_noexec")));
    checks.push(pid_max(&read("/proc/sys/kernel/pid_max")));
    checks
}

/// A file's text without the white space around it; empty where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn calls(release: &str) -> Vec<Check> {
    let found = version(release);
    let check = |(name, since): &(&str, (u32, u32))| {
        let (major, minor) = since;
        let told = format!("since kernel {major}.{minor}; this is {release}");
        if found >= Some(*since) {
            Check::ok(*name, told)
        } else {
            Check::missing(*name, told, "install a newer kernel; Debian 12 has 6.1")
        }
    };
    CALLS.iter().map(check).collect()
}

/// Major and minor of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn namespace(name: &str, exists: bool, most: &str) -> Check {
    let title = format!("{name} namespaces");
    if !exists {
        return Check::missing(title, "not in this kernel", "use a kernel built with namespaces");
    }
    if most == "0" {
        let fix = format!("sysctl -w user.max_{name}_namespaces=16384");
        return Check::missing(title, "switched off: at most 0", fix);
    }
    Check::ok(title, if most.is_empty() { "any number".into() } else { format!("at most {most}") })
}

fn unprivileged_namespaces(debian: &str, apparmor: &str) -> Check {
    const NAME: &str = "unprivileged";
    let off = |setting: &str, value: &str| {
        let fix = format!("sysctl -w kernel.{setting}={value} as root, or start oncebox as root");
        Check::missing(NAME, "ordinary users may not make user namespaces", fix)
    };
    if debian == "0" {
        off("unprivileged_userns_clone", "1")
    } else if apparmor == "1" {
        off("apparmor_restrict_unprivileged_userns", "0")
    } else {
        Check::ok(NAME, "ordinary users may make user namespaces")
    }
}

fn seccomp(actions: &str) -> Check {
    let missing: Vec<_> = ["errno", "kill_process", "allow"]
        .into_iter()
        .filter(|needed| !actions.split_whitespace().any(|action| action == *needed))
        .collect();
    if missing.is_empty() {
        Check::ok("seccomp", actions)
    } else {
        let found = format!("without {}", missing.join(", "));
        Check::missing("seccomp", found, "use a kernel built with CONFIG_SECCOMP_FILTER")
    }
}

fn memfd_works() -> bool {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create("oncebox-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).is_ok()
}

fn memfd(works: bool, noexec: &str) -> Check {
    match (works, noexec) {
        (false, _) => Check::missing("memfd", "not allowed here", "allow memfd_create(2)"),
        (true, "2") => {
            Check::missing("memfd", "may not be executed", "sysctl -w vm.memfd_noexec=0")
        }
        (true, _) => Check::ok("memfd", "sealable and executable"),
    }
}

fn pid_max(text: &str) -> Check {
    match text.parse::<u64>() {
        Ok(most) if most >= PID_MAX => Check::ok("process ids", format!("at most {most}")),
        _ => {
            let fix = "sysctl -w kernel.pid_max=32768";
            Check::missing("process ids", format!("at most {text:?}"), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.1.0-18-amd64", &[true, true, true])]
    #[case("5.12", &[true, true, true])]
    #[case("5.10.0-28-amd64", &[true, true, false])]
    #[case("4.19.0", &[false, false, false])]
    #[case("", &[false, false, false])]
    fn calls_come_with_kernels(#[case] release: &str, #[case] there: &[bool]) {
        let found: Vec<_> = calls(release).iter().map(|check| check.fix.is_none()).collect();
        assert_eq!(found, there);
    }

    #[test]
    fn namespaces_can_be_absent_off_or_limited() {
        assert!(namespace("pid", false, "").fix.is_some());
        let off = namespace("user", true, "0").fix.expect("to be mended");
        assert!(off.contains("user.max_user_namespaces"), "{off}");
        assert_eq!(namespace("net", true, "62883").fix, None);
        assert_eq!(namespace("net", true, "").fix, None);
    }

    #[test]
    fn two_switches_keep_ordinary_users_out() {
        assert_eq!(unprivileged_namespaces("", "").fix, None);
        assert_eq!(unprivileged_namespaces("1", "0").fix, None);
        let debian = unprivileged_namespaces("0", "").fix.expect("to be mended");
        assert!(debian.contains("unprivileged_userns_clone"), "{debian}");
        let ubuntu = unprivileged_namespaces("1", "1").fix.expect("to be mended");
        assert!(ubuntu.contains("apparmor_restrict_unprivileged_userns"), "{ubuntu}");
    }

    #[test]
    fn seccomp_memfd_and_process_ids() {
        let all = "kill_process kill_thread trap errno user_notif trace log allow";
        assert_eq!(seccomp(all).fix, None);
        assert!(seccomp("kill_thread allow").found.contains("errno, kill_process"));
        assert!(seccomp("").fix.is_some());
        assert_eq!(memfd(true, "0").fix, None);
        assert!(memfd(true, "2").fix.is_some() && memfd(false, "").fix.is_some());
        assert_eq!(pid_max("32768").fix, None);
        assert!(pid_max("1024").fix.is_some() && pid_max("").fix.is_some());
    }
}
