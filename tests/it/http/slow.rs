//! Clients that take their time (W18, W19), with what they send and with what they are sent.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::sample;
use crate::support::raw::EXECUTE;
use crate::support::wait::percentile;
use crate::support::{Engine, Raw, Service, host, until};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// On top of a deadline.
const LATE: Duration = Duration::from_secs(1);

/// How long each of so many executions takes, one after the other.
fn each(
    post: &impl Fn(&Value) -> reqwest::Result<crate::support::Reply>,
    count: usize,
) -> Vec<Duration> {
    let one = |_| {
        let began = Instant::now();
        let answer = post(&json!({"script": "echo ok"})).expect("an answer").ran();
        assert_eq!(answer.text(), "ok\n");
        began.elapsed()
    };
    (0..count).map(one).collect()
}

/// A thousand clients that say a byte a second, or nothing: each is gone in time, one address has at
/// most its half of the places, and whoever comes from elsewhere notices nothing.
fn w18_slow_heads_are_cut_off(engine: Engine) {
    const CAP: usize = 400;
    let head_timeout = Duration::from_secs(3);
    let cap = CAP.to_string();
    let settings = [("HEAD_TIMEOUT", "3"), ("MAX_CONNECTIONS", &*cap)];
    let service = Service::start(engine, &settings);
    let honest = service.poster_from(Ipv4Addr::new(127, 0, 0, 2));
    each(&honest, 50);
    let (base, alone) = (host::descriptors(service.pid()), percentile(&each(&honest, 200), 99));
    let began = Instant::now();
    let mut slow: Vec<_> = (0..1000).map(|_| Raw::from(ATTACKER, &service)).collect();
    let refusals = r#"oncebox_refusals_total{code="too_many_connections"}"#;
    until("those beyond its share to be refused", head_timeout, || {
        (sample(&service, refusals) == (1000 - CAP / 2) as f64).then_some(())
    });
    for mut raw in slow.extract_if(.., |raw| raw.is_told(Duration::ZERO)) {
        assert_eq!(raw.answer().refused().code(), "too_many_connections");
        assert_eq!(raw.end(), b"");
    }
    assert_eq!(slow.len(), CAP / 2);
    let head = b"POST /execute HTTP/1.1\r\nHost: x";
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut took = Vec::new();
            while began.elapsed() < head_timeout {
                took.extend(each(&honest, 100));
                assert!(
                    host::descriptors(service.pid()) <= base + CAP,
                    "{}",
                    host::descriptors(service.pid())
                );
            }
            percentile(&took, 99)
        });
        // A third of them says nothing at all.
        for byte in head.chunks(1).take(10) {
            let said = Instant::now();
            for raw in slow.iter_mut().skip(CAP / 6) {
                raw.say(byte);
            }
            until("the next second", LATE * 2, || (said.elapsed() >= LATE).then_some(()));
            if began.elapsed() > head_timeout {
                break;
            }
        }
        until("the end of all of them", head_timeout + LATE * 2, || {
            (sample(&service, "oncebox_http_connections") < 10.0).then_some(())
        });
        let took = began.elapsed();
        assert!(took < head_timeout + LATE * 3, "{took:?}");
        let beside = good.join().expect("no panic");
        // A few milliseconds are the machine's and not the attacker's.
        assert!(beside <= alone * 2 + Duration::from_millis(20), "{beside:?}, alone {alone:?}");
    });
    let silent: Vec<_> = slow.drain(..CAP / 6).collect();
    assert!(silent.into_iter().all(|mut raw| raw.is_over()), "silence is allowed");
    for mut raw in slow {
        assert_eq!(raw.answer().refused().code(), "request_timeout");
        assert_eq!(raw.end(), b"");
    }
}

/// Whoever gets no place reads why, also where he writes on when he has been told, and where he takes
/// no answer before he has asked.
fn w18_one_too_many_is_told_why(engine: Engine) {
    const CAP: usize = 64;
    let cap = CAP.to_string();
    let service = Service::start(engine, &[("MAX_CONNECTIONS", &*cap)]);
    let share: Vec<_> = (0..CAP / 2).map(|_| Raw::from(ATTACKER, &service)).collect();
    until("its share to be taken", LATE * 5, || {
        (sample(&service, "oncebox_http_connections") > (CAP / 2) as f64).then_some(())
    });
    let mut raw = Raw::from(ATTACKER, &service);
    raw.say(format!("{EXECUTE}Content-Length: 20\r\n\r\n"));
    assert!(raw.is_told(LATE * 5));
    for _ in 0..20 {
        assert!(raw.try_say(" "), "it is told, and no longer heard");
    }
    assert_eq!(raw.answer().refused().code(), "too_many_connections");
    assert_eq!(raw.end(), b"");
    let post = service.poster_from(ATTACKER);
    for _ in 0..50 {
        let answer = post(&json!({"script": "echo no"})).expect("an answer");
        assert_eq!(answer.refused().code(), "too_many_connections");
    }
    drop(share);
}

/// The deadline holds for every head on a connection, not for the first one only.
fn w18_a_slow_head_behind_another_is_cut_off(engine: Engine) {
    let service = Service::start(engine, &[("HEAD_TIMEOUT", "1"), ("IDLE_TIMEOUT", "30")]);
    let mut raw = Raw::to(&service);
    assert_eq!(raw.execute("", br#"{"script":"echo one"}"#).answer().json()["stdout"], "one\n");
    let began = Instant::now();
    assert_eq!(raw.say("GET /health HT").answer().refused().code(), "request_timeout");
    assert_eq!(raw.end(), b"");
    let took = began.elapsed();
    assert!((LATE..LATE * 2).contains(&took), "{took:?}");
}

fn w18_an_idle_connection_ends(engine: Engine) {
    let service = Service::start(engine, &[("HEAD_TIMEOUT", "30"), ("IDLE_TIMEOUT", "1")]);
    let mut raw = Raw::to(&service);
    // A script that takes longer than a connection may be idle is not cut off.
    let body = br#"{"script":"sleep 1.5; echo one"}"#;
    assert_eq!(raw.execute("", body).answer().json()["stdout"], "one\n");
    let began = Instant::now();
    assert_eq!(raw.end(), b"");
    let took = began.elapsed();
    assert!((LATE / 2..LATE * 2).contains(&took), "{took:?}");
}

/// A slow body holds no permit, and ends in 408.
fn w19_a_slow_body_is_cut_off(engine: Engine) {
    let settings = [("BODY_TIMEOUT", "2"), ("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "0")];
    let service = Service::start(engine, &settings);
    for headers in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let mut raw = Raw::to(&service);
        let began = Instant::now();
        raw.say(format!("{EXECUTE}{headers}"));
        let byte = if headers.contains("chunked") { "1\r\n \r\n" } else { " " };
        // Others run meanwhile, though there is one permit and no queue.
        while began.elapsed() < LATE {
            raw.say(byte);
            assert_eq!(service.run(&json!({"script": "echo meanwhile"})).text(), "meanwhile\n");
        }
        let problem = raw.answer().refused();
        assert_eq!((problem.http(), problem.code()), (408, "request_timeout"));
        let took = began.elapsed();
        assert!((LATE * 2..LATE * 3).contains(&took), "{took:?}");
        while raw.try_say(byte) {
            assert!(began.elapsed() < Duration::from_secs(20), "it reads without end");
        }
    }
}

/// Whoever does not take his answer, or takes it drop by drop, does not keep it in memory.
fn an_answer_that_is_not_taken_is_given_up(engine: Engine) {
    let settings = [("WRITE_TIMEOUT", "2"), ("MAX_OUTPUT_LIMIT", "16m"), ("CPU_LIMIT", "2")];
    let service = Service::start(engine, &settings);
    let memory = || host::kib(service.pid(), "VmRSS");
    let script = "head -c 12000000 /dev/zero | tr '\\0' x";
    let request = json!({"script": script, "output_limit": "16m"}).to_string();
    // The first answer of its size takes memory that is kept for the next one.
    let mut raw = Raw::to(&service);
    assert_eq!(raw.execute("", request.as_bytes()).answer().status, 200);
    let before = memory();
    let mut after = Vec::new();
    for drops in [false, true, false, true] {
        let open = sample(&service, "oncebox_http_connections");
        let mut raw = Raw::narrow(&service);
        raw.execute("", request.as_bytes());
        // The answer has begun.
        raw.read(1);
        assert!(memory() > before + 8000, "{} KiB after {before}", memory());
        let began = Instant::now();
        until("the connection to be given up", Duration::from_secs(10), || {
            if drops {
                raw.read(100);
            }
            (sample(&service, "oncebox_http_connections") <= open).then_some(())
        });
        let took = began.elapsed();
        assert!(took >= LATE && took < LATE * 5, "{took:?}");
        after.push(memory());
    }
    // What is kept for the next one is kept once by each worker.
    assert!(after[3] < after[1] + 6000, "{after:?} KiB after {before}");
    // Slowly, but fast enough.
    let mut raw = Raw::narrow(&service);
    let request = json!({"script": "head -c 400000 /dev/zero | tr '\\0' x"}).to_string();
    raw.execute("", request.as_bytes());
    assert_eq!(raw.answer().json()["stdout_bytes"], 400_000);
}

on_one_engine! {
    together: w18_a_slow_head_behind_another_is_cut_off, w18_an_idle_connection_ends,
        w18_one_too_many_is_told_why, w19_a_slow_body_is_cut_off,
        an_answer_that_is_not_taken_is_given_up;
    alone: w18_slow_heads_are_cut_off
}
