//! Telling others of the end, on a real server. What leads where does not depend on the engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Asking, Kept, SOON};
use crate::support::http::{Request, Response, Server};
use crate::support::metrics::Metrics;
use crate::support::{Engine, Service, host, until};

const SECRET: [u8; 32] = [7; 32];

/// A file with the secret, for as long as the folder is there.
pub fn secret(kept: &Kept) -> String {
    let path = kept.path().join("secret");
    fs::write(&path, format!("whsec_{}\n", STANDARD.encode(SECRET))).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    path.to_str().expect("text").to_owned()
}

fn hook(script: &str, url: &str) -> Value {
    json!({"script": script, "webhook": url})
}

/// Holds a request against the standard.
#[track_caller]
fn check(request: &Request, id: &str) -> Value {
    assert_eq!((&*request.method, request.header("webhook-id")), ("POST", Some(id)));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let time = request.header("webhook-timestamp").expect("a time");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    assert!(now.as_secs().abs_diff(time.parse().expect("a number")) < 60, "{time}");
    let mut hmac = Hmac::<Sha256>::new_from_slice(&SECRET).expect("any length");
    hmac.update(format!("{id}.{time}.").as_bytes());
    hmac.update(&request.body);
    let signature = format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), Some(&*signature));
    serde_json::from_slice(&request.body).expect("JSON")
}

/// Waits for the next requests to a server.
fn heard(server: &Server, count: usize) -> Vec<Request> {
    until("a webhook", SOON, || {
        let requests = server.requests();
        (requests.len() >= count).then_some(requests)
    })
}

fn delivered(service: &Service, result: &str) -> f64 {
    Metrics::of(service).sample(&format!("oncebox_webhooks_total{{result=\"{result}\"}}"))
}

fn every_end_is_told_and_signed(engine: Engine) {
    let kept = Kept::new();
    let server = Server::start(|_: &Request| Response::new(204, ""));
    let host = format!("http://{}", server.address());
    let secret = secret(&kept);
    let settings = [("WEBHOOK_HOSTS", &*host), ("WEBHOOK_SECRET_FILE", &*secret)];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let id = asking.create(&hook("echo told; exit 4", &format!("{host}/hook?a=b#c")));
    let request = heard(&server, 1).remove(0);
    assert_eq!(request.path, "/hook?a=b");
    assert_eq!(check(&request, &id), asking.until(&id, "ended"));
    let failing = json!({"script": "x", "image": "localhost:1/none", "webhook": host});
    let id = asking.create(&failing);
    let request = heard(&server, 2).remove(1);
    assert_eq!(check(&request, &id)["problem"]["code"], "image_not_allowed");
    until("both to be counted", SOON, || (delivered(&service, "delivered") == 2.0).then_some(()));

    for (url, code) in [
        ("https://example.org/", "webhook_not_allowed"),
        ("http://127.0.0.1:1/", "webhook_not_allowed"),
        (&*host.replace("127.0.0.1", "localhost"), "webhook_not_allowed"),
        (&*host.replace("http:", "https:"), "webhook_not_allowed"),
        (&*host.replace("//", "//me:secret@"), "invalid_request"),
        ("nonsense", "invalid_request"),
    ] {
        let refused = asking.post("/executions", &hook("x", url));
        assert_eq!(refused.code().1, code, "{url}");
        assert_eq!(refused.json()["field"], "webhook");
    }
    assert_eq!(server.requests().len(), 2);
}

/// A host that fails is asked again; one that points elsewhere is not followed.
fn what_is_not_taken_is_sent_again(engine: Engine) {
    let kept = Kept::new();
    let elsewhere = Server::bystander();
    let target = format!("http://{}/", elsewhere.address());
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_: &Request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Response::new(503, "x".repeat(1 << 20)),
        1 => Response::new(307, "").with("location", &target),
        _ => Response::new(200, "taken"),
    });
    let host = format!("http://{}", server.address());
    let listed = format!("{host},http://{}", elsewhere.address());
    let secret = secret(&kept);
    let settings = [("WEBHOOK_HOSTS", &*listed), ("WEBHOOK_SECRET_FILE", &*secret)];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let id = asking.create(&hook("echo told", &host));
    let requests = heard(&server, 3);
    let documents: Vec<_> = requests.iter().map(|request| check(request, &id)).collect();
    assert!(documents.iter().all(|document| *document == documents[0]));
    let pauses: Vec<_> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(pauses[0] >= Duration::from_millis(500) && pauses[1] > pauses[0], "{pauses:?}");
    until("it to be counted", SOON, || (delivered(&service, "delivered") == 1.0).then_some(()));
    assert_eq!(delivered(&service, "failed"), 2.0);
    assert_eq!((server.requests().len(), elsewhere.connections()), (3, 0));
}

/// A name that leads to a private address is never connected to, listed or not.
fn a_private_address_is_not_told(engine: Engine) {
    let kept = Kept::new();
    let server = Server::bystander();
    let host = format!("http://localhost:{}", server.address().port());
    let secret = secret(&kept);
    let settings = [("WEBHOOK_HOSTS", &*host), ("WEBHOOK_SECRET_FILE", &*secret)];
    let service = Service::start(engine, &settings);
    Asking::of(&service).create(&hook("echo told", &host));
    until("a failure to be counted", SOON, || (delivered(&service, "failed") >= 1.0).then_some(()));
    assert_eq!(server.connections(), 0);
    assert!(service.log().contains("no public address"), "{}", service.last_words());
}

/// What could not be told before the service was killed is told by the next one, and so is what the
/// kill itself has interrupted.
fn a_webhook_survives_a_kill(engine: Engine) {
    let kept = Kept::new();
    let (file, secret) = (kept.file(), secret(&kept));
    let address = crate::support::service::free_address();
    let host = format!("http://{address}");
    let settings =
        [("WEBHOOK_HOSTS", &*host), ("WEBHOOK_SECRET_FILE", &*secret), ("EXECUTION_STORE", &*file)];
    let service = Service::start(engine, &settings);
    let asking = Asking::of(&service);
    let told = asking.create(&hook("echo told", &host));
    until("a failure", SOON, || (delivered(&service, "failed") >= 1.0).then_some(()));
    let mark = host::mark("301");
    let killed = asking.create(&hook(&format!("sleep {mark}"), &host));
    crate::support::host::await_argument(&mark);
    service.kill().ended();

    let server = Server::start_at(&address.to_string(), |_: &Request| Response::new(200, ""));
    let service = Service::start(engine, &settings);
    let requests = heard(&server, 2);
    let of = |id: &str| {
        let request = requests.iter().find(|request| request.header("webhook-id") == Some(id));
        check(request.expect("told"), id)
    };
    assert_eq!(of(&told)["result"]["stdout"], "told\n");
    assert_eq!(of(&killed)["state"], "interrupted");
    drop(service);
}

fn without_a_list_there_are_none(engine: Engine) {
    let service = Service::start(engine, &[]);
    let refused = Asking::of(&service).post("/executions", &hook("x", "https://example.org/"));
    assert_eq!(refused.code(), (403, "webhook_not_allowed".into()));
}

on_both_engines! {
    together: ;
    native:
        every_end_is_told_and_signed,
        what_is_not_taken_is_sent_again,
        a_private_address_is_not_told,
        a_webhook_survives_a_kill,
        without_a_list_there_are_none
}
