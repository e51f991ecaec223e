//! More requests than can run at once: callers take turns, and what is refused is refused at once.

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Engine, Reply, Service, host, until};

const GREEDY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const MODEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A script that runs until [`Held::let_go`].
struct Held(u32);

impl Held {
    fn await_script(mark: &str) -> Self {
        Self(host::await_argument(mark))
    }

    fn let_go(self) {
        host::signal(self.0, Signal::KILL);
    }
}

fn await_queue(service: &Service, length: usize) {
    let line = format!("\noncebox_queue_length {length}\n");
    until(&format!("{length} to wait"), Duration::from_secs(20), || {
        let metrics = service.get("/metrics").expect("an answer").body;
        String::from_utf8_lossy(&metrics).contains(&line).then_some(())
    });
}

/// One caller fills the queue, and is told so at once. Another still gets a place in it, and the
/// next turn but one; what the first had sent last is refused for it, and the rest is served in the
/// order it came.
fn a_second_caller_gets_in_in_turn(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_LIMIT", "3"), ("QUEUE_TIMEOUT", "60")];
    let service = Service::start(engine, &settings);
    let (greedy, modest) = (&service.poster_from(GREEDY), &service.poster_from(MODEST));
    let mark = &host::mark("2718.28");
    let post = |post: &dyn Fn(&Value) -> reqwest::Result<Reply>, script: &str| {
        post(&json!({ "script": script })).expect("an answer")
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(move || post(greedy, &format!("sleep {mark}; echo first")));
        let held = Held::await_script(mark);
        let mut queue = Vec::new();
        for waiting in 1..=3 {
            queue.push(scope.spawn(move || post(greedy, "date +%s.%N")));
            await_queue(&service, waiting);
        }
        let mut times = [(); 9].map(|()| {
            let sent = Instant::now();
            let problem = post(greedy, "echo never").refused();
            assert_eq!((problem.http(), problem.code()), (429, "queue_full"));
            sent.elapsed()
        });
        times.sort_unstable();
        assert!(times[4] < Duration::from_millis(50), "refused after {times:?}");

        let newcomer = scope.spawn(move || post(modest, "date +%s.%N"));
        let displaced = queue.pop().expect("three").join().expect("no panic").refused();
        assert_eq!((displaced.http(), displaced.code()), (429, "queue_full"));
        await_queue(&service, 3);
        held.let_go();

        assert_eq!(first.join().expect("no panic").ran().text(), "first\n");
        let started = |reply: Reply| reply.ran().text().trim().parse::<f64>().expect("a time");
        let newcomer = started(newcomer.join().expect("no panic"));
        let [second, third] = [0, 1].map(|_| started(queue.remove(0).join().expect("no panic")));
        assert!(second < newcomer && newcomer < third, "{second} {newcomer} {third}");
    });
}

/// Who has waited too long is told to come again.
fn waiting_ends_in_time(engine: Engine) {
    let settings = [("MAX_CONCURRENT", "1"), ("QUEUE_TIMEOUT", "0.2")];
    let service = Service::start(engine, &settings);
    let mark = &host::mark("2718.29");
    let post = service.poster();
    std::thread::scope(|scope| {
        let first = scope.spawn(move || post(&json!({"script": format!("sleep {mark}")})));
        let held = Held::await_script(mark);
        let problem = service.refuse(&json!({"script": "echo never"}));
        assert_eq!((problem.http(), problem.code()), (503, "queue_timeout"), "{}", problem.0);
        held.let_go();
        assert_eq!(first.join().expect("no panic").expect("an answer").ran().exit_code(), 137);
    });
}

/// Waves of ten times what can run or wait, from four callers: what is accepted is answered as it
/// should be, what is refused is refused at once, and the service does not grow.
fn ten_times_the_load(engine: Engine) {
    const WAVES: usize = 12;
    const WARM: usize = 4;
    const CLIENTS: usize = 40;
    let settings = [("MAX_CONCURRENT", "2"), ("QUEUE_LIMIT", "2"), ("QUEUE_TIMEOUT", "60")];
    let service = Service::start(engine, &settings);
    let posts = [1, 2, 3, 4].map(|last| service.poster_from(Ipv4Addr::new(127, 0, 0, last)));
    let start = &Barrier::new(CLIENTS);
    let mut sizes = Vec::new();
    for wave in 0..WAVES {
        let mut replies: Vec<(usize, Duration, Reply)> = std::thread::scope(|scope| {
            let client = |client: usize| {
                let post = &posts[client % posts.len()];
                scope.spawn(move || {
                    let request = json!({"script": "sleep 0.5; cat", "stdin": said(wave, client)});
                    start.wait();
                    let sent = Instant::now();
                    let reply = post(&request).expect("an answer");
                    (client, sent.elapsed(), reply)
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            clients.into_iter().map(|client| client.join().expect("no panic")).collect()
        });
        sizes.push(memory(&service));
        replies.sort_unstable_by_key(|(_, took, _)| *took);
        let early = replies.iter().take_while(|(.., reply)| reply.http != 200).count();
        let all = replies.len();
        let mut accepted = 0;
        for (client, _, reply) in replies {
            if reply.http == 200 {
                assert!(reply.ran().text() == said(wave, client), "another's output");
                accepted += 1;
            } else {
                // It says when to come back, or this is where it fails.
                assert_eq!(reply.refused().code(), "queue_full");
            }
        }
        // A place that comes free is taken again, by a client that was slow to send.
        assert!((4..all / 2).contains(&accepted), "two run and two wait: {accepted}");
        // The clients themselves keep the machine busy, so no time is asked for here; yet nobody
        // waits for a refusal until a script has ended.
        let at_once = early * 10 >= (all - accepted) * 9;
        assert!(at_once, "{early} of {} refusals came before the first answer", all - accepted);
    }
    let (warm, end) = (sizes[WARM], sizes[WAVES - 1]);
    assert!(end <= warm + warm / 5, "it grows: {sizes:?} KiB");
}

/// 32 KiB that no other client says in any wave.
fn said(wave: usize, client: usize) -> String {
    format!("{wave:04} {client:04} ").repeat(3277)
}

/// Memory of the service itself, in KiB.
fn memory(service: &Service) -> u64 {
    host::kib(service.pid(), "VmRSS")
}

on_both_engines! {
    together: waiting_ends_in_time;
    alone: a_second_caller_gets_in_in_turn, ten_times_the_load
}
