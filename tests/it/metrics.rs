//! `GET /metrics`: what the service says of itself is what happened.

use std::net::TcpListener;
use std::time::Duration;

use oncebox::api::Code;
use oncebox::telemetry::metrics::{CLASSES, METHODS, ROUTES};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::executions::Kept;
use crate::executions::webhooks::secret;
use crate::support::http::{Request, Response, Server};
use crate::support::metrics::Metrics;
use crate::support::processes::guests;
use crate::support::service::{client, free_address};
use crate::support::{Engine, Service, host, until};

/// What takes ten minutes of waiting or something that breaks; the pool's own tests and those of
/// faults move these.
const SELDOM: [&str; 3] = ["oncebox_faults", "oncebox_pool_expired", "oncebox_pool_make_failures"];

const TEARDOWN: &str = r#"oncebox_phase_seconds_count{phase="teardown"}"#;

/// The service is ready while the container that its canary ran in still goes.
fn after_its_canary(service: &Service) -> Metrics {
    until("the end of its canary's container", Duration::from_secs(20), || {
        let metrics = Metrics::of(service);
        (metrics.sample(TEARDOWN) == 1.0).then_some(metrics)
    })
}

/// A metric that nothing moves is a promise that nothing keeps.
fn every_metric_is_moved_by_a_real_run(engine: Engine) {
    let closed = free_address();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = (silent.local_addr().expect("its address"), silent);
    let registries = format!("{closed},{}", silent.0);
    let hooks = Server::start(|_: &Request| Response::new(200, ""));
    let hook = format!("http://{}", hooks.address());
    let kept = Kept::new();
    let secret = secret(&kept);
    let settings = [
        ("MAX_CONCURRENT", "1"),
        ("QUEUE_LIMIT", "1"),
        ("POOL_SIZE", "2"),
        ("INSECURE_REGISTRIES", &registries),
        ("CUSTOM_IMAGE_PULL_RETRIES", "0"),
        ("CUSTOM_IMAGE_PULL_TIMEOUT", "8"),
        ("WEBHOOK_HOSTS", &hook),
        ("WEBHOOK_SECRET_FILE", &secret),
    ];
    let service = Service::start(engine, &settings);
    let full = |metrics: &Metrics| metrics.sample("oncebox_pool_waiting") == 2.0;
    after_its_canary(&service);
    until("a full pool", Duration::from_secs(20), || full(&Metrics::of(&service)).then_some(()));
    host::signal(guests(&service, engine)[0], Signal::KILL);
    until("its death to be noticed", Duration::from_secs(20), || {
        let metrics = Metrics::of(&service);
        (full(&metrics) && metrics.moved("oncebox_pool_died")).then_some(())
    });
    assert_eq!(service.run(&json!({"script": "echo ahead"})).text(), "ahead\n");
    // Nothing waits with such a /tmp.
    let request = json!({"script": "echo now", "tmp_size": "3m"});
    assert_eq!(service.run(&request).text(), "now\n");
    service.refuse(&json!({"script": ""}));
    let request = json!({"script": "echo later", "webhook": hook});
    assert_eq!(service.post_to("/executions", &request).http, 202);
    // As many failures in a row as a registry may have, and one image that is asked for again.
    for tag in [1, 2, 3, 4, 5, 5] {
        let request = json!({"script": "x", "image": format!("{closed}/x:{tag}")});
        assert_eq!(service.refuse(&request).code(), "registry_unavailable");
    }
    let mark = &host::mark("31.4159");
    let post = [service.poster(), service.poster()];
    std::thread::scope(|scope| {
        for post in post {
            scope.spawn(move || {
                let request = json!({"script": format!("sleep {mark}"), "timeout": 5});
                assert_eq!(post(&request).expect("an answer").ran().status(), "timed_out");
            });
        }
        scope.spawn(|| {
            let request = json!({"image": format!("{}/x", silent.0)});
            let timeout = service.post_to("/images/pull", &request).refused();
            assert_eq!(timeout.code(), "registry_timeout");
        });
        host::await_argument(mark);
        assert_eq!(service.post_to("/executions", &json!({"script": "echo last"})).http, 202);
        until("every metric to move", Duration::from_secs(5), || {
            let metrics = Metrics::of(&service);
            let still = metrics.names.iter().filter(|name| !metrics.moved(name));
            still.eq(SELDOM).then_some(())
        });
    });
}

/// Each execution counts once, by how it ended; where its time went is known of those with an
/// outcome, and of all how long they waited and how long their containers took to go.
fn executions_are_counted_by_their_end(engine: Engine) {
    let service = Service::start(engine, &[]);
    let before = after_its_canary(&service);
    service.run(&json!({"script": "exit 3"}));
    service.run(&json!({"script": "kill -9 $$"}));
    service.run(&json!({"script": "sleep 60", "timeout": 0.1}));
    service.abandon(&json!({"script": "sleep 60"}), Duration::from_secs(1));
    service.refuse(&json!({"script": "x", "timeout": 1e6}));
    let grown = |metrics: &Metrics, name: &str| metrics.sample(name) - before.sample(name);
    let after = until("the containers to be gone", Duration::from_secs(20), || {
        let metrics = Metrics::of(&service);
        (grown(&metrics, TEARDOWN) >= 4.0).then_some(metrics)
    });
    for (name, times) in [
        (r#"oncebox_executions_total{status="completed"}"#, 1.0),
        (r#"oncebox_executions_total{status="signaled"}"#, 1.0),
        (r#"oncebox_executions_total{status="timed_out"}"#, 1.0),
        (r#"oncebox_executions_total{status="cancelled"}"#, 1.0),
        (r#"oncebox_refusals_total{code="limit_exceeded"}"#, 1.0),
        (r#"oncebox_phase_seconds_count{phase="queued"}"#, 4.0),
        (r#"oncebox_phase_seconds_count{phase="prepared"}"#, 3.0),
        (r#"oncebox_phase_seconds_count{phase="ran"}"#, 3.0),
        (TEARDOWN, 4.0),
    ] {
        assert_eq!(grown(&after, name), times, "{name}");
    }
    assert_eq!((after.sample("oncebox_running"), after.sample("oncebox_queue_length")), (0.0, 0.0));
    // The time limit of one of them is where the time went.
    let ran = grown(&after, r#"oncebox_phase_seconds_sum{phase="ran"}"#);
    assert!((0.1..20.0).contains(&ran), "{ran}");
}

/// Every value of a label comes from a list of the program's own or is a registry that the operator
/// named, whatever is sent.
fn labels_come_from_closed_lists(engine: Engine) {
    let service = Service::start(engine, &[]);
    service.run(&json!({"script": "exit 7", "language": "sh"}));
    service.refuse(&json!({"script": "x", "image": "../x"}));
    service.refuse(&json!({"script": "x", "language": "s3cret"}));
    let client = client().build().expect("a client");
    for (method, path) in [
        ("GET", "/s3cret"),
        ("S3CRET", "/execute"),
        ("DELETE", "/images/s3cret:1"),
        ("GET", "/executions/s3cret/events"),
        ("GET", "/%65xecute?s3cret"),
        ("OPTIONS", "/docs/s3cret"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = client.request(method, format!("http://{}{path}", service.address()));
        request.send().expect("an answer");
    }
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    let lists: &[(&str, &[&str])] = &[
        ("phase", &["queued", "prepared", "ran", "teardown"]),
        ("status", &["completed", "signaled", "timed_out", "out_of_memory", "cancelled"]),
        ("stream", &["stdout", "stderr"]),
        ("code", &codes),
        ("kind", &["started", "waiting"]),
        ("from", &["here", "registry"]),
        (
            "fault",
            &["stood_still", "clock_set", "no_descriptors", "log_lost", "not_gone", "cut_short"],
        ),
        (
            "result",
            &["pulled", "given_up", "not_found", "unavailable", "timeout", "delivered", "failed"],
        ),
        ("state", &["queued", "running"]),
        ("reason", &["just_failed", "registry_held"]),
        ("registry", &["docker.io", "other"]),
        ("route", &ROUTES),
        ("method", &METHODS),
        ("class", &CLASSES),
        ("version", &[env!("CARGO_PKG_VERSION")]),
    ];
    let metrics = Metrics::of(&service);
    let labels =
        metrics.samples.keys().filter_map(|name| name.split_once('{')?.1.strip_suffix('}'));
    let pairs = labels.flat_map(|labels| labels.split("\",").filter(|pair| !pair.is_empty()));
    for (label, value) in pairs.filter_map(|pair| pair.split_once("=\"")) {
        let value = value.trim_end_matches('"');
        let listed = lists.iter().any(|(name, list)| *name == label && list.contains(&value));
        let bound = label == "le" && (value == "+Inf" || value.parse::<f64>().is_ok());
        assert!(listed || bound, "{label}={value} is on no list");
    }
    let counted =
        |labels: &str| metrics.sample(&format!("oncebox_http_requests_total{{{labels}}}"));
    assert_eq!(counted(r#"route="other",method="GET",class="4xx""#), 1.0);
    assert_eq!(counted(r#"route="/execute",method="other",class="4xx""#), 1.0);
}

/// No text of a request may become a metric: its names would be the caller's, and without end.
fn metrics_say_nothing_of_a_request(engine: Engine) {
    let service = Service::start(engine, &[]);
    let mark = "s3cret";
    service.run(&json!({"script": format!("echo {mark}; exit 7"), "env": {"A": mark}}));
    service.refuse(&json!({"script": "x", "image": format!("{mark}:1")}));
    service.refuse(&json!({"script": "x", "language": mark}));
    service.refuse(&json!({"script": "x", mark: mark}));
    service.get(&format!("/{mark}")).expect("an answer").refused();
    let text = service.get("/metrics").expect("an answer").body;
    assert!(!String::from_utf8(text).expect("text").contains(mark));
}

on_both_engines! {
    together: metrics_say_nothing_of_a_request, every_metric_is_moved_by_a_real_run,
        executions_are_counted_by_their_end;
    native: labels_come_from_closed_lists
}
