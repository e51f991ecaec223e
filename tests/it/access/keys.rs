//! Making keys, and changing them under a running service.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Door, KeyFile, new_key};
use crate::support::{host, turn, until};

/// For a file to be looked at again.
const SOON: Duration = Duration::from_secs(20);

fn times_read(door: &Door) -> usize {
    door.service.log().matches("API keys read").count()
}

/// A key is said once, its hash is kept, and it opens the door.
#[test]
fn a_new_key_is_said_once_and_opens_the_door() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci", "--scopes", "execute, images", "--max-timeout", "5"]);
    assert!(key.starts_with("obx_") && key.len() == 47, "{} characters", key.len());
    assert!(!file.text().contains(&key[4..]));
    assert_eq!(fs::metadata(file.path()).expect("there").mode() & 0o777, 0o600);
    assert!(Door::open(&[("API_KEYS_FILE", &file.setting())]).runs(&key));

    let before = file.text();
    let twice = new_key(Some(&file.path()), &["ci"]);
    let told = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(!twice.status.success() && twice.stdout.is_empty(), "{told}");
    assert!(told.contains("name") && told.contains("has the same"), "{told}");
    assert_eq!(file.text(), before);
}

/// Without a file the entry is said as well, ready to be put into one.
#[test]
fn a_new_key_without_a_file_is_said_with_its_entry() {
    let _turn = turn::together();
    let output = new_key(None, &["ci", "--rate", "100/s"]);
    let said = String::from_utf8(output.stdout).expect("text");
    let (key, entry) = said.split_once("\n\n").expect("a key and an entry");
    assert_eq!(said.matches(key).count(), 1);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(key));
    let file = KeyFile::new();
    file.key(&["first"]);
    file.write(entry);
    assert!(Door::open(&[("API_KEYS_FILE", &file.setting())]).runs(key));
    let refused = new_key(None, &["a b"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
}

/// Keys come and go under a running service; a bad file changes nothing and is told once.
#[test]
fn a_changed_file_is_read_again() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let first = file.key(&["first", "--rate", "2/h"]);
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    assert!(door.runs(&first));

    let second = file.key(&["second"]);
    until("the second key to be let in", SOON, || door.runs(&second).then_some(()));

    let good = file.text();
    file.write(&good.replace("second", "no name"));
    let kept = || door.service.log().matches("the API keys stay as they were").count();
    until("the bad file to be told", SOON, || (kept() == 1).then_some(()));
    assert!(door.runs(&second));
    let log = door.service.log();
    let line = log.lines().find(|line| line.contains("stay as they were")).expect("a line");
    for named in [&*file.setting(), "key 2", "no name", "\"level\":\"ERROR\""] {
        assert!(line.contains(named), "nothing of {named}: {line}");
    }

    // The first key alone, which has used two of its requests by then and keeps its standing.
    file.write(&good[..good.rfind("[[keys]]").expect("two entries")]);
    until("the second key to be refused", SOON, || (!door.runs(&second)).then_some(()));
    assert_eq!(kept(), 1);
    assert!(door.runs(&first));
    let refused = door.get("/nowhere", &first);
    assert_eq!(refused.status().as_u16(), 429);
}

/// SIGHUP has the file read at once, changed or not, and ends nothing.
#[test]
fn sighup_has_the_keys_read() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci"]);
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    until("the first look", SOON, || (times_read(&door) == 1).then_some(()));
    for times in 2..=3 {
        host::signal(door.service.pid(), Signal::HUP);
        until("the file to be read", SOON, || (times_read(&door) == times).then_some(()));
    }
    assert!(door.runs(&key));
}

/// Mounted secrets change by a link that leads elsewhere.
#[test]
fn a_link_that_leads_elsewhere_is_a_changed_file() {
    let _turn = turn::together();
    let (old, new) = (KeyFile::new(), KeyFile::new());
    let (first, second) = (old.key(&["ci"]), new.key(&["ci"]));
    let link = old.folder.path().join("link");
    symlink(old.path(), &link).expect("a link");
    let door = Door::open(&[("API_KEYS_FILE", link.to_str().expect("UTF-8"))]);
    assert!(door.runs(&first) && !door.runs(&second));
    let next = old.folder.path().join("next");
    symlink(new.path(), &next).expect("a link");
    fs::rename(&next, &link).expect("exchanged");
    until("the new key to be let in", SOON, || door.runs(&second).then_some(()));
    assert!(!door.runs(&first));
}

/// A key has ceilings and a number of executions of its own; another key has not.
#[test]
fn a_key_has_limits_of_its_own() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let small = ["small", "--concurrency", "1", "--max-timeout", "60", "--max-memory-limit", "64m"];
    let (small, large) = (file.key(&small), file.key(&["large", "--scopes", "execute,admin"]));
    let door = Door::open(&[("API_KEYS_FILE", &file.setting()), ("MAX_CONCURRENT", "2")]);
    for request in
        [json!({"script": "x", "timeout": 61}), json!({"script": "x", "memory_limit": "65m"})]
    {
        let refused: Value = door.execute(&request, &small).json().expect("JSON");
        assert_eq!(refused["code"], "limit_exceeded", "{refused}");
        assert!(refused["detail"].as_str().expect("text").contains("API key"), "{refused}");
        assert_eq!(door.execute(&request, &large).status().as_u16(), 200);
    }
    let mark = &host::mark("1414.21");
    std::thread::scope(|scope| {
        let run = |script: String| {
            let (door, small) = (&door, &small);
            scope.spawn(move || {
                door.execute(&json!({"script": script}), small).json::<Value>().expect("JSON")
            })
        };
        let first = run(format!("sleep {mark}"));
        let held = host::await_argument(mark);
        let second = run("echo second".into());
        until("the second to wait", SOON, || {
            let metrics = door.get("/metrics", &large).text().expect("text");
            metrics.contains("\noncebox_queue_length 1\n").then_some(())
        });
        // One of the two permits is free, and the second may not have it.
        assert!(door.runs(&large) && !second.is_finished());
        host::signal(held, Signal::KILL);
        assert_eq!(first.join().expect("no panic")["exit_code"], 137);
        assert_eq!(second.join().expect("no panic")["stdout"], "second\n");
    });
}
