//! From `POST /executions` to the result and to its end.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Asking, Kept, SOON, script};
use crate::support::disk::Disk;
use crate::support::service::oncebox;
use crate::support::{Engine, Service, Shared, host, until};

fn one_goes_on_without_its_request(engine: Engine) {
    let service = Shared::get(engine);
    let asking = Asking::of(&service);
    let request =
        json!({"script": "echo out; echo err >&2; echo file > f; exit 3", "outputs": ["f"]});
    let id = asking.create(&request);
    let answer = asking.ended(&id);
    let plain = service.run(&request);
    for same in ["status", "exit_code", "stdout", "stderr", "image", "image_digest", "files"] {
        assert_eq!(answer.0[same], plain.0[same], "{same}");
    }
    assert_eq!((answer.0["id"].as_str(), answer.exit_code()), (Some(&*id), 3));
    let document = asking.document(&id);
    assert!(document["created"].as_str() <= document["started"].as_str(), "{document}");
    assert!(document["started"].as_str() <= document["ended"].as_str(), "{document}");
    assert!(asking.list("").0.contains(&id));

    // What never ran says why.
    let id = asking.create(&json!({"script": "x", "image": "localhost:1/none"}));
    let failed = asking.until(&id, "failed");
    assert_eq!(failed["problem"]["code"], "image_not_allowed");
    assert!(failed.get("result").is_none(), "{failed}");
}

fn events_are_replayed_and_go_on(engine: Engine) {
    let service = Shared::get(engine);
    let asking = Asking::of(&service);
    let mark = host::mark("271");
    let id = asking.create(&script(format!("echo first; sleep {mark}; echo last")));
    let process = host::await_argument(&mark);
    let mut events = asking.follow(&id, None);
    assert_eq!(events.next().expect("an event").name, "started");
    let first = events.next().expect("an event");
    assert_eq!((&*first.id, &first.data["content"]), ("6", &json!("first\n")));
    // Another one, who has had three bytes of it.
    let mut resumed = asking.follow(&id, Some("3"));
    assert_eq!(resumed.next().expect("an event").data, json!({"offset": 3, "content": "st\n"}));
    host::signal(process, Signal::KILL);
    let rest: Vec<_> = events.collect();
    assert_eq!(rest, resumed.collect::<Vec<_>>());
    // Its shell may have a word to say on stderr of the one that was killed.
    let next = rest.iter().find(|event| event.name == "stdout").expect("more output");
    assert_eq!(next.data, json!({"offset": 6, "content": "last\n"}));
    let last = rest.last().expect("a last event");
    assert_eq!((&*last.name, &*last.id), ("result", "end"));
    assert_eq!(last.data, asking.ended(&id).0);
    // The same once it is only kept.
    let all: Vec<_> = asking.follow(&id, None).collect();
    let printed = |name: &str| {
        let of = all.iter().filter(|event| event.name == name);
        of.map(|event| event.data["content"].as_str().expect("text")).collect::<String>()
    };
    assert_eq!(printed("stdout"), "first\nlast\n");
    assert_eq!(all.last(), rest.last());
    let over = asking.client.get(asking.url(&format!("/executions/{id}/events")));
    assert_eq!(Asking::send(over.header("last-event-id", "end")).http, 204);
}

/// One that waits never runs; the container of one that runs is gone within a second.
fn one_is_cancelled_while_it_waits_and_while_it_runs(engine: Engine) {
    let service = Service::start(engine, &[("MAX_CONCURRENT", "1"), ("POOL_SIZE", "0")]);
    let asking = Asking::of(&service);
    let [running, waiting] = ["272", "273"].map(host::mark);
    let first = asking.create(&script(format!("echo up; sleep {running}")));
    let process = host::await_argument(&running);
    asking.until(&first, "running");
    let second = asking.create(&script(format!("sleep {waiting}")));
    let third = asking.create(&script("echo third"));
    let position = |id: &str| asking.until(id, "queued")["position"].clone();
    until("both to wait", SOON, || (position(&third) == 2).then_some(()));
    assert_eq!((position(&second), position(&third)), (json!(1), json!(2)));
    assert_eq!(asking.cancel(&second).json()["state"], "cancelled");
    until("the next to come up", SOON, || (position(&third) == 1).then_some(()));

    let told = Instant::now();
    let document = asking.cancel(&first).json();
    assert_eq!(document["result"]["status"], "cancelled", "{document}");
    assert_eq!(document["result"]["stdout"], "up\n");
    until("the script to be gone", SOON, || {
        host::proc(process, "cmdline").is_none_or(|line| line.is_empty()).then_some(())
    });
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!(asking.ended(&third).text(), "third\n");
    assert!(host::with_argument(&waiting).is_empty(), "it never ran");
    assert_eq!(asking.cancel(&third).json()["state"], "ended", "what is over stays as it is");
}

fn ones_own_are_listed_in_pages(engine: Engine) {
    let service = Service::start(engine, &[]);
    let asking = Asking::of(&service);
    let mut ids: Vec<_> = (0..5).map(|_| asking.create(&script("echo x"))).collect();
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let (page, next) = asking.list(&query);
        seen.extend(page);
        match next.as_str() {
            Some(next) => query = format!("?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for wrong in ["?limit=0", "?limit=501", "?limit=many", "?after=x", "?page=2"] {
        let code = asking.get(&format!("/executions{wrong}")).code();
        assert_eq!(code, (400, "invalid_request".into()), "{wrong}");
    }
    ids.iter().for_each(|id| drop(asking.ended(id)));
}

/// Whoever calls from elsewhere finds what he would find of an id that nothing has.
fn w29_somebody_elses_execution_is_none(engine: Engine) {
    let service = Service::start(engine, &[]);
    let (mine, other) = (Asking::of(&service), Asking::from(&service, [127, 0, 0, 2].into()));
    let mark = host::mark("274");
    let id = mine.create(&script(format!("sleep {mark}")));
    mine.until(&id, "running");
    let unknown = uuid::Uuid::from_u128(uuid::Uuid::parse_str(&id).expect("an id").as_u128() ^ 1);
    let nobody = unknown.to_string();
    let without_id = |mut document: Value| {
        document["request_id"] = Value::Null;
        document
    };
    let same = |of: &dyn Fn(&str) -> super::Said| {
        let (his, none) = (of(&id), of(&nobody));
        assert_eq!(his.code(), (404, "execution_not_found".into()));
        assert_eq!(without_id(his.json()), without_id(none.json()));
        let names = |said: &super::Said| {
            said.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        assert_eq!((his.http, names(&his)), (none.http, names(&none)));
    };
    same(&|id| other.get(&format!("/executions/{id}")));
    same(&|id| other.get(&format!("/executions/{id}/events")));
    same(&|id| other.cancel(id));
    assert!(other.list("").0.is_empty());
    assert_eq!(mine.document(&id)["state"], "running", "nothing was cancelled");
    mine.cancel(&id);
}

fn as_many_wait_as_may(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("MAX_BACKGROUND", "2"), ("QUEUE_LIMIT", "0")];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let mark = host::mark("275");
    let first = asking.create(&script(format!("sleep {mark}")));
    host::await_argument(&mark);
    let second = asking.create(&script("echo second"));
    let refused = asking.post("/executions", &script("echo third"));
    assert_eq!(refused.code(), (429, "too_many_executions".into()));
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    asking.cancel(&first);
    assert_eq!(asking.ended(&second).text(), "second\n");
}

fn what_is_kept_is_private_expires_and_has_one_service(engine: Engine) {
    let kept = Kept::new();
    let file = kept.file();
    let service = Service::start(engine, &[("EXECUTION_STORE", &file), ("RESULT_TTL", "2")]);
    let mode = std::fs::metadata(&file).expect("a file").mode();
    assert_eq!(mode & 0o777, 0o600);
    let asking = Asking::of(&service);
    let id = asking.create(&script("echo x"));
    asking.ended(&id);
    until("it to be too old", SOON, || {
        (asking.get(&format!("/executions/{id}")).http == 404).then_some(())
    });
    assert!(asking.list("").0.is_empty());

    let second = oncebox("serve", engine).env("EXECUTION_STORE", &file).env("PORT", "0").output();
    let second = second.expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success(), "{said}");
    assert!(said.contains("another service") && said.contains("EXECUTION_STORE"), "{said}");
    assert_eq!(service.run(&json!({"script": "echo still"})).text(), "still\n");
    assert!(kept.path().exists());
}

fn a_full_store_says_so(engine: Engine) {
    let service = Service::start(engine, &[("RESULT_STORE_SIZE", "20k")]);
    let asking = Asking::of(&service);
    let large = json!({"script": format!("# {}", "x".repeat(30_000)), "retry_on_interrupt": true});
    assert_eq!(asking.post("/executions", &large).code(), (507, "no_space".into()));
    let id = asking.create(&script("head -c 30000 /dev/zero"));
    assert_eq!(asking.until(&id, "failed")["problem"]["code"], "no_space");
    let last: Vec<_> = (0..30)
        .map(|_| {
            let id = asking.create(&script("head -c 1000 /dev/zero"));
            asking.ended(&id);
            id
        })
        .collect();
    let (left, _) = asking.list("?limit=500");
    assert!(left.len() < 20 && left.contains(&last[29]) && !left.contains(&id), "{}", left.len());
}

/// A disk that is full refuses what is new, and what ends meanwhile is written down when there is
/// room again.
fn a_full_disk_says_so_and_loses_nothing(engine: Engine) {
    let disk = Disk::of("24m");
    let file = format!("{}/executions.redb", disk.path());
    let settings = [("EXECUTION_STORE", &*file)];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let before = asking.create(&script("echo before"));
    asking.ended(&before);
    let mark = host::mark("276");
    let running = asking.create(&script(format!("sleep {mark}; head -c 500000 /dev/zero")));
    let process = host::await_argument(&mark);

    let filler = disk.folder().join("filler");
    let filled = std::fs::write(&filler, vec![1; 24 << 20]);
    assert!(filled.is_err(), "the disk takes more than it has");
    assert_eq!(asking.post("/executions", &script("echo x")).code(), (507, "no_space".into()));
    assert_eq!(asking.keyed("/execute", "k", &script("echo x")).code(), (507, "no_space".into()));
    assert_eq!(service.run(&json!({"script": "echo plain"})).text(), "plain\n");
    host::signal(process, Signal::KILL);
    let document = asking.until(&running, "failed");
    assert_eq!(document["problem"]["code"], "no_space", "{document}");
    assert_eq!(asking.ended(&before).text(), "before\n");

    std::fs::remove_file(filler).expect("the filler");
    let after = asking.create(&script("echo after"));
    assert_eq!(asking.ended(&after).text(), "after\n");
    drop(service);
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let names = [&before, &running, &after].map(|id| asking.document(id)["state"].clone());
    assert_eq!(names, ["ended", "failed", "ended"]);
}

on_both_engines! {
    together:
        one_goes_on_without_its_request,
        events_are_replayed_and_go_on;
    alone:
        one_is_cancelled_while_it_waits_and_while_it_runs;
    native:
        ones_own_are_listed_in_pages,
        w29_somebody_elses_execution_is_none,
        as_many_wait_as_may,
        what_is_kept_is_private_expires_and_has_one_service,
        a_full_store_says_so,
        a_full_disk_says_so_and_loses_nothing
}
