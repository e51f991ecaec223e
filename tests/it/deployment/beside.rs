//! What may stand beside the service: a registry that wants a password, Prometheus, another daemon.

use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::project::{Compose, Project, Pulled, docker};
use super::tools::{run, said};
use crate::support::layers::through;
use crate::support::service::{client, free_address};
use crate::support::{BUSYBOX, turn, until};

const WAIT: Duration = Duration::from_secs(60);

#[test]
fn docker_a_registry_with_a_password() {
    let _turn = turn::together();
    let port = free_address().port().to_string();
    let settings = [
        ("REGISTRY_PORT", &*port),
        ("REGISTRY_IMAGE", "oncebox-base/registry:latest"),
        ("REGISTRY_MEMORY", "128m"),
    ];
    let mut project = Project::new(Compose::V1, &settings, &["deploy/compose.registry.yml"]);
    let lines = through("htpasswd", &["-niB", "-C", "4", "ci"], b"a password");
    project.configure("registry/htpasswd", lines);
    // The registry is root without its powers: it reads what everybody may.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(project.config().join("registry/htpasswd"), open).expect("a mode");
    let address = format!("127.0.0.1:{port}");
    let login = |user: &[u8]| {
        let auth = String::from_utf8(through("base64", &["-w0"], user)).expect("text");
        json!({"auths": {&*address: {"auth": auth}}}).to_string()
    };
    project.configure("registry.json", login(b"ci:wrong"));
    project.run(&["up", "-d"]);
    project.healthy("registry");
    project.healthy("script-executor");

    let tools = Pulled(format!("{address}/tools:1"));
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), login(b"ci:a password")).expect("a file");
    docker(&["tag", BUSYBOX, &tools.0]);
    docker(&["--config", folder.path().to_str().expect("a path"), "push", "--quiet", &tools.0]);
    docker(&["rmi", &tools.0]);

    let request = json!({"script": "echo from the registry", "image": "tools:1"});
    let refused = project.post("/execute", &request).send().expect("an answer");
    assert_eq!(refused.status(), 502);
    assert_eq!(refused.json::<Value>().expect("JSON")["code"], "registry_auth");
    // Credentials are read when they are needed; a refusal holds for a moment.
    project.configure("registry.json", login(b"ci:a password"));
    let answer = until("an answer with the password", WAIT, || {
        let answer = project.post("/execute", &request).send().expect("an answer");
        (answer.status() == 200).then(|| answer.json::<Value>().expect("JSON"))
    });
    assert_eq!(answer["stdout"], "from the registry\n");
}

#[test]
fn docker_prometheus_reads_the_metrics() {
    let _turn = turn::together();
    let port = free_address().port().to_string();
    let grafana = free_address().port().to_string();
    let settings = [
        ("PROMETHEUS_PORT", &*port),
        ("PROMETHEUS_IMAGE", "oncebox-base/prometheus:latest"),
        ("GRAFANA_PORT", &*grafana),
        ("GRAFANA_PASSWORD", "of nobody"),
    ];
    let mut project = Project::new(Compose::V2, &settings, &["deploy/compose.observability.yml"]);
    // Grafana's image can't be made here.
    project.run(&["up", "-d", "script-executor", "prometheus"]);
    project.healthy("script-executor");
    project.healthy("prometheus");
    project.execute(&json!({"script": "true"}));
    let query = |expression: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query?query={expression}");
        let asked = client().build().expect("a client").get(url);
        let answer: Value = asked.send().ok()?.json().ok()?;
        answer.pointer("/data/result/0/value/1").cloned()
    };
    until("the first scrape", WAIT, || query("up").filter(|up| up == "1"));
    until("the execution in a scrape", WAIT, || {
        query("sum(oncebox_executions_total)").filter(|count| count != "0")
    });
}

#[test]
fn docker_scripts_on_a_daemon_of_their_own() {
    let _turn = turn::together();
    let daemon = Daemon::start();
    daemon.load(BUSYBOX);
    let socket = daemon.socket();
    let settings = [("DOCKER_SOCKET", socket.to_str().expect("a path"))];
    let project = Project::up(Compose::V2, &settings, &["deploy/compose.daemon.yml"]);
    assert_eq!(project.execute(&json!({"script": "echo over there"})).text(), "over there\n");
    let there = |arguments: &[&str]| said(&run(&mut daemon.docker(arguments)));
    until("one that waits there", WAIT, || {
        there(&["ps", "--format", "{{.Names}}"]).starts_with("oncebox-").then_some(())
    });
    assert_eq!(project.scripts(), [], "none here");
    drop(project);
    assert_eq!(there(&["ps", "--all", "--quiet"]), "");
}
