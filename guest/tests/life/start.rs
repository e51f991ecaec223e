//! How a script is started.

use oncebox_guest::WORKDIR;
use oncebox_guest::wire::{Exit, VERSION};

use crate::harness::{Guest, Outcome, Setup, Task};

fn shebang(line: &str, executable: bool) -> Outcome {
    Task::argvs(&[&["./script", "a b"]]).file("script", line, executable).run()
}

#[test]
fn a_script_runs_by_its_first_line() {
    let outcome = shebang("#!/bin/sh -e\necho \"$0|$1|$#\"\nfalse\necho no\n", true);
    assert_eq!(outcome.stdout(), "./script|a b|1\n");
    assert_eq!(outcome.exit(), Exit::Code(1));
}

#[test]
fn a_script_without_such_a_line_is_the_shells() {
    let outcome = shebang("echo \"$0|$1|$#\"\n", true);
    assert_eq!(outcome.stdout(), "./script|a b|1\n");
    assert_eq!(outcome.exit(), Exit::Code(0));
}

#[test]
fn a_missing_interpreter_is_127() {
    for line in ["#!/no/such/thing\n", "#!/bin/sh\r\n"] {
        let outcome = shebang(line, true);
        assert_eq!(outcome.stderr(), "oncebox: ./script: its interpreter was not found\n");
        assert_eq!(outcome.exit(), Exit::Code(127));
    }
}

#[test]
fn a_file_that_may_not_be_run_is_126() {
    let outcome = shebang("#!/bin/sh\n", false);
    assert_eq!(outcome.stderr(), "oncebox: ./script: Permission denied\n");
    assert_eq!(outcome.exit(), Exit::Code(126));
}

#[test]
fn the_first_program_that_is_found_runs() {
    let argvs: &[&[&str]] =
        &[&["no-such-a", "x"], &["no-such-b"], &["sh", "-c", "echo $0 $1", "y", "z"]];
    assert_eq!(Task::argvs(argvs).run().stdout(), "y z\n");
    let outcome = Task::argvs(&argvs[..2]).run();
    assert_eq!(outcome.stderr(), "oncebox: no-such-a: not found\n");
    assert_eq!(outcome.exit(), Exit::Code(127));
}

#[test]
fn programs_are_looked_up_in_the_scripts_own_path() {
    let task = Task::argvs(&[&["tool"]]).file("bin/tool", "#!/bin/sh\necho mine\n", true);
    let found = task.clone().with(|job| job.env = vec![b"PATH=/bin:bin".to_vec()]);
    assert_eq!(found.run().stdout(), "mine\n");
    assert_eq!(task.run().exit(), Exit::Code(127));
    let denied = Task::argvs(&[&["tool"]])
        .file("bin/tool", "", false)
        .with(|job| job.env = vec![b"PATH=/nowhere:bin:/bin".to_vec()]);
    assert_eq!(denied.run().exit(), Exit::Code(126));
}

#[test]
fn too_long_an_argument_list_is_126() {
    let outcome = Task::sh("").with(|job| job.env.push(vec![b'x'; 200_000])).run();
    assert_eq!(outcome.exit(), Exit::Code(126));
    assert!(outcome.stderr().contains("Argument list too long"), "{}", outcome.stderr());
}

#[test]
fn the_environment_is_the_jobs_alone() {
    let env = vec![b"PATH=/bin:/usr/bin".to_vec(), b"X=1 2".to_vec(), b"Y=\xff\n".to_vec()];
    let outcome = Task::argvs(&[&["env", "-0"]]).with(|job| job.env = env).run();
    assert_eq!(outcome.stdout, b"PATH=/bin:/usr/bin\0X=1 2\0Y=\xff\n\0");
}

#[test]
fn a_script_finds_an_ordinary_process() {
    let script = r#"
        pwd; stat -c %a .; umask; ls /proc/self/fd | tr '\n' ' '; echo
        cat /proc/self/oom_score_adj
        grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | tr '\n' ' '; echo
        cut -d' ' -f5,6 /proc/$$/stat; echo $$; readlink /proc/$$/fd/0"#;
    let outcome = Task::argvs(&[&["sh", "-c", script]]).run();
    let stdout = outcome.stdout();
    let mut lines = stdout.lines();
    let mut next = || lines.next().unwrap_or("");
    assert_eq!(next(), WORKDIR);
    assert_eq!(next(), "700");
    assert_eq!(next(), "0022");
    assert_eq!(next(), "0 1 2 3 ", "the last one is the listing's own");
    assert_eq!(next(), "1000");
    let mut signals = next().split_whitespace();
    assert_eq!(signals.next(), Some("0000000000000000"), "blocked: {stdout}");
    assert_eq!(signals.next(), Some("0000000000000000"), "ignored: {stdout}");
    let session = next().to_owned();
    let pid = next();
    assert_eq!(session, format!("{pid} {pid}"));
    assert_eq!(next(), "/dev/null");
}

#[test]
fn files_are_where_they_belong() {
    let script = "cat a/b/c a/d; stat -c '%a %n' a a/b a/b/c a/d; cat '$(id)'";
    let outcome = Task::sh(script)
        .file("a/b/c", "one\n", false)
        .file("a/d", "two\n", true)
        .file("$(id)", "three\n", false)
        .file("empty", "", false)
        .run();
    assert_eq!(outcome.stderr(), "");
    assert_eq!(outcome.stdout(), "one\ntwo\n755 a\n755 a/b\n644 a/b/c\n755 a/d\nthree\n");
}

#[test]
fn a_job_may_come_in_any_pieces() {
    let task = Task::sh("cat; cat big | wc -c").stdin("hello ").file("big", [7; 150_000], false);
    for pieces in [1, 3, 4093, 65_541, 1_000_000] {
        let mut guest = Guest::ready(&Setup::default());
        let frames = task.frames();
        // The single bytes of the whole would take too long.
        let (slow, fast) = frames.split_at(frames.len().min(400 * pieces));
        slow.chunks(pieces).for_each(|piece| guest.send(piece));
        guest.send(fast);
        assert_eq!(guest.outcome().stdout(), "hello 150000\n");
    }
}

#[test]
fn the_posture_is_what_was_given() {
    let setup = Setup {
        tmp: "size=1m,nr_inodes=77,nosuid,nodev",
        before: "ulimit -n 512; ulimit -c 0; ulimit -f 2048",
        ..Setup::default()
    };
    let mut guest = Guest::start(&setup);
    let posture = guest.posture();
    guest.hang_up();
    assert_eq!((posture.version, posture.pid, posture.groups), (VERSION, 1, 0));
    assert_eq!(posture.capabilities, [0; 5]);
    assert!(posture.no_new_privs && posture.tmp_nosuid && posture.tmp_nodev);
    assert_eq!((posture.tmp_bytes, posture.tmp_inodes), (1 << 20, 77));
    assert_eq!((posture.nofile, posture.core, posture.fsize), (512, 0, 1 << 20));
    assert_eq!(posture.cgroup, None);
    assert!(!guest.exit());
}

#[test]
fn counters_are_read_from_the_descriptors() {
    let setup = Setup {
        before: "cd /tmp; printf 'under_oom 0\\noom_kill 2\\n' > a; echo 4096 > b; echo 99 > c; \
                 echo 'max 5' > d; exec 3<a 4<b 5<c 6<d 7</dev/null; cd /",
        argument: Some("v1"),
        ..Setup::default()
    };
    let usage =
        Task::sh("ls /proc/self/fd | wc -l; echo 1000 > /tmp/c").run_in(&setup).ended().usage;
    assert_eq!(usage.oom_kills, Some(2));
    assert_eq!(usage.max_memory, Some(4096));
    assert_eq!(usage.pids_refused, Some(5));
    assert_eq!(usage.max_pids, None);
    let usage = Task::sh("").run().ended().usage;
    assert_eq!((usage.cpu_ns, usage.max_memory, usage.oom_kills), (None, None, None));
}

#[test]
fn a_full_tmp_shows() {
    let setup = Setup { tmp: "size=64k,nr_inodes=64", ..Setup::default() };
    let of = |script: &str| Task::sh(script).run_in(&setup).ended().usage.tmp_full;
    assert!(!of("echo > a"));
    assert!(of("head -c 100000 /dev/zero > a; exit 0"));
    assert!(of("i=0; while : > $i; do i=$((i+1)); done; exit 0"));
}
