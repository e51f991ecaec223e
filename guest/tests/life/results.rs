//! The files that come back.

use oncebox_guest::wire::SkipReason::{self, NotRegular, TooLarge, TooMany, Unreadable};

use crate::harness::{Outcome, Task};

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.files.iter().map(|(path, ..)| path.as_str()).collect()
}

fn skipped(outcome: &Outcome) -> Vec<(&str, SkipReason)> {
    outcome.skipped.iter().map(|(path, reason)| (path.as_str(), *reason)).collect()
}

#[test]
fn matching_files_come_back_whole() {
    let script = "mkdir -p d/e; head -c 200000 /dev/urandom | tee big | cksum; echo hi > d/e/x.txt; \
                  echo no > d/e/x.bin; : > empty; printf '#!/bin/sh' > run; chmod +x run";
    let outcome = Task::sh(&format!("{script}; echo end"))
        .outputs(&["big", "**/*.txt", "empty", "run", "nothing"])
        .run();
    assert_eq!(names(&outcome), ["big", "d/e/x.txt", "empty", "run"]);
    assert_eq!(outcome.files[0].1.len(), 200_000);
    assert_eq!(outcome.files[1].1, b"hi\n");
    assert_eq!(outcome.files[2].1, b"");
    let executable: Vec<bool> = outcome.files.iter().map(|file| file.2).collect();
    assert_eq!(executable, [false, false, false, true]);
    assert_eq!(skipped(&outcome), []);
}

#[test]
fn the_jobs_own_files_may_be_asked_for() {
    let outcome =
        Task::sh("echo more >> notes").file("notes", "some\n", false).outputs(&["*"]).run();
    assert_eq!(names(&outcome), ["notes", "script"]);
    assert_eq!(outcome.files[0].1, b"some\nmore\n");
}

#[test]
fn nothing_but_a_regular_file_comes_back() {
    let script = "ln -s /etc/passwd link; ln -s /etc dir; mkfifo fifo; mkdir sub; \
                  perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local=>\"sock\",Listen=>1)'; \
                  ln -s . loop; echo yes > yes";
    let outcome = Task::sh(script).outputs(&["[!s]*", "s[!c]*"]).run();
    assert_eq!(names(&outcome), ["yes"]);
    assert_eq!(
        skipped(&outcome),
        ["dir", "fifo", "link", "loop", "sock", "sub"].map(|name| (name, NotRegular))
    );
    // A link to a folder is not a way either.
    let outcome = Task::sh(script).outputs(&["dir/passwd", "loop/yes", "**/passwd"]).run();
    assert_eq!((outcome.files, outcome.skipped), (vec![], vec![]));
}

#[test]
fn the_working_directory_itself_cannot_be_swapped() {
    let script = "echo mine > passwd; cd /; mv /tmp/work /tmp/old; ln -s /etc /tmp/work";
    let outcome = Task::sh(script).outputs(&["passwd"]).run();
    assert_eq!(outcome.files, [("passwd".to_owned(), b"mine\n".to_vec(), false)]);
}

#[test]
fn caps_hold() {
    let script = "truncate -s 100 a; truncate -s 101 b; truncate -s 1T c; truncate -s 100 d; \
                  truncate -s 51 e; truncate -s 50 f; : > g; : > h; rm script";
    let outcome = Task::sh(script)
        .outputs(&["*"])
        .with(|job| (job.file_cap, job.files_cap, job.files_count) = (100, 250, 4))
        .run();
    assert_eq!(names(&outcome), ["a", "d", "f", "g"]);
    let expected = [("b", TooLarge), ("c", TooLarge), ("e", TooMany), ("h", TooMany)];
    assert_eq!(skipped(&outcome), expected);
    assert_eq!(outcome.files[0].1, [0; 100]);
}

#[test]
fn no_more_skips_than_files_are_reported() {
    let script = "i=0; while [ $i -lt 100 ]; do : > $i; i=$((i+1)); done";
    let outcome = Task::sh(script).outputs(&["*"]).with(|job| job.files_count = 3).run();
    assert_eq!((outcome.files.len(), outcome.skipped.len()), (3, 3));
}

#[test]
fn what_cannot_be_read_is_said() {
    let script = "echo x > x; chmod 0 x; mkdir d; echo y > d/y; chmod 0 d";
    let outcome = Task::sh(script).outputs(&["x", "d/y"]).run();
    assert_eq!(skipped(&outcome), [("d", Unreadable), ("x", Unreadable)]);
}

#[test]
fn a_bottomless_tree_has_a_bottom() {
    let script = "i=0; while [ $i -lt 100 ]; do mkdir d; cd d; i=$((i+1)); done; echo x > x";
    let outcome = Task::sh(script).outputs(&["**/x"]).run();
    assert_eq!(names(&outcome), Vec::<&str>::new());
    assert_eq!(skipped(&outcome), [(&*vec!["d"; 64].join("/"), TooMany)]);
}

#[test]
fn files_come_back_after_a_stop_too() {
    let task = Task::sh("echo part > part; exec sleep 1000").outputs(&["part"]);
    let outcome = task.with(|job| job.timer_ms = 300).run();
    assert!(outcome.ended().stopped);
    assert_eq!(names(&outcome), ["part"]);
}
