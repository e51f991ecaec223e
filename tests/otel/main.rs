//! The feature `otel`: executions as spans at a real collector, as far as it matters to us.
//!
//! A binary of its own, so that no other test is built once more with the feature.

// Test code may stop at the first surprise; the lints against that are for the service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    unreachable_pub,
    unused_macro_rules
)]

#[path = "../it/support/mod.rs"]
#[macro_use]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::http::{Request, Response, Server};
use support::service::{client, free_address};
use support::{Engine, Service};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A message of Protocol Buffers: its fields by number, numbers as eight bytes.
#[derive(Debug, Default)]
struct Message(BTreeMap<u64, Vec<Vec<u8>>>);

impl Message {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = BTreeMap::<u64, Vec<Vec<u8>>>::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let content = match tag & 7 {
                0 => varint(&mut bytes).to_le_bytes().to_vec(),
                1 => bytes.split_off(..8).expect("eight bytes").to_vec(),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    bytes.split_off(..length).expect("its bytes").to_vec()
                }
                5 => bytes.split_off(..4).expect("four bytes").to_vec(),
                kind => panic!("no such kind of field: {kind}"),
            };
            fields.entry(tag >> 3).or_default().push(content);
        }
        Self(fields)
    }

    fn bytes(&self, number: u64) -> &[u8] {
        self.0.get(&number).and_then(|all| all.first()).map(Vec::as_slice).unwrap_or_default()
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number).to_vec()).expect("text")
    }

    fn number(&self, number: u64) -> u64 {
        self.bytes(number).try_into().map(u64::from_le_bytes).unwrap_or_default()
    }

    fn hex(&self, number: u64) -> String {
        self.bytes(number).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn messages(&self, number: u64) -> Vec<Self> {
        self.0.get(&number).into_iter().flatten().map(|bytes| Self::read(bytes)).collect()
    }

    /// `AnyValue`.
    fn value(&self) -> Value {
        match self.0.keys().next() {
            Some(1) => json!(self.text(1)),
            Some(3) => json!(self.number(3)),
            Some(4) => json!(f64::from_bits(self.number(4))),
            other => panic!("no such kind of value: {other:?}"),
        }
    }

    /// `KeyValue`s.
    fn attributes(&self, number: u64) -> BTreeMap<String, Value> {
        let pair = |pair: Self| (pair.text(1), pair.messages(2)[0].value());
        self.messages(number).into_iter().map(pair).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().expect("another byte");
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// The spans that a collector got, with the attributes of what they come from.
fn spans(collector: &Server) -> Vec<(Message, BTreeMap<String, Value>)> {
    let requests = collector.requests().into_iter();
    requests
        .flat_map(|request| {
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
            assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
            Message::read(&request.body).messages(1)
        })
        .flat_map(|resource| {
            let from = resource.messages(1)[0].attributes(1);
            let spans = resource.messages(2).into_iter().flat_map(|scope| scope.messages(2));
            spans.map(|span| (span, from.clone())).collect::<Vec<_>>()
        })
        .collect()
}

fn start(engine: Engine, collector: SocketAddr) -> Service {
    Service::start(engine, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{collector}"))])
}

fn run(service: &Service, flags: &str) -> Value {
    let client = client().build().expect("a client");
    let post = client.post(format!("http://{}/execute", service.address()));
    let post = post.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
    let reply = post.json(&json!({"script": "echo canary; exit 3"})).send().expect("an answer");
    assert_eq!(reply.status().as_u16(), 200);
    reply.json().expect("an answer")
}

fn an_execution_is_a_span_with_its_phases(engine: Engine) {
    let collector = Server::start(|_: &Request| Response::new(200, ""));
    let mut service = start(engine, collector.address());
    let id = run(&service, "01")["id"].clone();
    // The caller does not keep this trace.
    run(&service, "00");
    // What waits is sent before the end.
    service.terminate();
    assert!(service.wait().success());
    let log = service.log();
    let line = log.lines().find(|line| line.contains("script_bytes")).expect("a line");
    let line: BTreeMap<String, Value> = serde_json::from_str(line).expect("JSON");

    let spans = spans(&collector);
    let names: Vec<_> = spans.iter().map(|(span, _)| span.text(5)).collect();
    assert_eq!(names, ["queued", "prepared", "ran", "execution"]);
    let (execution, from) = &spans[3];
    assert_eq!(from["service.name"], "oncebox");
    assert_eq!((execution.hex(1), execution.hex(4)), (TRACE.to_owned(), PARENT.to_owned()));
    let attributes = execution.attributes(9);
    assert_eq!((&attributes["id"], &attributes["exit_code"]), (&id, &json!(3)));
    let mut fields = line;
    fields.retain(|name, _| !["timestamp", "level", "message"].contains(&name.as_str()));
    assert_eq!(attributes, fields);
    let mut at = execution.number(7);
    for (phase, _) in &spans[..3] {
        assert_eq!((phase.hex(1), phase.hex(4)), (TRACE.to_owned(), execution.hex(2)));
        assert_eq!(phase.number(7), at, "{} begins where the one before ends", phase.text(5));
        at = phase.number(8);
    }
    assert!(at <= execution.number(8));
    assert!(!collector.requests().iter().any(|r| r.body.windows(6).any(|w| w == b"canary")));
}

/// Neither executions nor the stop wait for a collector that takes connections and says nothing,
/// or for one that is not there.
fn a_collector_that_fails_holds_nothing_up(engine: Engine) {
    let silent = Server::start(|_: &Request| -> Response {
        loop {
            std::thread::park();
        }
    });
    for collector in [silent.address(), free_address()] {
        let mut service = start(engine, collector);
        let began = Instant::now();
        for _ in 0..5 {
            run(&service, "01");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let began = Instant::now();
        service.terminate();
        assert!(service.wait().success());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    assert_eq!(silent.count("POST", "/v1/traces"), 1);
}

on_both_engines! {
    together: ; native: an_execution_is_a_span_with_its_phases,
        a_collector_that_fails_holds_nothing_up
}
