//! Variables of the service that scripts get: where they arrive, and where they never do.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use reqwest::blocking::multipart::Form;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::executions::Kept;
use crate::pool;
use crate::support::images::Image;
use crate::support::processes::guests;
use crate::support::registry::Registry;
use crate::support::service::oncebox;
use crate::support::{Answer, BUSYBOX, Engine, Service, host, until};

const PRINTS: &str = "printf %s \"${FWD_TOKEN-none}\"";

/// A value that nothing else on this machine has.
fn secret(engine: Engine, test: &str) -> String {
    format!("hush-{engine}-{test}-{}", std::process::id())
}

/// Everything that has it but the service's own environment.
fn who_has(secret: &str, service: &Service) -> Vec<u32> {
    let others = host::pids().into_iter().filter(|pid| *pid != service.pid());
    others
        .filter(|pid| {
            let has = |file| host::proc(*pid, file).is_some_and(|text| text.contains(secret));
            has("environ") || has("cmdline")
        })
        .collect()
}

fn scripts_get_them_and_nothing_else_does(engine: Engine) {
    let secret = secret(engine, "a");
    let kept = Kept::new();
    let service = Service::start(
        engine,
        &[
            ("FORWARD_ENV_KEYS", "FWD_TOKEN,FWD_OTHER,FWD_ABSENT"),
            ("FWD_TOKEN", &secret),
            ("FWD_OTHER", "two  words"),
            ("POOL_SIZE", "2"),
            ("LOG_LEVEL", "trace"),
            ("EXECUTION_STORE", &kept.file()),
        ],
    );
    let service = pool::filled(service);
    assert_eq!(who_has(&secret, &service), [0; 0], "what waits has none");
    assert_eq!(guests(&service, engine).len(), 2);

    let answer = service.run(&json!({ "script": PRINTS }));
    assert_eq!(answer.text(), secret);
    let Answer(mut rest) = answer;
    rest["stdout"] = Value::Null;
    assert!(!rest.to_string().contains(&secret), "{rest}");
    for (more, printed) in [
        (json!({"env": {"FWD_TOKEN": "mine"}}), "mine two  words none"),
        (json!({"forward_env": false}), "none none none"),
        (json!({"forward_env": false, "env": {"FWD_OTHER": "x"}}), "none x none"),
        (json!({"language": "python", "forward_env": false}), "none"),
        (json!({"language": "python", "args": ["1"]}), &secret.len().to_string()),
        (json!({"language": "python"}), &secret.len().to_string()),
    ] {
        let mut request = match more["language"].as_str() {
            Some(_) => json!({"script": "import os
value = os.environ.get('FWD_TOKEN')
print('none' if value is None else len(value), end='')"}),
            None => json!({"script":
                "printf %s \"${FWD_TOKEN-none} ${FWD_OTHER-none} ${FWD_ABSENT-none}\""}),
        };
        let fields = request.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        assert_eq!(service.run(&request).text(), printed, "{more}");
    }
    let form = Form::new().text("script", PRINTS).text("forward_env", "false");
    assert_eq!(service.execute_form(form).ran().text(), "none");
    let problem = service.refuse(&json!({"script": PRINTS, "forward_env": "no"}));
    assert_eq!(problem.field(), "forward_env");

    // A request that is written down: what it does not say itself is not written either.
    for (forward, printed) in [(true, secret.len().to_string()), (false, "4".into())] {
        let script = "x=${FWD_TOKEN-none}; printf %s ${#x}";
        let request = json!({"script": script, "forward_env": forward, "retry_on_interrupt": true});
        let created: Value =
            serde_json::from_slice(&service.post_to("/executions", &request).body).expect("JSON");
        let path = format!("/executions/{}", created["id"].as_str().expect("an id"));
        let result = until("its end", Duration::from_secs(20), || {
            let reply = service.get(&path).expect("an answer");
            let document: Value = serde_json::from_slice(&reply.body).expect("JSON");
            (document["state"] == "ended").then(|| document["result"].clone())
        });
        assert_eq!(result["stdout"], printed, "{result}");
    }
    let store = std::fs::read(kept.file()).expect("a store");
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    assert!(store.windows(9).any(|part| part == b"FWD_TOKEN"), "the script is there");
    assert!(!holds(&store), "the store has the value");

    for path in ["/metrics", "/ready", "/images", "/languages", "/executions"] {
        assert!(!holds(&service.get(path).expect("an answer").body), "{path}");
    }
    let service = pool::filled(service);
    until("the end of every script", Duration::from_secs(20), || {
        who_has(&secret, &service).is_empty().then_some(())
    });
    if engine == Engine::Docker {
        let all = host::docker(&["ps", "--all", "--quiet"]);
        let inspect: Vec<&str> =
            ["inspect"].into_iter().chain(all.iter().map(|id| &**id)).collect();
        // One that another test has removed meanwhile is told on stderr.
        let output = std::process::Command::new("docker").args(inspect).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("\"Env\"") && !said.contains(&secret));
    }
    let log = service.log();
    assert!(!log.contains(&secret) && !log.contains("two  words"), "the log has a value");
    let warned = log.lines().filter(|line| line.contains("FORWARD_ENV_KEYS")).collect::<Vec<_>>();
    let base = engine.base_image().trim_end_matches(":latest");
    let told = |words: &[&str]| {
        warned.iter().any(|line| line.contains("WARN") && words.iter().all(|w| line.contains(w)))
    };
    assert!(told(&["FWD_TOKEN, FWD_OTHER", base, "TRUSTED_REGISTRIES"]), "{warned:?}");
    assert!(told(&["FWD_ABSENT"]), "{warned:?}");
}

/// An image that is not the operator's, and its registry.
struct Other {
    name: String,
    registry: String,
    _kept: (Option<Registry>, TempDir),
}

impl Other {
    fn of(engine: Engine) -> Self {
        let store = tempfile::Builder::new().prefix("oncebox-it-store-").tempdir();
        let store = store.expect("a folder");
        if engine == Engine::Docker {
            let (name, registry) = (BUSYBOX.to_owned(), "docker.io".to_owned());
            return Self { name, registry, _kept: (None, store) };
        }
        let registry = Registry::start();
        Image::marked("forward").push(&registry, "x", "1");
        let (name, address) = (registry.name("x:1"), registry.address());
        Self { name, registry: address, _kept: (Some(registry), store) }
    }

    fn service(&self, engine: Engine, secret: &str, more: (&str, &str)) -> Service {
        let store = self._kept.1.path().join("images");
        let mut settings = vec![
            ("FORWARD_ENV_KEYS", "FWD_TOKEN"),
            ("FWD_TOKEN", secret),
            ("POOL_SIZE", "1"),
            more,
        ];
        if engine == Engine::Native {
            settings.push(("INSECURE_REGISTRIES", &self.registry));
            settings.push(("IMAGE_STORE", store.to_str().expect("text")));
        }
        Service::start(engine, &settings)
    }
}

fn only_trusted_images_get_them(engine: Engine) {
    let (secret, other) = (secret(engine, "b"), Other::of(engine));
    let pooled = format!("{}=1", other.name);
    let listed = format!("elsewhere.example,{}", other.registry);
    let in_it = json!({"script": PRINTS, "image": other.name});
    for (more, gets) in [
        (("LOG_LEVEL", "info"), "none"),
        (("TRUSTED_REGISTRIES", &*listed), &*secret),
        (("CUSTOM_POOLS", &*pooled), &*secret),
    ] {
        let service = other.service(engine, &secret, more);
        assert_eq!(service.run(&in_it).text(), gets, "{more:?}");
        assert_eq!(service.run(&json!({ "script": PRINTS })).text(), secret, "{more:?}");
        assert!(!service.log().contains(&secret));
    }
    let service = other.service(engine, &secret, ("TRUSTED_REGISTRIES", "elsewhere.example"));
    assert_eq!(service.refuse(&in_it).http(), 403);
    assert_eq!(service.run(&json!({ "script": PRINTS })).text(), secret);
}

/// The same settings hold for one script from the command line.
fn a_script_by_hand_gets_them_where_they_are_named(engine: Engine) {
    let secret = secret(engine, "c");
    for (named, arguments, printed) in [
        (true, &["-"][..], &*secret),
        (true, &["--no-forward-env", "-"], "none"),
        (true, &["-e", "FWD_TOKEN=mine", "-"], "mine"),
        (false, &["-"], "none"),
    ] {
        let mut command = oncebox("run", engine);
        command.args(arguments).env("FWD_TOKEN", &secret);
        if named {
            command.env("FORWARD_ENV_KEYS", "FWD_TOKEN");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(PRINTS.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{output:?}");
    }
}

on_both_engines! {
    together: scripts_get_them_and_nothing_else_does, only_trusted_images_get_them,
        a_script_by_hand_gets_them_where_they_are_named
}
