//! The answer as a whole, and the image it names.

use serde_json::{Value, json};

use crate::support::{BUSYBOX, Engine, HOSTILE, NOSHELL, Service, Shared};

/// The whole document, but for what changes from run to run.
fn an_answer_is_as_documented(engine: Engine) {
    let mut answer = Shared::get(engine).run(&json!({"script": "echo hi; exit 3"})).0;
    for (field, changing) in [
        ("", "id"),
        ("", "execution_time"),
        ("", "image"),
        ("", "image_digest"),
        ("usage", "cpu_time"),
        ("usage", "max_memory_bytes"),
        ("usage", "max_pids"),
        ("timings", "prepared"),
        ("timings", "queued"),
        ("timings", "ran"),
    ] {
        let object = if field.is_empty() { &mut answer } else { &mut answer[field] };
        object[changing] = Value::Null;
    }
    assert_eq!(
        answer,
        json!({
            "id": null,
            "status": "completed",
            "success": false,
            "exit_code": 3,
            "signal": null,
            "stdout": "hi\n",
            "stderr": "",
            "stdout_bytes": 3,
            "stderr_bytes": 0,
            "stdout_truncated": false,
            "stderr_truncated": false,
            "execution_time": null,
            "error": answer["error"],
            "image": null,
            "image_digest": null,
            "limits_hit": [],
            "usage": {"cpu_time": null, "max_memory_bytes": null, "max_pids": null},
            "timings": {"queued": null, "prepared": null, "ran": null},
            "files": [],
        })
    );
}

fn usage_is_measured(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({
        "script": "x = b'x' * (20 << 20); n = 0\nwhile n < 2000000: n += 1",
        "language": "python",
    }));
    let usage = &answer.0["usage"];
    assert!(usage["cpu_time"].as_f64().is_some_and(|s| s > 0.02 && s < 20.0), "{}", answer.0);
    assert!(usage["max_memory_bytes"].as_u64().is_some_and(|b| b > 20 << 20), "{}", answer.0);
    assert!(usage["max_pids"].as_u64().is_some_and(|n| (1..20).contains(&n)), "{}", answer.0);
}

fn the_base_image_is_named(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({"script": "true"}));
    let digest = answer.0["image_digest"].as_str();
    match engine {
        Engine::Native => assert_eq!((&answer.0["image"], digest), (&json!("host"), None)),
        Engine::Docker => {
            assert!(answer.0["image"].as_str().is_some_and(|i| i.contains(engine.base_image())));
            assert!(digest.is_some_and(|d| d.starts_with("sha256:")), "{}", answer.0);
        }
    }
}

/// A request's image is the one that runs; naming the base image changes nothing.
fn an_image_can_be_named(engine: Engine) {
    let request = json!({"script": "command -v python3", "image": engine.base_image()});
    assert_eq!(Shared::get(engine).run(&request).text(), "/usr/bin/python3\n");
}

/// Only Docker has other images yet; the native engine's registry is to come.
#[test]
fn docker_runs_the_image_asked_for() {
    let _turn = crate::support::turn::together();
    let service = Shared::get(Engine::Docker);
    let busybox = service
        .run(&json!({"script": "command -v python3; busybox | head -n 1", "image": BUSYBOX}));
    assert!(busybox.text().starts_with("BusyBox v1"), "{}", busybox.0);
    let id = service.run(&json!({"script": "true", "image": BUSYBOX})).0["image_digest"].clone();
    let digest = id.as_str().expect("a digest");
    assert!(digest.starts_with("sha256:"), "{digest}");
}

/// The guest needs nothing of the image, not even a shell.
#[test]
fn docker_runs_an_image_without_a_shell() {
    let _turn = crate::support::turn::together();
    let service = Shared::get(Engine::Docker);
    let own = json!({"script": "#!/opt/busybox sh\necho own", "image": NOSHELL});
    assert_eq!(service.run(&own).text(), "own\n");
    let answer = service.run(&json!({"script": "echo never", "image": NOSHELL}));
    assert_eq!((answer.status(), answer.exit_code()), ("completed", 127), "{}", answer.0);
}

/// Nothing that an image says about itself changes how a script runs in it.
#[test]
fn docker_trusts_nothing_an_image_says() {
    let _turn = crate::support::turn::together();
    let service = Service::start(Engine::Docker, &[]);
    let script = "echo $(id -u) $(pwd) ${LD_PRELOAD-unset} ${ENV-unset} ${BASH_ENV-unset}
touch /data/x 2>/dev/null && echo wrote; ls /data 2>/dev/null; ls /tmp | grep health; true";
    let answer = service.run(&json!({"script": script, "image": HOSTILE}));
    let text = answer.text();
    let (uid, rest) = text.split_once(' ').expect("a uid");
    assert_ne!(uid, "0", "{text}");
    assert_eq!(rest, "/tmp/work unset unset unset\n", "{}", answer.0);
}

on_both_engines! {
    together: an_answer_is_as_documented, usage_is_measured, the_base_image_is_named,
        an_image_can_be_named
}
