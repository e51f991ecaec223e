//! What is open to whom.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{Door, KeyFile, header, problem};
use crate::support::service::oncebox;
use crate::support::{Engine, Service, turn};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
const CLOSED: [&str; 13] = [
    "/",
    "/execute",
    "/execute/",
    "/executions",
    "/executions/0198c0de-0000-7000-8000-000000000000",
    "/executions/0198c0de-0000-7000-8000-000000000000/events",
    "/languages",
    "/images",
    "/images/pull",
    "/images/host",
    "/metrics",
    "//health",
    "/nowhere",
];
const NOBODY: u32 = 65_534;

/// Without a key there is one answer to everything, and it costs no engine anything.
#[test]
fn w01_without_a_key_nothing_is_open_but_what_is_public() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let admin = file.key(&["admin", "--scopes", "admin"]);
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    let executions = |door: &Door| -> Vec<String> {
        let metrics = door.get("/metrics", &admin).text().expect("text");
        let counts = metrics.lines().filter(|line| line.starts_with("oncebox_executions_total"));
        counts.map(str::to_owned).collect()
    };
    let before = executions(&door);
    assert!(!before.is_empty());
    let mut told = None;
    for path in CLOSED {
        for method in METHODS {
            let request = door.request(method, path).json(&json!({"script": "echo in"}));
            let answer = request.send().expect("an answer");
            assert_eq!(answer.status().as_u16(), 401, "{method} {path}");
            assert_eq!(header(&answer, "www-authenticate"), "Bearer", "{method} {path}");
            if method != "HEAD" {
                let told = told.get_or_insert_with(|| {
                    problem(door.request("GET", "/").send().expect("an answer"))
                });
                assert_eq!(*told, problem(answer), "{method} {path}");
            }
        }
    }
    for path in ["/health", "/ready"] {
        let answer = door.request("GET", path).send().expect("an answer");
        assert!([200, 503].contains(&answer.status().as_u16()), "{path}");
    }
    for path in ["/openapi.json", "/docs", "/docs/"] {
        let answer = door.request("GET", path).send().expect("an answer");
        assert_ne!(answer.status().as_u16(), 401, "{path}");
    }
    assert_eq!(executions(&door), before);
}

/// The head of a request is enough to refuse it.
#[test]
fn w01_a_body_is_not_waited_for() {
    let _turn = turn::together();
    let file = KeyFile::new();
    file.key(&["ci"]);
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    let mut stream = TcpStream::connect(door.service.address()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let head = "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 1000000000\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 401");
}

/// Whatever is wrong with a key, the answer is the same; none of it is in the log.
#[test]
fn w02_a_key_is_right_or_it_is_not() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci"]);
    let other = file.key(&["other"]);
    file.write(
        &file.text().replace(&file.text()[file.text().rfind("[[keys]]").expect("two")..], ""),
    );
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    assert!(door.runs(&key));
    let with = |value: &str| door.request("POST", "/execute").header("authorization", value);
    let plain = || door.request("POST", "/execute");
    let none = problem(plain().send().expect("an answer"));
    for (what, request) in [
        ("empty", with("")),
        ("no token", with("Bearer ")),
        ("no scheme", with(&key)),
        ("another scheme", with(&format!("Basic {key}"))),
        ("a prefix", with(&format!("Bearer {}", &key[..40]))),
        ("a suffix", with(&format!("Bearer {key}x"))),
        ("another key", with(&format!("Bearer {other}"))),
        ("another case", with(&format!("Bearer {}", key.to_uppercase()))),
        ("twice in one header", with(&format!("Bearer {key}, Bearer {key}"))),
        ("in the query", door.request("POST", &format!("/execute?key={key}&access_token={key}"))),
        ("in a cookie", plain().header("cookie", format!("access_token={key}"))),
        ("in another header", plain().header("x-api-key", &key)),
        ("the hash itself", with(&format!("Bearer {}", hash_in(&file.text())))),
    ] {
        let request = request.json(&json!({"script": "echo in"}));
        assert_eq!(problem(request.send().expect("an answer")), none, "{what}");
    }
    let twice = with(&format!("Bearer {key}")).header("authorization", format!("Bearer {other}"));
    let (status, told) = problem(twice.send().expect("an answer"));
    assert!(status == 400 && told.contains("conflicting_credentials"), "{status} {told}");
    let log = door.service.log();
    assert!(!log.contains(&key[4..]) && !log.contains(&other[4..]), "{log}");
}

fn hash_in(text: &str) -> &str {
    let from = text.find("sha256:").expect("a hash");
    &text[from..from + "sha256:".len() + 64]
}

/// What the program says when it does not start: its one line.
fn refusal(settings: &[(&str, &str)]) -> String {
    let mut command = oncebox("serve", Engine::Native);
    command.envs(settings.iter().copied()).env("PORT", "0").env("POOL_SIZE", "0");
    let output = command.stdin(Stdio::null()).current_dir("/").output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success(), "it starts: {said}");
    assert!(said.starts_with("oncebox: ") && said.lines().count() == 1, "{said}");
    said
}

/// A service that would let in more than its operator thinks does not start, and says why in a line.
#[test]
fn w04_what_protects_nothing_is_refused_at_the_start() {
    let _turn = turn::together();
    let told = refusal(&[("HOST", "0.0.0.0")]);
    assert!(told.contains("API_KEYS_FILE") && told.contains("ALLOW_ANONYMOUS"), "{told}");

    let file = KeyFile::new();
    let key = file.key(&["ci"]);
    let (setting, good) = (file.setting(), file.text());
    let hash = hash_in(&good).to_owned();
    let with = |text: &str| {
        file.write(text);
        let told = refusal(&[("API_KEYS_FILE", &setting)]);
        assert!(told.contains(&setting), "{told}");
        told
    };
    let example = "sha256:bbca3c3192ea5a6971a79f22e29ac9e688bfca8a3cf045f818022c50bfb1b5fd";
    assert!(with(&good.replace(&hash, example)).contains("example"));
    let short = with(&good.replace(&hash, "s3cret7"));
    assert!(short.contains("(\"ci\"): hash") && !short.contains("s3cret7"), "{short}");
    let plain = with(&good.replace(&hash, &key));
    assert!(plain.contains("only its hash") && !plain.contains(&key[4..]), "{plain}");
    assert!(with("").contains("there is no key"));
    assert!(with(&format!("{good}{good}")).contains("has the same"));
    assert!(with(&good.replace("execute", "everything")).contains("\"everything\""));

    file.write(&good);
    for mode in [0o644, 0o602] {
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("its owner");
        assert!(refusal(&[("API_KEYS_FILE", &setting)]).contains("chmod"));
    }
    fs::set_permissions(file.path(), Permissions::from_mode(0o600)).expect("its owner");
    let both = refusal(&[("API_KEYS_FILE", &setting), ("ALLOW_ANONYMOUS", "true")]);
    assert!(both.contains("set one of the two"), "{both}");
    fs::remove_file(file.path()).expect("removed");
    assert!(refusal(&[("API_KEYS_FILE", &setting)]).contains("can't be read"));
}

/// The keys are read by whoever speaks HTTP, who must be able to read them again.
#[test]
fn keys_are_read_by_the_user_that_serves() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci"]);
    fs::set_permissions(file.folder.path(), Permissions::from_mode(0o755)).expect("its owner");
    let setting = file.setting();
    let settings = [("API_KEYS_FILE", setting.as_str()), ("USER_NAME", "65534")];
    assert!(refusal(&settings).contains("Permission denied"));
    chown(file.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    assert!(Door::open(&settings).runs(&key));
    // Its owner and its readers stay who they are.
    file.key(&["more"]);
    assert!(Door::open(&settings).runs(&key));
}

/// With keys, or on the operator's own word, it listens beyond loopback.
#[test]
fn beyond_loopback_it_listens_with_keys() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let key = file.key(&["ci"]);
    let door = Door::open(&[("HOST", "0.0.0.0"), ("API_KEYS_FILE", &file.setting())]);
    assert!(door.runs(&key) && !door.runs("wrong"));
    drop(door);
    let service =
        Service::start(Engine::Native, &[("HOST", "0.0.0.0"), ("ALLOW_ANONYMOUS", "true")]);
    assert_eq!(service.run(&json!({"script": "echo in"})).text(), "in\n");
}

/// A scope opens its own addresses, and none implies another.
#[test]
fn w29_a_scope_opens_its_own_addresses() {
    let _turn = turn::together();
    let file = KeyFile::new();
    let scopes = ["execute", "images", "admin"];
    let keys = scopes.map(|scope| file.key(&[scope, "--scopes", scope]));
    let door = Door::open(&[("API_KEYS_FILE", &file.setting())]);
    for (method, path, needs) in [
        ("POST", "/execute", "execute"),
        ("GET", "/execute", "execute"),
        ("POST", "/executions", "execute"),
        ("GET", "/executions", "execute"),
        ("GET", "/executions/x", "execute"),
        ("DELETE", "/executions/x", "execute"),
        ("GET", "/executions/x/events", "execute"),
        ("GET", "/languages", "execute"),
        ("GET", "/images", "images"),
        ("POST", "/images/pull", "images"),
        ("DELETE", "/images/nowhere.example/x", "images"),
        ("GET", "/metrics", "admin"),
    ] {
        for (scope, key) in scopes.iter().zip(&keys) {
            let request = door.request(method, path).bearer_auth(key).json(&json!({}));
            let answer = request.send().expect("an answer");
            let refused = answer.status().as_u16() == 403;
            assert_eq!(refused, *scope != needs, "{method} {path} with {scope}");
            if refused {
                assert!(problem(answer).1.contains("scope_missing"));
            }
        }
    }
}
