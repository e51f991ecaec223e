//! Runtimes and templates: what requests call by a name.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::first_minute::refused_start;
use crate::pool::filled;
use crate::support::metrics::Metrics;
use crate::support::service::{client, oncebox};
use crate::support::{Engine, Service, host, turn, until};

const SOON: Duration = Duration::from_secs(20);
const WAITING: &str = "oncebox_pool_hits_total{kind=\"waiting\"}";

/// A folder with a file of runtimes, and room for what outlives a service.
struct Offered(TempDir);

impl Offered {
    fn new(text: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        let offered = Self(folder);
        offered.write(text);
        offered
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("written");
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("runtimes.toml")
    }

    fn setting(&self) -> String {
        self.path().to_str().expect("UTF-8").to_owned()
    }
}

/// Python on the engine's own image, with everything that a runtime can say.
fn python(engine: Engine) -> String {
    format!(
        r#"
        [[runtimes]]
        name = "py"
        display_name = "Python"
        image = "{}"
        language = "python"
        env = {{ A = "runtime", B = "runtime" }}
        timeout = 2
        tmp_size = "8m"
        pool = 1

        [resources.tiny]
        timeout = 0.5
        "#,
        engine.base_image()
    )
}

/// What a service of the operator's file does. His own images need none of his leave.
fn a_runtime_of_the_file_is_run_and_waits_ahead(engine: Engine) {
    let offered = Offered::new(&python(engine));
    let file = offered.setting();
    let settings = [("RUNTIMES_FILE", &*file), ("POOL_SIZE", "0"), ("ALLOWED_IMAGES", "none")];
    let service = filled(Service::start(engine, &settings));
    let refused = service.refuse(&json!({"script": "x", "image": engine.base_image()})).0;
    assert_eq!(refused["code"], "image_not_allowed", "{refused}");

    let show = "import os, shutil; e = os.environ; \
                print(e['A'], e['B'], shutil.disk_usage('/tmp').total >> 20)";
    let answer = service.run(&json!({"script": show, "runtime": "py", "env": {"B": "request"}}));
    assert_eq!(answer.text(), "runtime request 8\n");
    assert_eq!(answer.0["runtime"], "py");
    // It was made ahead, with the runtime's own `/tmp`.
    assert_eq!(Metrics::of(&service).sample(WAITING), 1.0);
    let shell = json!({"script": "echo $A", "runtime": "py", "language": "sh"});
    assert_eq!(service.run(&shell).text(), "runtime\n");

    let slow = |more: Value| {
        let mut request = json!({"script": "import time; time.sleep(60)", "runtime": "py"});
        request.as_object_mut().expect("an object").extend(more.as_object().expect("it").clone());
        let answer = service.run(&request);
        assert_eq!(answer.status(), "timed_out");
        answer.0["error"].as_str().expect("a sentence").to_owned()
    };
    assert!(slow(json!({})).contains("timeout of 2 s"));
    assert!(slow(json!({"resources": "tiny"})).contains("timeout of 0.5 s"));
    assert!(slow(json!({"resources": "tiny", "timeout": 0.25})).contains("timeout of 0.25 s"));
    let log = service.log();
    assert!(log.contains("\"runtime\":\"py\"") && !log.contains("\"B\""), "{log}");
}

/// What is registered is there after a restart, until it is deleted; and what was accepted runs as
/// it was accepted.
fn what_is_registered_outlives_the_service(engine: Engine) {
    let kept = Offered::new("");
    let store = kept.0.path().join("executions.redb");
    let settings = [("EXECUTION_STORE", store.to_str().expect("UTF-8"))];
    let service = Service::start(engine, &settings);
    let new = json!({"name": "box", "image": engine.base_image(), "env": {"V": "1"}, "pool": 1});
    let registered = service.post_to("/runtimes", &new);
    assert_eq!(registered.http, 201);
    let run = json!({"script": "echo $V", "runtime": "box"});
    assert_eq!(service.run(&run).text(), "1\n");
    let mark = host::mark("77");
    let again = json!({
        "script": format!("echo $V; sleep {mark}"), "runtime": "box", "timeout": 250,
        "retry_on_interrupt": true,
    });
    let accepted: Value =
        serde_json::from_slice(&service.post_to("/executions", &again).body).expect("JSON");
    let id = accepted["id"].as_str().expect("an id").to_owned();
    host::await_argument(&mark);
    let gone = service.delete("/runtimes/box");
    assert_eq!(gone.http, 204);
    assert_eq!(service.refuse(&run).0["code"], "unknown_runtime");
    assert_eq!(service.post_to("/runtimes", &new).http, 201);
    let changed = json!({"name": "other", "image": engine.base_image()});
    assert_eq!(service.post_to("/runtimes", &changed).http, 201);
    assert_eq!(service.delete("/runtimes/other").http, 204);
    service.kill().ended();

    let service = Service::start(engine, &settings);
    let listed: Value =
        serde_json::from_slice(&service.get("/runtimes").expect("an answer").body).expect("JSON");
    let names: Vec<_> = listed["runtimes"].as_array().expect("a list").iter().collect();
    assert_eq!((names.len(), &names[0]["name"], &names[0]["pool"]), (1, &json!("box"), &json!(1)));
    assert_eq!(service.run(&run).text(), "1\n");
    host::await_argument(&mark);
    assert_eq!(service.delete("/runtimes/box").http, 204);
    let over: Value =
        serde_json::from_slice(&service.delete(&format!("/executions/{id}")).body).expect("JSON");
    assert_eq!(
        (&over["result"]["stdout"], &over["result"]["runtime"]),
        (&json!("1\n"), &json!("box"))
    );
}

/// The command line knows the file where there is no service, and the service's own where there is
/// one.
fn oncebox_run_names_a_runtime(engine: Engine) {
    let offered = Offered::new(&python(engine));
    let run = |args: &[&str]| {
        let mut command: Command = oncebox("run", engine);
        command.args(args).arg("-").env("RUNTIMES_FILE", offered.path()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
        let script = b"import os; print(os.environ['A'])";
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), script).expect("read");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let ran = (Some(0), "runtime\n".to_owned());
    let (code, stdout, stderr) = run(&["--runtime", "py", "--resources", "small"]);
    assert_eq!((code, stdout), ran, "{stderr}");
    let (code, _, stderr) = run(&["--runtime", "other"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--runtime") && stderr.contains("choose one of py"), "{stderr}");

    let service = Service::start(engine, &[("RUNTIMES_FILE", &offered.setting())]);
    let server = format!("http://{}", service.address());
    let (code, stdout, stderr) =
        run(&["--server", &server, "--runtime", "py", "--resources", "small"]);
    assert_eq!((code, stdout), ran, "{stderr}");
    let (code, _, stderr) = run(&["--server", &server, "--resources", "huge"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("resources") && stderr.contains("medium"), "{stderr}");
}

/// The README's file is one.
#[test]
fn the_readme_s_file_is_read() {
    let _turn = turn::together();
    let readme = include_str!("../../README.md");
    let (_, block) = readme.split_once("```toml\n[[runtimes]]").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let offered = Offered::new(&format!("[[runtimes]]{block}"));
    let mut command = oncebox("run", Engine::Native);
    command.args(["--runtime", "none", "/dev/null"]).env("RUNTIMES_FILE", offered.path());
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("choose one of python-scientific"), "{said}");
}

/// A file that breaks a rule refuses the start, by its runtime and field.
#[test]
fn a_bad_file_refuses_the_start() {
    let _turn = turn::together();
    let offered =
        Offered::new("[[runtimes]]\nname = \"py\"\nimage = \"host\"\nmemory_limit = \"9g\"");
    let said = refused_start(Engine::Native, &[("RUNTIMES_FILE", &offered.setting())], &[]);
    for told in ["RUNTIMES_FILE", &offered.setting(), "(py)", "memory_limit", "MAX_MEMORY_LIMIT"] {
        assert!(said.contains(told), "nothing of {told}: {said}");
    }
}

/// The file is read again when it changes and on SIGHUP; a bad one changes nothing.
#[test]
fn a_changed_file_is_read_again() {
    let _turn = turn::together();
    let offered = Offered::new(&python(Engine::Native));
    let service = Service::start(Engine::Native, &[("RUNTIMES_FILE", &offered.setting())]);
    let run = |name: &str| service.execute(&json!({"script": "", "runtime": name, "stdin": ""}));
    let known = |name: &str| {
        let refused: Value = serde_json::from_slice(&run(name).body).expect("JSON");
        refused["code"] != "unknown_runtime"
    };
    assert!(known("py") && !known("ruby"));
    offered.write("[[runtimes]]\nname = \"ruby\"\nimage = \"host\"\nlanguage = \"ruby\"");
    until("the new runtime", SOON, || (known("ruby") && !known("py")).then_some(()));
    offered.write("[[runtimes]]\nname = \"ruby\"");
    let kept = || service.log().matches("the runtimes stay as they were").count();
    until("the bad file to be told", SOON, || (kept() == 1).then_some(()));
    assert!(known("ruby"));
    let log = service.log();
    let line = log.lines().find(|line| line.contains("stay as they were")).expect("a line");
    assert!(line.contains("(ruby)") && line.contains("image"), "{line}");
    offered.write("");
    until("an empty file", SOON, || (!known("ruby")).then_some(()));
    let read = || service.log().matches("runtimes read").count();
    let before = read();
    host::signal(service.pid(), Signal::HUP);
    until("the file to be read", SOON, || (read() > before).then_some(()));
}

/// Who may change what others run in.
#[test]
fn only_an_admin_registers_and_a_key_has_its_ceilings() {
    let _turn = turn::together();
    let offered = Offered::new(&python(Engine::Native));
    let keys = offered.0.path().join("keys.toml");
    let key = |arguments: &[&str]| {
        let mut command = oncebox("key", Engine::Native);
        let output = command.arg("new").args(arguments).env("API_KEYS_FILE", &keys).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text").trim().to_owned()
    };
    let small = key(&["small", "--max-timeout", "1", "--max-memory-limit", "200m"]);
    let admin = key(&["admin", "--scopes", "admin"]);
    let settings = [
        ("RUNTIMES_FILE", offered.setting()),
        ("API_KEYS_FILE", keys.to_str().expect("UTF-8").to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = Service::start(Engine::Native, &settings);
    let new = json!({"name": "box", "image": "host"});
    let ask = |method: &str, path: &str, key: &str, body: Option<&Value>| {
        coded(send(&service, method, path, Some(key), body))
    };
    assert_eq!(ask("POST", "/runtimes", &small, Some(&new)), (403, "scope_missing".into()));
    assert_eq!(ask("DELETE", "/runtimes/py", &small, None), (403, "scope_missing".into()));
    assert_eq!(ask("GET", "/runtimes", &admin, None), (403, "scope_missing".into()));
    assert_eq!(ask("GET", "/runtimes/py", &small, None).0, 200);
    assert_eq!(ask("POST", "/runtimes", &admin, Some(&new)).0, 201);
    assert_eq!(ask("POST", "/runtimes", &admin, Some(&new)), (409, "runtime_exists".into()));
    assert_eq!(ask("DELETE", "/runtimes/py", &admin, None), (409, "runtime_in_file".into()));
    assert_eq!(ask("DELETE", "/runtimes/box", &admin, None).0, 204);

    // A template is asked for, and a runtime's limit is what holds where nothing is.
    let execute = |body: Value| -> Value {
        send(&service, "POST", "/execute", Some(&small), Some(&body)).json().expect("JSON")
    };
    let refused = execute(json!({"script": "x", "resources": "medium"}));
    assert_eq!(
        (&refused["code"], &refused["field"]),
        (&json!("limit_exceeded"), &json!("resources"))
    );
    let detail = refused["detail"].as_str().expect("text");
    assert!(detail.contains("memory_limit of medium") && detail.contains("API key"), "{detail}");
    let lowered = execute(json!({"script": "import time; time.sleep(60)", "runtime": "py"}));
    assert!(lowered["error"].as_str().expect("text").contains("timeout of 1 s"), "{lowered}");
}

/// Without keys, nobody from beyond this machine registers what others run in.
#[test]
fn an_open_door_takes_no_runtimes() {
    let _turn = turn::together();
    let settings = [("HOST", "0.0.0.0"), ("ALLOW_ANONYMOUS", "true")];
    let service = Service::start(Engine::Native, &settings);
    let new = json!({"name": "box", "image": "host"});
    let refused = coded(send(&service, "POST", "/runtimes", None, Some(&new)));
    assert_eq!(refused, (403, "scope_missing".into()));
    assert_eq!(coded(send(&service, "DELETE", "/runtimes/box", None, None)).0, 403);
    assert_eq!(coded(send(&service, "GET", "/runtimes", None, None)).0, 200);
    assert_eq!(service.get("/metrics").expect("an answer").http, 200);
}

fn send(
    service: &Service,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Response {
    let client: Client = client().build().expect("a client");
    let url = format!("http://{}{path}", service.address());
    let request = client.request(method.parse().expect("a method"), url);
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    let request = body.into_iter().fold(request, |request, body| request.json(body));
    request.send().expect("an answer")
}

fn coded(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().unwrap_or(Value::Null);
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

on_both_engines! {
    together: a_runtime_of_the_file_is_run_and_waits_ahead, oncebox_run_names_a_runtime,
        what_is_registered_outlives_the_service
}
