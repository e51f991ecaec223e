//! How often callers may come, and that they don't get in each other's way.

use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use reqwest::blocking::Response;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Door, KeyFile, header};
use crate::support::{host, turn, until};

/// What a refused caller is told: when to come again, in whole seconds.
fn assert_limited(answer: Response) {
    let wait: u32 = header(&answer, "retry-after").parse().expect("whole seconds");
    assert!(wait >= 1);
    assert_eq!(header(&answer, "ratelimit"), format!("\"default\";r=0;t={wait}"));
    let body: Value = answer.json().expect("JSON");
    assert_eq!(body["code"], "rate_limited");
}

/// One key floods; it is held to its rate, and the other does not notice.
#[test]
fn w05_a_flood_of_one_key_is_its_own_affair() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let (flooding, working) =
        (file.key(&["a", "--rate", "5/h"]), file.key(&["b", "--rate", "1000/s"]));
    let door = &Door::open(&[("API_KEYS_FILE", &file.setting())]);
    const CLIENTS: usize = 4;
    const EACH: usize = 50;
    let start = &Barrier::new(CLIENTS + 1);
    let let_in: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let flooding = &flooding;
                scope.spawn(move || {
                    start.wait();
                    let mut let_in = 0;
                    for _ in 0..EACH {
                        let answer = door.get("/languages", flooding);
                        match answer.status().as_u16() {
                            429 => assert_limited(answer),
                            _ => {
                                assert_eq!(
                                    header(&answer, "ratelimit-policy"),
                                    "\"default\";q=5;w=3600"
                                );
                                let_in += 1;
                            }
                        }
                    }
                    let_in
                })
            })
            .collect();
        start.wait();
        assert!((0..20).all(|_| door.runs(&working)));
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    assert_eq!(let_in, 5);
}

/// Who has no key is his address, and says of himself what he likes: that changes nothing, unless
/// a proxy says it whom the operator trusts.
#[test]
fn w05_nobody_is_another_by_his_own_word() {
    let _turn = turn::together();
    let ask = |door: &Door, forwarded: String| {
        let request = door.request("GET", "/nowhere").header("x-forwarded-for", forwarded);
        request.header("forwarded", "for=9.9.9.9").send().expect("an answer").status().as_u16()
    };
    let plain = Door::open(&[("RATE_LIMIT", "5/h")]);
    let answers: Vec<_> = (1..=20).map(|last| ask(&plain, format!("192.0.2.{last}"))).collect();
    assert_eq!(answers.iter().filter(|status| **status == 404).count(), 5, "{answers:?}");
    assert!(answers[5..].iter().all(|status| *status == 429), "{answers:?}");
    assert_eq!(plain.request("GET", "/health").send().expect("an answer").status().as_u16(), 200);

    let behind = Door::open(&[("RATE_LIMIT", "5/h"), ("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")]);
    let each = (1..=20).map(|last| ask(&behind, format!("192.0.2.{last}")));
    assert!(each.into_iter().all(|status| status == 404));
    // Only the address that the proxy has written, behind whatever the client has.
    let one = (1..=20).map(|last| ask(&behind, format!("192.0.2.{last}, 198.51.100.7, 10.0.0.2")));
    assert_eq!(one.filter(|status| *status == 404).count(), 5);
}

/// A rate comes back with time.
#[test]
fn w05_who_waits_as_he_is_told_is_let_in() {
    let _turn = turn::together();
    let door = Door::open(&[("RATE_LIMIT", "2/s")]);
    let ask = || door.request("GET", "/nowhere").send().expect("an answer");
    let refused = until("a refusal", Duration::from_secs(20), || {
        let answer = ask();
        (answer.status().as_u16() == 429).then_some(answer)
    });
    let told = Instant::now();
    assert_limited(refused);
    until("a second", Duration::from_secs(20), || (told.elapsed().as_secs() >= 1).then_some(()));
    assert_eq!(ask().status().as_u16(), 404);
}

/// A hundred at once of two keys, where four can run and eight can wait: twelve are served, and the
/// places go to both keys alike, however much more one of them asks.
#[test]
fn w22_two_keys_share_what_there_is() {
    let _turn = turn::alone();
    let file = KeyFile::new();
    let (greedy, modest) = (file.key(&["greedy"]), file.key(&["modest"]));
    let settings = [
        ("API_KEYS_FILE", &*file.setting()),
        ("MAX_CONCURRENT", "4"),
        ("QUEUE_LIMIT", "8"),
        ("QUEUE_TIMEOUT", "60"),
    ];
    let door = &Door::open(&settings);
    let marks = ["1732.01", "1732.02", "1732.03", "1732.04"];
    const REST: usize = 96;
    let start = &Barrier::new(REST);
    let (answered, answers) = channel();
    std::thread::scope(|scope| {
        let greedy = &greedy;
        let running = marks.map(|mark| {
            scope.spawn(move || door.execute(&json!({"script": format!("sleep {mark}")}), greedy));
            host::await_argument(mark)
        });
        for client in 0..REST {
            let answered = answered.clone();
            // Two of three are the greedy one's.
            let (name, key) =
                if client % 3 == 0 { ("modest", &modest) } else { ("greedy", greedy) };
            scope.spawn(move || {
                start.wait();
                let answer = door.execute(&json!({"script": "date +%s.%N"}), key);
                answered.send((name, answer)).expect("somebody listens");
            });
        }
        // None of them waits for a script to end: those that run do so until they are let go.
        for _ in 0..REST - 8 {
            let (_, answer) = answers.recv_timeout(Duration::from_secs(60)).expect("a refusal");
            assert_eq!(answer.status().as_u16(), 429);
            assert!(header(&answer, "retry-after").parse::<u32>().is_ok());
            assert_eq!(answer.json::<Value>().expect("JSON")["code"], "queue_full");
        }
        // One permit, so that the order is to be seen.
        host::signal(running[0], Signal::KILL);
        let mut served: Vec<(f64, &str)> = (0..8)
            .map(|_| {
                let (name, answer) =
                    answers.recv_timeout(Duration::from_secs(60)).expect("an answer");
                let body: Value = answer.json().expect("JSON");
                let time = body["stdout"].as_str().unwrap_or_else(|| panic!("{body}")).trim();
                (time.parse().expect("a time"), name)
            })
            .collect();
        served.sort_by(|a, b| a.0.total_cmp(&b.0));
        let names: Vec<_> = served.iter().map(|(_, name)| *name).collect();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
        for pid in &running[1..] {
            host::signal(*pid, Signal::KILL);
        }
    });
}
