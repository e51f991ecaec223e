//! Many more requests than there is room for (W22).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Engine, Raw, Service};

/// A hundred at once where four run and eight wait: no more than twelve are taken, each of them gets
/// its own answer, and the others are told at once to come again.
fn w22_a_hundred_at_once(engine: Engine) {
    const CLIENTS: usize = 100;
    let settings = [
        ("MAX_CONCURRENT", "4"),
        ("QUEUE_LIMIT", "8"),
        ("QUEUE_TIMEOUT", "60"),
        ("POOL_SIZE", "8"),
    ];
    let service = Service::start(engine, &settings);
    let body = |client: usize| json!({"script": format!("echo {client}; sleep 2")}).to_string();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::to(&service)).collect();
    let sent = Instant::now();
    for (client, raw) in clients.iter_mut().enumerate() {
        raw.execute("", body(client).as_bytes());
    }
    // Whoever waits is told nothing before the first scripts end.
    let mut waiting = Vec::new();
    for (client, mut raw) in clients.into_iter().enumerate() {
        if raw.is_told(Duration::from_millis(100).saturating_sub(sent.elapsed())) {
            assert_eq!(raw.answer().refused().code(), "queue_full");
        } else {
            waiting.push((client, raw));
        }
    }
    let all = sent.elapsed();
    assert!(all < Duration::from_secs(1), "refusals took {all:?} together");
    // Now that all is full, each refusal by itself.
    let mut alone = [(); 9].map(|()| {
        let sent = Instant::now();
        let answer = Raw::to(&service).execute("", body(0).as_bytes()).answer();
        assert_eq!(answer.refused().code(), "queue_full");
        sent.elapsed()
    });
    alone.sort_unstable();
    assert!(alone[4] <= Duration::from_millis(50), "{alone:?}");
    assert_eq!(waiting.len(), 12);
    for (client, mut raw) in waiting {
        assert_eq!(raw.answer().json()["stdout"], format!("{client}\n"));
    }
}

on_both_engines! {
    together: ;
    alone: w22_a_hundred_at_once
}
