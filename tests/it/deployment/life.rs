//! A project from its first `up` to its last `down`, as either Compose does it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::project::{Compose, Project, Pulled, docker, socket};
use crate::custom_images;
use crate::support::images::Image;
use crate::support::{Registry, host, turn, until};

const WAIT: Duration = Duration::from_secs(60);
const SERVICE: &str = "script-executor";

#[test]
fn docker_a_life_with_compose_1() {
    life(Compose::V1);
}

#[test]
fn docker_a_life_with_compose_2() {
    life(Compose::V2);
}

fn life(compose: Compose) {
    let _turn = turn::together();
    let registry = Registry::start();
    // The daemon asks for nothing that it has from the other project's registry.
    let [base_mark, tools_mark] = ["base", "tools"].map(|image| format!("{image} of {compose:?}"));
    let base = Pulled(registry.name("base:1"));
    Image::marked(&base_mark).push(&registry, "base", "1");
    let _tools = Pulled(registry.name("tools:1"));
    Image::marked(&tools_mark).push(&registry, "tools", "1");
    let settings = [("BASE_IMAGE", &*base.0), ("CUSTOM_IMAGE_REGISTRY", &registry.address())];
    let mut project = Project::new(compose, &settings, &[]);
    // Without a key whoever asks is his address, which is another one after `down`.
    project.lock();
    project.run(&["up", "-d"]);
    project.healthy(SERVICE);
    let id = project.id(SERVICE);
    project.waiting();

    // What is there stays as it is.
    let started = project.inspect(SERVICE)["State"]["StartedAt"].clone();
    project.run(&["up", "-d"]);
    assert_eq!(project.id(SERVICE), id);
    assert_eq!(project.inspect(SERVICE)["State"]["StartedAt"], started);

    assert_eq!(project.execute(&json!({"script": "cat /mark"})).text(), base_mark);
    let asked = json!({"script": "cat /mark", "image": "tools:1"});
    assert_eq!(project.execute(&asked).text(), tools_mark);
    for image in ["base", "tools"] {
        assert!(registry.count("GET", image) > 0, "the daemon pulled {image} from the registry");
    }
    is_confined(&project);
    // Its scripts may use the cores that it may not use itself.
    let cores = std::thread::available_parallelism().expect("cores").get();
    let all = json!({"script": "echo all", "cpu_limit": cores});
    assert_eq!(project.execute(&all).text(), "all\n");

    let later: Value = project
        .post("/executions", &json!({"script": "echo later"}))
        .send()
        .and_then(|answer| answer.json())
        .expect("an answer");
    let later = format!("/executions/{}", later["id"].as_str().expect("an id"));
    ended(&project, &later);

    project.run(&["restart"]);
    assert_eq!(project.id(SERVICE), id);
    let state = &project.inspect(SERVICE)["State"];
    assert_ne!(state["StartedAt"], started);
    project.healthy(SERVICE);
    assert!(project.log().contains("stopping: running scripts have"), "{}", project.log());
    project.waiting();

    // Its containers end with it, and the next one removes what is left of them.
    let before: BTreeSet<_> = project.scripts().into_iter().collect();
    project.run(&["kill"]);
    until("the end of what waited", WAIT, || {
        project.scripts().iter().all(|(_, state)| state == "exited").then_some(())
    });
    project.run(&["up", "-d"]);
    project.healthy(SERVICE);
    project.waiting();
    until("the removal of what was left", WAIT, || {
        let now = project.scripts();
        before.iter().all(|(old, _)| now.iter().all(|(id, _)| id != old)).then_some(())
    });

    project.run(&["down"]);
    assert_eq!(project.left(), project.volumes());
    assert_eq!(project.volumes().len(), 1, "the data stays: {:?}", project.volumes());
    project.run(&["up", "-d"]);
    project.healthy(SERVICE);
    let kept = ended(&project, &later);
    assert_eq!(kept["result"]["stdout"], "later\n");
    project.run(&["stop"]);
    assert_eq!(project.inspect(SERVICE)["State"]["ExitCode"], 0, "{}", project.log());

    // The README's copy of what is kept.
    let copy = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    let from = format!("{}:/var/lib/oncebox", project.id(SERVICE).expect("a container"));
    docker(&["cp", &from, copy.path().to_str().expect("a path")]);
    let file = copy.path().join("oncebox/executions.redb");
    assert!(std::fs::metadata(file).is_ok_and(|kept| kept.len() > 0));
}

/// The process itself, as the machine sees it: not root, in the socket's group, and no way back.
fn is_confined(project: &Project) {
    let pid = project.pid();
    let status = |field: &str| host::status(pid, field).expect("a living process");
    for ids in [status("Uid"), status("Gid")] {
        assert_eq!(ids, "65532\t65532\t65532\t65532");
    }
    let group = std::fs::metadata(socket()).expect("the socket").gid().to_string();
    let groups = status("Groups");
    let mut groups = groups.split_whitespace().filter(|g| *g != "65532");
    assert_eq!((groups.next(), groups.next()), (Some(&*group), None));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(set), "0000000000000000", "{set}");
    }
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(status("Seccomp"), "2");
    let others: Vec<u32> = host::descendants(pid);
    assert!(others.iter().all(|pid| host::status(*pid, "Uid").is_none_or(|u| !u.starts_with("0"))));
}

/// An execution in the background, once it is over.
fn ended(project: &Project, path: &str) -> Value {
    until("its end", WAIT, || {
        let answer: Value = project.get(path).send().ok()?.json().ok()?;
        (answer["state"] == "ended").then_some(answer)
    })
}

#[test]
fn docker_beyond_loopback_it_takes_keys() {
    let _turn = turn::together();
    let everywhere = [("HOST_ADDRESS", "0.0.0.0")];
    let mut project = Project::new(Compose::V2, &everywhere, &[]);
    project.run(&["up", "-d"]);
    until("its refusal", WAIT, || project.log().contains("API_KEYS_FILE").then_some(()));
    let log = project.log();
    assert!(log.contains("PUBLISHED_ON") && log.contains("0.0.0.0"), "{log}");
    assert_ne!(project.inspect(SERVICE)["State"]["Health"]["Status"], "healthy");
    project.run(&["down"]);

    project.lock();
    project.configure("forward.env", "TEAM=blue\n");
    let file = project.config().join("forward.env").to_string_lossy().into_owned();
    project.set("FORWARD_ENV_FILE", &file);
    project.set("FORWARD_ENV_KEYS", "TEAM");
    project.run(&["up", "-d"]);
    project.healthy(SERVICE);
    let hello = json!({"script": "echo hello $TEAM"});
    assert_eq!(project.execute(&hello).text(), "hello blue\n");
    project.forget_key();
    assert_eq!(project.post("/execute", &hello).send().expect("an answer").status(), 401);
}

/// It must not become a folder of that name on the machine.
#[test]
fn docker_a_socket_that_is_not_there_is_told() {
    let _turn = turn::together();
    let nowhere = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    let nowhere = nowhere.path().join("docker.sock");
    for compose in [Compose::V1, Compose::V2] {
        let settings = [("DOCKER_SOCKET", nowhere.to_str().expect("a path"))];
        let project = Project::new(compose, &settings, &["deploy/compose.daemon.yml"]);
        let output = project.compose(&["up", "-d"]);
        assert!(!output.status.success());
        let said = super::tools::said(&output);
        assert!(said.contains("docker.sock"), "{said}");
        assert!(!nowhere.exists());
    }
}

/// As somebody does who has pulled the three images and brought the project up.
#[test]
fn docker_the_acceptance_files_through_the_published_port() {
    let _turn = turn::together();
    let project = Project::up(Compose::V2, &[], &[]);
    for (image, base) in [
        ("python-scientific", "PYTHON_IMAGE=oncebox-base/python"),
        ("nodejs-runtime", "NODE_IMAGE=oncebox-base/node"),
        ("multi-language", "DEBIAN_IMAGE=oncebox-base/debian"),
    ] {
        custom_images::build(image, base, &["--no-test"]);
        let name = format!("{}/{image}:dev", custom_images::PREFIX);
        let file = custom_images::custom_images().join(image).join("acceptance.toml");
        let (status, text) = custom_images::accept(&name, &file, &project.url(""));
        assert_eq!(status, Some(0), "{text}");
    }
}
