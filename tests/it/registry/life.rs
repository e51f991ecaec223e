//! The life of an image as an operator sees it: listed, described, pulled ahead, removed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Here, said};
use crate::support::faults::{Act, Faults};
use crate::support::images::{Archive, Image, busybox, noise};
use crate::support::registry::Registry;
use crate::support::{Engine, Reply, host, until};

const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn ok(reply: Reply) -> Value {
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.http, 200, "{text}");
    assert_eq!(reply.content_type, "application/json", "{text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn list(here: &Here) -> Vec<Value> {
    let body = ok(here.get("/images").expect("an answer"));
    body["images"].as_array().expect("a list").clone()
}

/// The entry of the image with this name.
fn listed(here: &Here, name: &str) -> Option<Value> {
    list(here).into_iter().find(|image| {
        image["references"].as_array().is_some_and(|names| names.contains(&json!(name)))
    })
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// An image that is of its registry alone.
fn own(registry: &Registry, mark: &str) -> Image {
    let layer = Archive::new().file("mark", 0o644, mark).file("own", 0o644, registry.address());
    Image::new([busybox(), layer.layer()])
}

fn images_are_listed(engine: Engine) {
    let registry = Registry::start();
    let digest = own(&registry, "listed").push(&registry, "x", "1");
    own(&registry, "listed").push(&registry, "x", "same");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let (name, same) = (registry.name("x:1"), registry.name("x:same"));
    assert_eq!(listed(&here, &name), None);
    here.prints(&name, "true");
    here.prints(&same, "true");
    let image = listed(&here, &name).expect("it is here");
    let fields = ["created", "digest", "last_used", "pool", "references", "size"];
    assert_eq!(keys(&image), fields, "{image}");
    assert_eq!(image["digest"], digest);
    assert_eq!(image["created"], "2024-05-06T07:08:09Z");
    assert_eq!(image["pool"], 0);
    let names = image["references"].as_array().expect("a list");
    assert!(names.contains(&json!(name)) && names.contains(&json!(same)), "{image}");
    let program =
        std::fs::metadata("/usr/bin/busybox").or_else(|_| std::fs::metadata("/bin/busybox"));
    let least = program.expect("busybox").len();
    let size = image["size"].as_u64().expect("bytes");
    assert!((least..least + (2 << 20)).contains(&size), "{image}");
    if engine == Engine::Native {
        assert!(image["last_used"].as_str().is_some_and(|time| time.ends_with('Z')), "{image}");
    }
}

fn an_image_is_described(engine: Engine) {
    let registry = Registry::start();
    let image = own(&registry, "described").saying(json!({"Env": ["A=b"], "Cmd": ["/bin/sh"]}));
    let digest = image.push(&registry, "some/x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("some/x:1");
    here.prints(&name, "true");
    for address in
        [name.clone(), registry.name(&format!("some/x@{digest}")), name.replace('/', "%2F")]
    {
        let details = ok(here.get(&format!("/images/{address}")).expect("an answer"));
        assert_eq!(details["digest"], digest, "{address}: {details}");
        assert_eq!(
            (&details["os"], &details["architecture"]),
            (&json!("linux"), &json!(crate::support::images::architecture()),)
        );
        assert_eq!(details["config"]["Env"], json!(["A=b"]), "{details}");
        let layers = details["layers"].as_array().expect("a list");
        let ids: Vec<&Value> = layers.iter().map(|layer| &layer["diff_id"]).collect();
        let wanted: Vec<&String> = image.layers.iter().map(|layer| &layer.diff_id).collect();
        assert_eq!(json!(ids), json!(wanted), "{details}");
        let history = details["history"].as_array().expect("a list");
        assert_eq!((history.len(), &history[1]["created_by"]), (2, &json!("step 1")), "{details}");
    }
    for (missing, http, code) in
        [(registry.name("y:1"), 404, "image_not_found"), ("UPPER".into(), 400, "invalid_image")]
    {
        let problem = here.get(&format!("/images/{missing}")).expect("an answer").refused();
        assert_eq!((problem.http(), problem.code()), (http, code), "{}", problem.0);
    }
    // Looking does not pull.
    assert_eq!(registry.count("GET", "/v2/y/"), 0, "{:#?}", registry.pulls());
}

fn an_image_is_pulled_ahead(engine: Engine) {
    let registry = Registry::start();
    let digest = own(&registry, "ahead").push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    let pulled = ok(here.post_to("/images/pull", &json!({"image": name})));
    assert_eq!(pulled, json!({"image": name, "image_digest": digest}));
    let before = registry.pulls();
    assert_eq!(here.prints(&name, "cat /mark"), "ahead");
    assert_eq!(registry.pulls(), before);
    // Once more follows a tag that has moved.
    let moved = own(&registry, "moved").push(&registry, "x", "1");
    let pulled = ok(here.post_to("/images/pull", &json!({"image": name})));
    assert_eq!(pulled["image_digest"], moved);
    assert_eq!(here.prints(&name, "cat /mark"), "moved");
    for (body, http, code) in [
        (json!({"image": registry.name("x:2")}), 404, "image_not_found"),
        (json!({"image": "127.9.9.9/x:1"}), 403, "image_not_allowed"),
        (json!({"image": "UPPER"}), 400, "invalid_image"),
    ] {
        let problem = here.post_to("/images/pull", &body).refused();
        assert_eq!((problem.http(), problem.code()), (http, code), "{}", problem.0);
    }
    for body in [json!({}), json!({"image": 1}), json!({"image": name, "more": 1}), json!([])] {
        assert_eq!(here.post_to("/images/pull", &body).refused().http(), 400, "{body}");
    }
}

/// A pull tells how far it has come, layer by layer, and how it ended.
fn a_pull_can_be_watched(engine: Engine) {
    let registry = Registry::start();
    let big = Archive::new().file("big", 0o644, noise(99, 2 << 20)).layer();
    let image = own(&registry, "watched").with(big.clone());
    let digest = image.push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    let events = here.events("/images/pull", &json!({"image": name}));
    let (last, progress) = events.split_last().expect("events");
    assert_eq!(*last, ("done".into(), json!({"image": name, "image_digest": digest})));
    assert!(!progress.is_empty(), "no progress was told");
    let mut done = 0;
    for (kind, data) in progress {
        assert_eq!(kind, "progress", "{data}");
        assert_eq!(keys(data), ["attempt", "done", "layers", "total"], "{data}");
        let now = data["done"].as_u64().expect("bytes");
        assert!(now >= done, "it went back from {done}: {data}");
        done = now;
    }
    let (_, end) = progress.last().expect("progress");
    let layers = end["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 3, "{end}");
    if engine == Engine::Native {
        let last = layers.last().expect("a layer");
        assert_eq!(last["digest"], big.digest(), "{end}");
        assert_eq!(last["total"], big.blob.len(), "{end}");
    }
    // What goes wrong on the way is the last event.
    let events = here.events("/images/pull", &json!({"image": registry.name("x:none")}));
    let (kind, data) = events.last().expect("an event");
    assert_eq!((kind.as_str(), &data["code"]), ("error", &json!("image_not_found")), "{data}");
}

fn a_name_is_removed_and_the_image_with_its_last(engine: Engine) {
    let registry = Registry::start();
    let digest = own(&registry, "removed").push(&registry, "x", "1");
    own(&registry, "removed").push(&registry, "x", "2");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let names = [registry.name("x:1"), registry.name("x:2")];
    for name in &names {
        here.prints(name, "true");
    }
    let removed = until("the first name to be free", PATIENCE, || {
        let reply = here.delete(&format!("/images/{}", names[0]));
        (reply.http == 200).then(|| ok(reply))
    });
    assert_eq!((&removed["references"], &removed["digests"]), (&json!([names[0]]), &json!([])));
    assert_eq!(here.prints(&names[1], "cat /mark"), "removed");
    let removed = until("the image to be free", PATIENCE, || {
        let reply = here.delete(&format!("/images/{}", names[1]));
        (reply.http == 200).then(|| ok(reply))
    });
    // The daemon counts what a name had as a name as well.
    let gone = removed["references"].as_array().expect("a list");
    assert!(gone.contains(&json!(names[1])), "{removed}");
    assert_eq!(removed["digests"], json!([digest]), "{removed}");
    assert_eq!(listed(&here, &names[1]), None);
    let problem = here.delete(&format!("/images/{}", names[1])).refused();
    assert_eq!((problem.http(), problem.code()), (404, "image_not_found"), "{}", problem.0);
    // It comes again from the registry, and from nowhere else.
    assert_eq!(here.prints(&names[1], "cat /mark"), "removed");
}

fn what_runs_is_not_removed(engine: Engine) {
    let registry = Registry::start();
    own(&registry, "in use").push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    let mark = host::mark("2.5");
    std::thread::scope(|scope| {
        let request = json!({"image": name, "script": format!("sleep {mark}; cat /mark")});
        let post = here.poster();
        let run = scope.spawn(move || post(&request).expect("an answer").ran().text());
        host::await_argument(&mark);
        let problem = here.delete(&format!("/images/{name}")).refused();
        assert_eq!((problem.http(), problem.code()), (409, "image_in_use"), "{}", problem.0);
        assert_eq!(run.join().expect("no panic"), "in use");
    });
    until("the image to be free", PATIENCE, || {
        (here.delete(&format!("/images/{name}")).http == 200).then_some(())
    });
}

/// What waits in the pool of an image that is removed goes first.
fn readiness_names_what_is_missing(engine: Engine) {
    let registry = Registry::start();
    own(&registry, "later").push(&registry, "x", "1");
    let gate = crate::support::faults::Gate::default();
    let held = gate.clone();
    let front = Faults::before(&registry, move |asked, _| {
        if asked.contains("/blobs/") {
            held.pass();
        }
        Act::Pass
    });
    let name = front.name("x:1");
    let pools = format!("{name}=1");
    let here = Here::start(engine, &[&front.address()], &[("CUSTOM_POOLS", &pools)]);
    let ready = || {
        let reply = here.get("/ready").expect("an answer");
        let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
        (reply.http, body)
    };
    // It is being pulled, and holds up nothing that is here.
    until("readiness without it", PATIENCE, || {
        let (http, body) = ready();
        let missing = body["images"]["missing"].to_string();
        (http == 200 && missing.contains(&name)).then_some(())
    });
    assert_eq!(here.run(&json!({"script": "echo base"})).text(), "base\n");
    gate.open();
    until("all to be there", PATIENCE, || {
        let (http, body) = ready();
        let full = body["pool"]["full"] == true;
        (http == 200 && full && body["images"]["missing"] == json!([])).then_some(())
    });
}

/// The subcommands, on the images of a service that runs beside them.
fn the_command_line_does_the_same(engine: Engine) {
    let registry = Registry::start();
    let digest = own(&registry, "by hand").push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    let run = |args: &[&str]| said(&here.image_command(args).output().expect("it runs"));
    let good = |args: &[&str]| {
        let (success, text) = run(args);
        assert!(success, "{args:?}: {text}");
        text
    };
    let text = good(&["pull", &name]);
    assert!(text.contains(&name) && text.contains(&digest), "{text}");
    let before = registry.pulls();
    assert_eq!(here.prints(&name, "cat /mark"), "by hand");
    assert_eq!(registry.pulls(), before);
    assert!(good(&["ls"]).contains(&name));
    let json: Value = serde_json::from_str(&good(&["ls", "--json"])).expect("JSON");
    let images = json["images"].as_array().expect("a list");
    assert!(images.iter().any(|image| image["digest"] == digest), "{json}");
    let json: Value = serde_json::from_str(&good(&["inspect", &name, "--json"])).expect("JSON");
    assert_eq!(
        (&json["digest"], json["layers"].as_array().map(Vec::len)),
        (&json!(digest), Some(2))
    );
    let (success, text) = run(&["pull", &registry.name("x:none")]);
    assert!(!success && text.contains("not found"), "{text}");
    // A tag that has moved on leaves its image behind, until somebody cleans up.
    own(&registry, "newer").push(&registry, "x", "1");
    good(&["pull", &name]);
    if engine == Engine::Native {
        // The daemon would take other tests' images as well.
        until("the old image to be gone", PATIENCE, || {
            good(&["prune"]);
            let body = ok(here.get("/images").expect("an answer"));
            (!body.to_string().contains(&digest)).then_some(())
        });
    }
    let text = good(&["rm", &name]);
    assert!(text.contains(&name), "{text}");
    assert_eq!(listed(&here, &name), None);
    assert!(!run(&["rm", &name]).0);
}

on_both_engines! {
    together: images_are_listed, an_image_is_described, an_image_is_pulled_ahead,
        a_pull_can_be_watched, a_name_is_removed_and_the_image_with_its_last,
        what_runs_is_not_removed, readiness_names_what_is_missing, the_command_line_does_the_same
}
