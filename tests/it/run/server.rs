//! The same at a service, over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;

use super::*;

const KEY: &str = "obx_open-sesame";

fn at(service: &Service, args: &[&str]) -> Command {
    let server = format!("http://{}", service.address());
    let mut command = command(Engine::Native, &["--server", &server]);
    // Nothing of this machine's own engine is needed.
    command.args(args).env("ENGINE", "docker").env("DOCKER_HOST", "unix:///nowhere");
    command
}

/// A service that runs nothing: it gives these answers, one after the other, and tells what it was
/// asked.
fn played(answers: Vec<String>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (asked, heard) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut client, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(client.try_clone().expect("a second handle"));
            let mut head = String::new();
            let mut length = 0;
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {
                let line = head.lines().last().unwrap_or_default().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let _ = asked.send(head);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    (address, heard)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn problem(status: &str, headers: &str, code: &str, detail: &str) -> String {
    let number = &status[..3];
    let body = format!(r#"{{"status":{number},"code":"{code}","detail":"{detail}"}}"#);
    answer(status, &format!("Content-Type: application/problem+json\r\n{headers}"), &body)
}

/// A run that printed `hi` and exited with 7.
fn ran() -> String {
    let result = r#"{"status":"completed","exit_code":7,"error":null,"stdout_bytes":2,"stderr_bytes":0,"stdout_truncated":false,"stderr_truncated":false,"limits_hit":[],"files":[{"path":"asked","content":"x"},{"path":".bashrc","content":"x"}]}"#;
    let events = format!(
        ":\n\nevent: started\nid: 0\ndata: {{\"id\":\"x\"}}\n\nevent: stdout\nid: 2\n\
         data: {{\"offset\":0,\"content\":\"hi\"}}\n\nevent: result\nid: end\ndata: {result}\n\n"
    );
    answer("200 OK", "Content-Type: text/event-stream\r\n", &events)
}

fn run_at(address: SocketAddr, args: &[&str]) -> Ran {
    let server = format!("http://{address}");
    let mut command = command(Engine::Native, &["--server", &server]);
    command.args(args).arg("-").env("ONCEBOX_API_KEY", KEY);
    finish(command, b"echo")
}

#[test]
fn a_service_runs_it_as_this_machine_would() {
    let _turn = crate::support::turn::together();
    let service = Service::start(Engine::Native, &[]);
    let folder = folder(&[
        (
            "x.py",
            "import os, sys; data = sys.stdin.buffer.read(); print(len(data), sys.argv[1:], os.environ['A'], open('in').read())\nopen('out', 'wb').write(data)\nprint('err', file=sys.stderr); sys.exit(9)",
        ),
        ("in", "file"),
    ]);
    for stdin in [&b"text"[..], b"\xff\0\n"] {
        let mut command =
            at(&service, &["x.py", "-eA=a", "--file", "in", "--output", "out", "--", "b c"]);
        command.current_dir(&folder);
        let ran = finish(command, stdin);
        let told = format!("{} ['b c'] a file\n", stdin.len());
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (9, &*told, "err\n"), "{ran:?}");
        assert_eq!(std::fs::read(folder.path().join("out")).expect("a file"), stdin);
    }
    for (script, code) in [("exit 255", 255), ("kill -9 $$", 137), ("exit 0", 0)] {
        assert_eq!(finish(at(&service, &["-"]), script.as_bytes()).code, code, "{script}");
    }
    let ran = finish(at(&service, &["--timeout=0.2", "-"]), b"printf before; sleep 1000");
    assert_eq!((ran.code, &*ran.stdout), (124, "before"), "{ran:?}");
    let ran = finish(at(&service, &["--json", "-"]), b"printf '\\377'");
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((ran.code, &answer["stdout_base64"]), (0, &"/w==".into()), "{ran:?}");
    // The service's own ceilings hold.
    let ran = finish(at(&service, &["--timeout=1000", "-"]), b"echo");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("timeout: 1000 s is more than the ceiling of 300 s"), "{ran:?}");
    let ran =
        finish(at(&service, &["--image=nobody.example/x", "--pull-policy=never", "-"]), b"echo");
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("the service answers 404: image nobody.example/x"), "{ran:?}");
}

#[test]
fn output_of_a_service_comes_as_it_is_written_and_a_signal_ends_it() {
    let _turn = crate::support::turn::together();
    let service = Service::start(Engine::Native, &[]);
    let first = host::mark("64");
    let script = format!("echo first; sleep {first}; printf last");
    let mut going = Going::start(at(&service, &["-"]), &script);
    assert_eq!(going.line(), "first\n");
    host::signal(host::await_argument(&first), Signal::KILL);
    let ran = going.end();
    assert_eq!((ran.code, &*ran.stdout), (0, "last"), "{ran:?}");

    let second = host::mark("65");
    let endless = format!("echo on; sleep {second}");
    let mut going = Going::start(at(&service, &["--timeout=60", "-"]), &endless);
    assert_eq!(going.line(), "on\n");
    host::await_argument(&second);
    going.signal(Signal::INT);
    let ran = going.end();
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (130, "", ""), "{ran:?}");
    until("the end of the script at the service", SOON, || {
        host::with_argument(&second).is_empty().then_some(())
    });

    let mut going = Going::start(at(&service, &["--timeout=60", "-"]), "while :; do echo y; done");
    assert_eq!(going.line(), "y\n");
    let Going { mut child, stdout, residue, .. } = going;
    drop(stdout);
    assert_eq!(child.wait().expect("it ends").code(), Some(141));
    residue.gone();
}

/// A key goes to the service that was named, in a header and nowhere else.
#[test]
fn a_key_goes_to_its_service_alone() {
    let _turn = crate::support::turn::together();
    let (elsewhere, heard_elsewhere) = played(vec![ran()]);
    let location = format!("Location: http://{elsewhere}/execute\r\n");
    let (address, heard) = played(vec![answer("307 Temporary Redirect", &location, "")]);
    let ran = run_at(address, &[]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("the service answers 307"), "{ran:?}");
    let head = heard.recv().expect("a request").to_lowercase();
    assert!(head.starts_with("post /execute http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {KEY}\r\n")), "{head}");
    assert!(heard_elsewhere.try_recv().is_err(), "the key went elsewhere");
}

/// A service with keys runs scripts of whoever has one, from the environment or from a file.
#[test]
fn a_service_with_keys_runs_it_with_one() {
    let _turn = crate::support::turn::together();
    let folder = folder(&[("other", "obx_no")]);
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let mut made = oncebox("key", Engine::Native);
    let made = made.args(["new", "ci"]).env("API_KEYS_FILE", path("keys.toml")).output();
    let key = String::from_utf8(made.expect("it runs").stdout).expect("text");
    std::fs::write(path("key"), &key).expect("a file");
    let service = Service::start(Engine::Native, &[("API_KEYS_FILE", &path("keys.toml"))]);
    let mut with_variable = at(&service, &["-"]);
    with_variable.env("ONCEBOX_API_KEY", key.trim());
    for command in [with_variable, at(&service, &["--api-key-file", &path("key"), "-"])] {
        let ran = finish(command, b"echo ran");
        assert_eq!((ran.code, &*ran.stdout), (0, "ran\n"), "{ran:?}");
    }
    for command in [at(&service, &["-"]), at(&service, &["--api-key-file", &path("other"), "-"])] {
        let ran = finish(command, b"echo ran");
        assert_eq!((ran.code, &*ran.stdout), (125, ""), "{ran:?}");
        assert!(ran.stderr.contains("the service answers 401"), "{ran:?}");
    }
}

/// One that is busy is asked again when it says so, and not for ever.
#[test]
fn a_busy_service_is_asked_again() {
    let _turn = crate::support::turn::together();
    let busy = |wait| {
        let header = format!("Retry-After: {wait}\r\n");
        problem("429 Too Many Requests", &header, "queue_full", "too many requests wait")
    };
    let (address, heard) = played(vec![busy(0), busy(1), ran()]);
    let folder = folder(&[]);
    let back = folder.path().to_str().expect("text");
    let ran = run_at(address, &["--output", "asked", "--output-dir", back]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (7, "hi", ""), "{ran:?}");
    assert_eq!(heard.try_iter().count(), 3);
    // What was not asked for is not taken.
    assert!(Path::new(back).join("asked").exists());
    assert!(!Path::new(back).join(".bashrc").exists());

    let (address, heard) = played(vec![busy(3600)]);
    let ran = run_at(address, &[]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("429: too many requests wait"), "{ran:?}");
    assert_eq!(heard.try_iter().count(), 1);
}

/// Whoever is no service, or stops being one, is said to be so.
#[test]
fn what_is_no_answer_is_a_failure() {
    let _turn = crate::support::turn::together();
    let whole = ran();
    let cut = whole.split("event: result").next().expect("a part");
    let cut = cut.replace("Content-Length", "X-Length");
    let error = "event: error\nid: end\ndata: {\"status\":502,\"code\":\"container_lost\",\"detail\":\"it was lost\"}\n\n";
    for (answered, told) in [
        (answer("200 OK", "Content-Type: text/html\r\n", "<p>hello"), "no service of this kind"),
        (answer("502 Bad Gateway", "", "<p>hello"), "the service answers 502"),
        (cut, "the service broke off"),
        (answer("200 OK", "Content-Type: text/event-stream\r\n", error), "502: it was lost"),
        (String::new(), "the connection to the service is lost"),
    ] {
        let (address, _heard) = played(vec![answered]);
        let ran = run_at(address, &[]);
        assert_eq!(ran.code, 125, "{told}: {ran:?}");
        assert!(ran.stderr.contains(told), "nothing of {told}: {ran:?}");
    }
    let ran = run_at(crate::support::service::free_address(), &[]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("the service can't be reached: Connection refused"), "{ran:?}");
}
