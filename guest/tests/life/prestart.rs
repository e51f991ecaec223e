//! Interpreters that are started before there is a script.

use oncebox_guest::wire::{Exit, Order, Prestart, Report};
use oncebox_guest::{PROGRAM_CAP, WORKDIR};

use crate::harness::{Guest, Outcome, Setup, Task};

/// A script in a file, run by this interpreter.
fn task(interpreter: &str, entry: &'static str, script: &str) -> Task {
    let path = format!("{WORKDIR}/{entry}");
    Task::argvs(&[&[interpreter, &path]]).file(entry, script, false)
}

/// The order that fits a task's job.
fn ahead(task: &Task) -> Order<'static> {
    Order::Prestart(Prestart {
        argvs: task.job.argvs.clone(),
        env: task.job.env.clone(),
        entry: task.files[0].0.into(),
    })
}

/// A guest that has been told to start this task's interpreter, and whether that waits.
fn guest(task: &Task, setup: &Setup) -> (Guest, bool) {
    let mut guest = Guest::ready(setup);
    guest.order(&ahead(task));
    match guest.next() {
        Some(Report::Prestarted { waits, .. }) => (guest, waits),
        other => panic!("expected Prestarted, got {other:?}"),
    }
}

fn run_ahead(task: &Task, setup: &Setup) -> Outcome {
    let (mut guest, waits) = guest(task, setup);
    assert!(waits, "{:?}", task.job.argvs);
    guest.deliver(&task.clone().with(|job| job.prestarted = true));
    guest.outcome()
}

/// Runs a script both ways: nothing but time may tell them apart.
fn same(interpreter: &str, entry: &'static str, script: &str) -> Outcome {
    let task = task(interpreter, entry, script).outputs(&["**"]);
    for pipes in [false, true] {
        let setup = Setup { pipes, ..Setup::default() };
        let (now, ahead) = (task.run_in(&setup), run_ahead(&task, &setup));
        assert_eq!(ahead.stdout(), now.stdout(), "{interpreter}");
        assert_eq!(ahead.stderr(), now.stderr(), "{interpreter}");
        assert_eq!((ahead.exit(), &ahead.files), (now.exit(), &now.files), "{interpreter}");
    }
    task.run()
}

#[test]
fn shells_find_the_same_world() {
    for (shell, entry) in [("/bin/sh", "script.sh"), ("bash", "script.bash")] {
        let script = "echo \"$0|$#|$$|$PWD|$-\"; ls -la | awk '{print $1, $5, $9}'; cat \"$0\"; \
                      env | sort; cat; ls -l /proc/self/fd | wc -l; echo x >made; echo e >&2; exit 3";
        assert_eq!(same(shell, entry, script).exit(), Exit::Code(3));
        same(shell, entry, "if true; then\n  cat <<EOF\nhere\nEOF\nfi\nkill -9 $$\n");
        same(shell, entry, "syntax ) error\n");
        same(shell, entry, "no newline at the end: echo x");
    }
}

#[test]
fn python_finds_the_same_world() {
    let script = "import os, sys, inspect\nprint(__file__, sys.argv, sys.path[0], os.getcwd())\n\
                  def f(): pass\nprint(inspect.getsource(f))\nprint(sys.stdin.read() == '')\n\
                  print(sorted(os.environ.items()), os.getpid())\nraise ValueError('\u{e9}')\n";
    let outcome = same("python3", "script.py", script);
    assert!(outcome.stderr().contains("raise ValueError"), "the line is found by the path");
    same("python3", "script.py", "print(1\n");
    same("python3", "script.py", "\u{feff}print('bom')");
    same("python3", "script.py", "# -*- coding: utf-8 -*-\nprint('\u{e9}')");
}

#[test]
fn node_finds_the_same_world() {
    let script = "const fs = require('fs');\nconsole.log(__filename, process.argv, process.cwd());\n\
                  console.log(fs.readFileSync(__filename, 'utf8').length, process.pid);\n\
                  console.log(fs.readFileSync(0).length);\nthrow new Error('\u{e9}');\n";
    let outcome = same("node", "script.js", script);
    assert!(outcome.stderr().contains("throw new Error"));
    same("node", "script.js", "let x = ;\n");
}

#[test]
fn the_longest_program_fits() {
    let filler = "#".repeat(PROGRAM_CAP - "echo whole".len() - 1);
    let script = format!("{filler}\necho whole");
    assert_eq!(run_ahead(&task("/bin/sh", "s", &script), &Setup::default()).stdout(), "whole\n");
}

#[test]
fn a_job_of_another_kind_finds_nothing_of_the_interpreter() {
    let (mut guest, waits) = guest(&task("/bin/sh", "script.sh", ""), &Setup::default());
    assert!(waits);
    let other = Task::argvs(&[&["/bin/sh", "script.sh", "arg"]])
        .file("script.sh", "echo $1; cat; ls -A; ps ax | grep -c '[s]cript.sh'", false)
        .stdin("in\n");
    guest.deliver(&other);
    assert_eq!(guest.outcome().stdout(), "arg\nin\nscript.sh\n1\n");
}

#[test]
fn an_interpreter_that_is_not_there_leaves_the_guest_waiting() {
    for argv in ["no-such-program", "/bin/false"] {
        let missing = task(argv, "script.sh", "");
        let (mut guest, waits) = guest(&missing, &Setup::default());
        assert!(!waits);
        guest.deliver(&task("/bin/sh", "script.sh", "echo still here; ls -A"));
        assert_eq!(guest.outcome().stdout(), "still here\nscript.sh\n");
    }
}

#[test]
fn a_guest_whose_interpreter_dies_says_so_and_ends() {
    let dying = task("/bin/sh", "script.sh", "");
    let script = "exec 3<$0; sleep 0.2; exit 1";
    let argv = ["/bin/sh", "-c", script, &format!("{WORKDIR}/script.sh")];
    let dying = dying.with(|job| {
        job.argvs = vec![argv.iter().map(|arg| arg.as_bytes().to_vec()).collect()];
    });
    let (mut guest, waits) = guest(&dying, &Setup::default());
    assert!(waits);
    assert!(matches!(guest.next(), Some(Report::Broken { .. })));
    guest.hang_up();
    assert!(!guest.exit());
}

#[test]
fn orders_out_of_turn_end_the_guest() {
    let task = task("/bin/sh", "script.sh", "echo");
    let mut without = Guest::ready(&Setup::default());
    without.deliver(&task.clone().with(|job| job.prestarted = true));
    let (mut twice, _) = guest(&task, &Setup::default());
    twice.order(&ahead(&task));
    let (mut stdin, _) = guest(&task, &Setup::default());
    stdin.deliver(&task.stdin("x").with(|job| job.prestarted = true));
    for mut guest in [without, twice, stdin] {
        assert!(matches!(guest.next(), Some(Report::Broken { .. })));
        guest.hang_up();
        assert!(!guest.exit());
    }
}

#[test]
fn a_service_that_goes_away_ends_the_interpreter() {
    let (mut guest, _) = guest(&task("/bin/sh", "script.sh", ""), &Setup::default());
    guest.hang_up();
    assert!(!guest.exit());
}
