//! Something runs out: descriptors, processes, room on a disk.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::driver::{ANOTHER, Fault, READY, pass, trial};
use super::seed::left_out;
use super::support::disk::Disk;
use super::support::group::Group;
use super::support::images::{Image, busybox, noise};
use super::support::layers::Archive;
use super::support::registry::Registry;
use super::support::service::{client_from, oncebox, prepared};
use super::support::{Engine, until};
use super::{service, service_of};

/// More connections than there may be descriptors, from as many addresses as that takes.
fn descriptors(engine: Engine) {
    if left_out(engine, "machine", 4, 7) {
        return;
    }
    // Each container may have 1024 by itself, so the service can't have fewer.
    const MOST: usize = 1100;
    let fault = Fault::new(
        "descriptors exhausted",
        "can open no more files",
        "oncebox_faults_total{fault=\"no_descriptors\"}",
    );
    let few = prepared(&format!("ulimit -n {MOST}"), &oncebox("serve", engine));
    let service = service_of(few, engine, &[("MAX_CONNECTIONS", "10000")]);
    trial(&service, engine, fault, |moment| {
        let open: Vec<_> =
            (0..MOST + 200).filter_map(|_| TcpStream::connect(service.address()).ok()).collect();
        pass(moment.random.millis(1500, 2500));
        moment.told();
        drop(open);
    });
}

/// No process and no thread can be made any more, and then they can.
fn processes(engine: Engine) {
    if left_out(engine, "machine", 5, 7) {
        return;
    }
    let group = Group::of_processes();
    let fault = match engine {
        Engine::Native => Fault::new(
            "processes exhausted",
            "could not be made",
            "oncebox_pool_make_failures_total",
        ),
        // Containers are the daemon's.
        Engine::Docker => {
            Fault::new("processes exhausted", "", "oncebox_executions_total").unlogged().harmless()
        }
    };
    let service = service_of(group.around(&oncebox("serve", engine)), engine, &[]);
    trial(&service, engine, fault, |moment| {
        // Fewer than there are, so that none of those that end makes room for another.
        group.most("1");
        pass(moment.random.millis(1500, 2500));
        moment.felt();
        group.most("max");
    });
    drop(service);
}

/// What the kernel kills because the machine has no memory left is not told as a script's that used
/// less than it may.
fn memory(engine: Engine) {
    let group = Group::of_memory();
    group.most("256M");
    let service =
        service_of(group.around(&oncebox("serve", engine)), engine, &[("POOL_SIZE", "0")]);
    let hungry = "x = b'x' * (400 << 20)";
    let hungry = json!({"script": hungry, "language": "python", "memory_limit": "512m"});
    let refused = service.refuse(&hungry);
    assert_eq!((refused.http(), refused.code()), (503, "engine_unavailable"), "{}", refused.0);
    until("a line in the log", READY, || service.log().contains("no memory left").then_some(()));
    assert_eq!(service.run(&json!({"script": "echo well"})).text(), "well\n");
}

/// A disk with no room left, until this is dropped.
pub struct Filler(PathBuf);

impl Filler {
    pub fn of(disk: &Disk, size: usize) -> Self {
        let filler = disk.folder().join("filler");
        let filled = fs::write(&filler, vec![1; size]);
        assert!(filled.is_err(), "the disk takes more than it has");
        Self(filler)
    }

    /// Takes what has become free since, for so long.
    pub fn keep(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut filler = fs::OpenOptions::new().append(true).open(&self.0).expect("the filler");
            while filler.write(&[1; 4096]).is_ok() {}
            pass(Duration::from_millis(20));
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the filler");
    }
}

/// More than the disks here have.
const DISK: usize = 24 << 20;
const NO_SPACE: &str = "oncebox_refusals_total{code=\"no_space\"}";

/// Whoever needs another image is told that there is no room; all others do not notice.
fn images(engine: Engine) {
    let registry = Registry::start();
    let big = Archive::new().file("noise", 0o644, noise(17, 4 << 20)).layer();
    Image::new([busybox(), big]).push(&registry, "x", "1");
    let disk = Disk::of("24m");
    let address = registry.address().to_string();
    let settings = [("IMAGE_STORE", disk.path()), ("INSECURE_REGISTRIES", &*address)];
    let service = service(engine, &settings);
    let fault = Fault::new("disk of images full", "nothing was pulled", NO_SPACE);
    let request = json!({"script": "echo right", "image": registry.name("x:1")});
    let asked = || {
        until("a place", Duration::from_secs(10), || {
            let reply = service.execute(&request);
            (reply.http != 429).then_some(reply)
        })
    };
    trial(&service, engine, fault.harmless(), |_| {
        let filler = Filler::of(&disk, DISK);
        assert_eq!(asked().refused().code(), "no_space");
        drop(filler);
        // A failure is remembered for a moment.
        let answer = until("room for the image", READY, || {
            let reply = asked();
            (reply.http == 200).then(|| reply.ran())
        });
        assert_eq!(answer.text(), "right\n");
    });
}

/// What is accepted has an end, whether there was room to write it down or not.
fn results(engine: Engine) {
    if left_out(engine, "machine", 6, 7) {
        return;
    }
    let disk = Disk::of("24m");
    let store = format!("{}/executions.redb", disk.path());
    let service = service(engine, &[("EXECUTION_STORE", &store)]);
    let fault = Fault::new("disk of results full", "no_space", NO_SPACE);
    let other = client_from(ANOTHER);
    let create = || {
        let request = json!({"script": "sleep 0.3; head -c 300000 /dev/zero"});
        let post = other.post(format!("http://{}/executions", service.address()));
        let reply = post.json(&request).send().expect("an answer");
        (reply.status().as_u16(), reply.json::<Value>().expect("JSON"))
    };
    let document = |id: &str| -> Value {
        let get = other.get(format!("http://{}/executions/{id}", service.address()));
        get.send().and_then(|reply| reply.json()).expect("a document")
    };
    trial(&service, engine, fault.harmless(), |_| {
        let mut accepted: Vec<_> = (0..3).map(|_| create()).collect();
        let filler = Filler::of(&disk, DISK);
        let (http, problem) = create();
        assert_eq!((http, problem["code"].as_str()), (507, Some("no_space")), "{problem}");
        ends(&document, &accepted);
        drop(filler);
        accepted = vec![create()];
        let states = ends(&document, &accepted);
        assert_eq!(states, ["ended"]);
    });
}

/// How what was accepted has ended: right, or not kept for want of room.
fn ends(document: &impl Fn(&str) -> Value, accepted: &[(u16, Value)]) -> Vec<String> {
    let end = |(http, accepted): &(u16, Value)| {
        assert_eq!(*http, 202, "{accepted}");
        let id = accepted["id"].as_str().expect("an id");
        until("its end", Duration::from_secs(20), || {
            let document = document(id);
            let state = document["state"].as_str().expect("a state").to_owned();
            match &*state {
                "ended" => assert_eq!(document["result"]["stdout_bytes"], 300_000),
                "failed" => assert_eq!(document["problem"]["code"], "no_space"),
                _ => return None,
            }
            Some(state)
        })
    };
    accepted.iter().map(end).collect()
}

#[test]
fn native_images() {
    let _turn = super::support::turn::alone();
    images(Engine::Native);
}

on_both_engines! {
    together: ;
    alone: descriptors, processes, results;
    native: memory
}
