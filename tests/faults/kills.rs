//! The service is killed in each phase of a request, and the next start takes over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::driver::{ANOTHER, Fault, READY, check_answers, counted, pass, ready};
use super::load::Load;
use super::seed::{self, left_out};
use super::service;
use super::support::chance::Chance;
use super::support::{Engine, Service, host, until};
use super::table::Row;

/// For one more than there is room for to get a place under load.
const PLACE: Duration = Duration::from_secs(20);
const CUT_SHORT: &str = "oncebox_faults_total{fault=\"cut_short\"}";

/// Kills a service that `bring` has brought to a phase, and starts the next one on the same store.
fn killed(
    engine: Engine,
    phase: &'static str,
    pool: &str,
    bring: impl FnOnce(&Service, &mut Chance),
) {
    let fault = Fault::new(phase, "did not end in order", CUT_SHORT);
    let kept = TempDir::with_prefix("oncebox-it-").expect("a folder");
    let store = kept.path().join("executions.redb");
    let settings = [("EXECUTION_STORE", store.to_str().expect("text")), ("POOL_SIZE", pool)];
    let dying = service(engine, &settings);
    let mut row = Row::begin(engine, phase);
    let mut random = seed::chance(&format!("{engine} {phase}"));
    let accepted: Vec<_> = (0..4).map(|number| accept(&dying, number)).collect();
    let load = Load::start(&phase.replace(' ', "-"), dying.address(), &mut random, Duration::ZERO);
    load.full(&dying);
    pass(random.millis(0, 500));
    bring(&dying, &mut random);
    let residue = dying.kill();
    let sent = load.stop();
    row.answers(&sent);
    check_answers(&sent, fault);
    residue.ended();

    let began = Instant::now();
    let next = service(engine, &settings);
    ready(&next);
    row.ready(began.elapsed());
    assert!(began.elapsed() < READY, "{:?}", began.elapsed());
    for (number, id) in accepted.iter().enumerate() {
        taken_over(&next, number, id);
    }
    assert!(next.log().contains(fault.log), "{}", next.last_words());
    assert_eq!(counted(&next, fault.metric), 1.0);
    drop(next);
    residue.gone();
    row.passed();
}

/// An execution that outlives its request; every second one may be run again.
fn accept(service: &Service, number: usize) -> String {
    let request = json!({"script": format!("sleep 0.3; echo {number}"), "retry_on_interrupt": number % 2 == 1});
    let reply = service.post_to("/executions", &request);
    assert_eq!(reply.http, 202);
    let document: Value = serde_json::from_slice(&reply.body).expect("JSON");
    document["id"].as_str().expect("an id").to_owned()
}

/// It has one end: its own right one, or that it was interrupted where it may not run again.
fn taken_over(service: &Service, number: usize, id: &str) {
    let document = until("an end of what was accepted", Duration::from_secs(10), || {
        let reply = service.get(&format!("/executions/{id}")).ok()?;
        let document: Value = serde_json::from_slice(&reply.body).expect("JSON");
        (!["queued", "running"].contains(&document["state"].as_str()?)).then_some(document)
    });
    match document["state"].as_str() {
        Some("ended") => assert_eq!(document["result"]["stdout"], format!("{number}\n")),
        Some("interrupted") => assert_eq!(number % 2, 0, "{document}"),
        _ => panic!("{document}"),
    }
}

/// Connected and sent, and nobody has looked at it yet.
fn before_accept(engine: Engine) {
    if left_out(engine, "phase", 0, 5) {
        return;
    }
    killed(engine, "killed before it accepts", "3", |service, _| {
        host::signal(service.pid(), Signal::STOP);
        let mut late = TcpStream::connect(service.address()).expect("a backlog");
        late.write_all(b"POST /execute HTTP/1.1\r\nhost: x\r\n\r\n").expect("a backlog");
    });
}

/// Of those under load some wait, some run and some end at any moment.
fn while_they_run(engine: Engine) {
    if left_out(engine, "phase", 1, 5) {
        return;
    }
    killed(engine, "killed while they run", "3", |_, _| {});
}

/// Nothing waits ahead, so that containers are made all the time.
fn while_they_are_prepared(engine: Engine) {
    if left_out(engine, "phase", 2, 5) {
        return;
    }
    killed(engine, "killed while they are prepared", "0", |_, random| pass(random.millis(0, 300)));
}

/// A client has the head of its answer, and not all of its body.
fn while_it_answers(engine: Engine) {
    if left_out(engine, "phase", 3, 5) {
        return;
    }
    let mut rest = None;
    killed(engine, "killed while it answers", "3", |service, _| {
        let body = json!({"script": "head -c 9000000 /dev/zero", "output_limit": "9m"}).to_string();
        let answer = until("a place for one more", PLACE, || {
            let mut client = TcpStream::connect(service.address()).expect("open");
            let head = format!(
                "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(head.as_bytes()).expect("open");
            let mut head = [0; 64];
            client.read_exact(&mut head).expect("an answer begins");
            head.starts_with(b"HTTP/1.1 200").then_some(client)
        });
        rest = Some(answer);
    });
    let mut body = Vec::new();
    let _ = rest.expect("an answer").read_to_end(&mut body);
    assert!(body.len() < 9_000_000 && !body.ends_with(b"}"), "{} bytes came", body.len());
}

fn while_it_drains(engine: Engine) {
    if left_out(engine, "phase", 4, 5) {
        return;
    }
    killed(engine, "killed while it drains", "3", |service, random| {
        // It outlasts all others: without it the drain might be over before the service is killed.
        let mark = host::mark("174.9");
        let request = json!({"script": format!("sleep {mark}"), "timeout": 250});
        // Whoever sends it comes again until there is a place for one more.
        let post = service.poster_from(ANOTHER);
        std::thread::spawn(move || {
            until("it to be cut short", PLACE, || post(&request).is_err().then_some(()));
        });
        host::await_argument(&mark);
        service.terminate();
        until("it to drain", Duration::from_secs(5), || {
            service.log().contains("stopping").then_some(())
        });
        pass(random.millis(0, 300));
    });
}

/// Two services side by side, and one of them crashes: the other one's clients do not notice.
fn one_of_two(engine: Engine) {
    let kept = TempDir::with_prefix("oncebox-it-").expect("a folder");
    let store = kept.path().join("executions.redb");
    let settings = [("EXECUTION_STORE", store.to_str().expect("text"))];
    let living = service(engine, &[]);
    let mut dying = Some(service(engine, &settings));
    // Of the living one there is nothing to tell; the crash is the next start's to tell.
    let fault =
        Fault::new("one of two killed", "", "oncebox_executions_total").harmless().unlogged();
    super::driver::trial(&living, engine, fault, |moment| {
        let mark = &host::mark("173.9");
        let one = dying.as_ref().expect("it lives");
        let posts: Vec<_> = (0..3).map(|_| one.poster()).collect();
        std::thread::scope(|scope| {
            for post in posts {
                let request = json!({"script": format!("sleep {mark}"), "timeout": 250});
                scope.spawn(move || drop(post(&request)));
            }
            host::await_argument(mark);
            pass(moment.random.millis(0, 300));
            let residue = dying.take().expect("it lives").kill();
            until("its scripts to end", Duration::from_secs(5), || {
                host::with_argument(mark).is_empty().then_some(())
            });
            let next = service(engine, &settings);
            assert!(next.log().contains("did not end in order"), "{}", next.last_words());
            assert_eq!(counted(&next, CUT_SHORT), 1.0);
            drop((next, residue));
        });
    });
}

on_both_engines! {
    together: ;
    alone: before_accept, while_they_run, while_they_are_prepared, while_it_answers,
        while_it_drains, one_of_two
}
