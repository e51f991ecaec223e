//! What Python's and Node's programs are made of: threads, processes, sockets on loopback with and
//! without TLS, shared memory, files, databases, time zones. Each program checks itself, within the
//! limits that a request gets which names none.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::registry::Authority;
use crate::support::{Engine, Service};
use crate::{each, files, read};

fn python_is_whole(engine: Engine) {
    run_all(engine, "python", "py", |text| (text, vec![]));
}

/// Modules, which a script's own file is none: it imports them.
fn node_is_whole(engine: Engine) {
    run_all(engine, "node", "mjs", |text| {
        let module = json!({"path": "program.mjs", "content": text});
        ("import('./program.mjs')".to_owned(), vec![module])
    });
}

/// `script_of`: makes a script and more files of a program's text.
fn run_all(
    engine: Engine,
    language: &str,
    ending: &str,
    script_of: impl Fn(String) -> (String, Vec<Value>) + Sync,
) {
    let service = Service::start(engine, &[]);
    let authority = Authority::new();
    let certificate = ["ca.pem", "server.pem", "server.key"]
        .map(|name| json!({"path": name, "content": read(&authority.path(name))}));
    let wrong = each(&files("runtimes", ending), |file| {
        let (script, mut files) = script_of(read(file));
        files.extend(certificate.clone());
        // They take seconds; a busy machine has all the time it needs.
        let request =
            json!({"script": script, "files": files, "language": language, "timeout": 110});
        run(&service, file, &request)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(service: &Service, file: &Path, request: &Value) -> Result<(), String> {
    let answer = service.run(request);
    let passed = answer.0["success"] == true && answer.text().ends_with("all right\n");
    passed.then_some(()).ok_or_else(|| format!("{}: {}", file.display(), answer.0))
}

on_both_engines! { together: python_is_whole, node_is_whole }
