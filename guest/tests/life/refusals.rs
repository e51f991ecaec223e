//! Jobs that are not taken.

use oncebox_guest::wire::{Job, Order, Report};

use crate::harness::{Guest, Setup, Task};

fn refusal(task: &Task, setup: &Setup) -> (String, i32) {
    let mut guest = Guest::ready(setup);
    guest.deliver(task);
    let Some(Report::Refused { path, errno }) = guest.next() else {
        panic!("expected a refusal");
    };
    let path = String::from_utf8_lossy(path).into_owned();
    guest.hang_up();
    assert!(!guest.exit());
    (path, errno)
}

#[test]
fn a_file_that_does_not_fit_is_refused_by_name() {
    for pipes in [false, true] {
        let setup = Setup { tmp: "size=64k,nr_inodes=64", pipes, ..Setup::default() };
        // Larger than every buffer on the way: the guest reads on, or nobody would hear it.
        let task = Task::sh("").file("big", vec![0; 4 << 20], false);
        assert_eq!(refusal(&task, &setup), ("big".into(), libc_errno::ENOSPC));
    }
}

#[test]
fn a_path_that_leads_astray_is_refused() {
    let bad = ["", "/etc/x", "../x", "a/../x", "./x", "a//b", "a/", "a\0b"];
    for path in bad {
        let task = Task::sh("").file(path, "x", false);
        assert_eq!(
            refusal(&task, &Setup::default()),
            (path.into(), libc_errno::EINVAL),
            "{path:?}"
        );
    }
    let twice = Task::sh("").file("script", "x", false);
    assert_eq!(refusal(&twice, &Setup::default()), ("script".into(), libc_errno::EEXIST));
    let beneath = Task::sh("").file("script/x", "x", false);
    assert_eq!(refusal(&beneath, &Setup::default()), ("script/x".into(), libc_errno::ENOTDIR));
    let long: &'static str = "x".repeat(256).leak();
    let long = Task::sh("").file(long, "x", false);
    assert_eq!(refusal(&long, &Setup::default()).1, libc_errno::ENAMETOOLONG);
}

#[test]
fn orders_out_of_turn_are_refused() {
    let job = || Order::Job(Job::default());
    let file = |size| Order::File { path: b"x", executable: false, size };
    let runs: [&[Order<'_>]; 10] = [
        &[Order::Go],
        &[Order::Data(b"x")],
        &[file(1)],
        &[Order::Stdin { size: 1 }],
        &[job(), job()],
        &[job(), file(2), Order::Data(b"x"), Order::Go],
        &[job(), file(2), Order::Data(b"xyz")],
        &[job(), file(2), Order::Data(b"")],
        &[job(), Order::Stdin { size: 0 }, Order::Stdin { size: 0 }],
        &[job(), Order::Data(b"x")],
    ];
    for run in runs {
        assert_eq!(
            broken(|guest| run.iter().for_each(|order| guest.order(order))),
            libc_errno::EPROTO
        );
    }
    assert_eq!(broken(|guest| guest.send(&[99, 0, 0, 0, 0])), libc_errno::EPROTO);
    assert_eq!(broken(|guest| guest.send(&[1, 255, 255, 255, 255])), libc_errno::EPROTO);
}

#[test]
fn a_second_job_is_refused_while_one_runs() {
    let mut guest = Guest::ready(&Setup::default());
    guest.deliver(&Task::sh("echo on; sleep 1000"));
    guest.wait_for_stdout("on\n");
    guest.deliver(&Task::sh("echo two"));
    assert!(matches!(guest.next(), Some(Report::Broken { errno: libc_errno::EPROTO, .. })));
    guest.hang_up();
    assert!(!guest.exit());
}

#[test]
fn a_job_without_a_program_is_refused() {
    for argv in [vec![], vec![b"".to_vec()], vec![b"sh\0".to_vec()]] {
        let errno = broken(|guest| {
            guest.deliver(&Task::argvs(&[]).with(|job| job.argvs = vec![argv.clone()]));
        });
        assert_eq!(errno, libc_errno::EINVAL);
    }
}

#[test]
fn a_guest_that_is_not_pid_1_does_nothing() {
    // In a pid namespace all the same: a guest that failed here would kill all it can reach.
    let setup = Setup {
        before: "sleep 1000 & exec 8<&0; sh -c 'exec /proc/self/fd/9 none' <&8; \
                 kill -0 $! && exit 42",
        ..Setup::default()
    };
    let mut guest = Guest::start(&setup);
    let first = guest.next();
    assert!(matches!(first, Some(Report::Broken { errno: libc_errno::EPERM, .. })), "{first:?}");
    guest.hang_up();
    assert_eq!(guest.exit_code(), Some(42));
}

/// What a guest says to orders it cannot follow.
fn broken(orders: impl FnOnce(&mut Guest)) -> i32 {
    let mut guest = Guest::ready(&Setup::default());
    orders(&mut guest);
    let Some(Report::Broken { errno, .. }) = guest.next() else {
        panic!("expected the guest to give up");
    };
    guest.hang_up();
    assert!(!guest.exit());
    errno
}

/// The kernel's numbers, the same on every Linux we run on (errno(3)).
mod libc_errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const ENOTDIR: i32 = 20;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const ENAMETOOLONG: i32 = 36;
    pub(crate) const EPROTO: i32 = 71;
}
