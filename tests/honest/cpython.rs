//! CPython's own test modules, each in an execution of its own. `cpython.txt` lists all there are,
//! and says of whatever is left out why.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::support::service::client;
use crate::support::{Answer, Engine, Service, length};
use crate::{each, image, place, read};

/// The longest that a module may take, in seconds.
const TIMEOUT: u64 = 1200;

/// One line of the list.
#[derive(Debug, Default)]
struct Module {
    name: String,
    /// Part of the default run.
    chosen: bool,
    /// Patterns of the tests that it takes of it; without any, all.
    part: Vec<String>,
    /// Limits that it needs raised.
    limits: Map<String, Value>,
    /// Patterns of single tests that are left out.
    without: Vec<String>,
    /// All of it is left out.
    excluded: bool,
}

/// A line as the list's head describes it.
fn parse(engine: Engine, line: &str) -> Module {
    let (words, reason) = line.split_once(" : ").unwrap_or((line, ""));
    let mut words = words.split_whitespace().filter_map(|word| match word.split_once(':') {
        Some((on, word)) => (on == engine.to_string()).then_some(word),
        None => Some(word),
    });
    let name = words.next().expect("a line has a name").to_owned();
    let mut module = Module { name, ..Module::default() };
    for word in words {
        let (limit, minus, plus) =
            (word.split_once('='), word.strip_prefix('-'), word.strip_prefix('+'));
        match (word, limit, minus, plus) {
            ("*", ..) => module.chosen = true,
            ("-", ..) => module.excluded = true,
            (_, Some((limit, value)), ..) => {
                drop(module.limits.insert(limit.into(), limit_of(value)))
            }
            (_, _, Some(pattern), _) => module.without.push(pattern.to_owned()),
            (_, _, _, Some(pattern)) => {
                module.chosen = true;
                module.part.push(pattern.to_owned());
            }
            _ => panic!("{word} in {line}"),
        }
    }
    let changed = !module.limits.is_empty() || !module.without.is_empty() || module.excluded;
    assert!(!changed || !reason.trim().is_empty(), "a reason goes with a change: {line}");
    module
}

/// A count is a number in a request; anything else is text.
fn limit_of(value: &str) -> Value {
    value.parse::<u32>().map_or_else(|_| value.into(), Into::into)
}

fn list(engine: Engine) -> Vec<Module> {
    let text = read(&place("cpython.txt"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse(engine, line)).collect()
}

fn request(engine: Engine, command: &str) -> Value {
    let script = format!("exec /usr/bin/python3 -m test {command} 2>&1");
    // A processor of its own: many of these tests measure time.
    json!({"script": script, "image": image(engine), "pull_policy": "never", "cpu_limit": 1.0,
           "timeout": TIMEOUT})
}

/// Runs it with more patience than other tests have.
fn answer(service: &Service, request: &Value) -> Answer {
    let patient = client().timeout(Duration::from_secs(TIMEOUT + 60)).build().expect("a client");
    let url = format!("http://{}/execute", service.address());
    let reply = patient.post(url).json(request).send().expect("an answer");
    assert_eq!(reply.status(), 200, "{request}");
    Answer::read(reply.json().expect("an answer is JSON"))
}

fn run(service: &Service, engine: Engine, full: bool, module: &Module) -> Result<(), String> {
    let part = if full { &[][..] } else { &module.part };
    let part = part.iter().map(|pattern| format!(" -m '{pattern}'"));
    let without = module.without.iter().map(|pattern| format!(" -i '{pattern}'"));
    let command = format!("-W{} {}", part.chain(without).collect::<String>(), module.name);
    let mut request = request(engine, &command);
    request.as_object_mut().expect("an object").extend(module.limits.clone());
    let answer = answer(service, &request);
    let text = String::from_utf8_lossy(&answer.stdout()).into_owned();
    // One that skips itself as a whole ends well, too; one that leaves files behind has passed.
    let passed = ["\n1 test OK.\n", "\n1 test altered the execution environment:\n"];
    if answer.0["success"] == true && passed.iter().any(|words| text.contains(words)) {
        return Ok(());
    }
    let head = format!(
        "{}: {} {} {:?}",
        module.name,
        answer.status(),
        answer.exit_code(),
        answer.limits_hit()
    );
    let telling = |line: &&str| {
        line.contains("Error") || ["FAIL", "ERROR"].iter().any(|w| line.starts_with(w))
    };
    let mut lines: Vec<&str> = text.lines().filter(telling).collect();
    lines.truncate(20);
    lines.extend(text.lines().rev().take(3));
    Err(format!("{head}\n  {}", lines.join("\n  ")))
}

fn cpythons_own_tests_pass(engine: Engine) {
    let full = length::full();
    let settings = [("MAX_CONCURRENT", "4"), ("MAX_TIMEOUT", &*TIMEOUT.to_string())];
    let service = Service::start(engine, &settings);
    let list = list(engine);
    let listed = service.run(&request(engine, "--list-tests")).text();
    let mut names: Vec<&str> = list.iter().map(|module| module.name.as_str()).collect();
    names.sort_unstable();
    let mut there: Vec<&str> = listed.lines().collect();
    there.sort_unstable();
    assert_eq!(names, there, "the list names all modules, each once");

    let (excluded, mut tried): (Vec<_>, Vec<_>) = list.into_iter().partition(|m| m.excluded);
    tried.retain(|module| full || module.chosen);
    let wrong = each(&tried, |module| run(&service, engine, full, module));
    let parts = tried.iter().filter(|module| !module.without.is_empty()).count();
    // Past the test runner's capture, for the record.
    writeln!(
        std::io::stderr(),
        "CPython's modules on {engine}: {} passed ({parts} of them without single tests), {} failed; {} excluded",
        tried.len() - wrong.len(),
        wrong.len(),
        excluded.len(),
    )
    .expect("stderr");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

on_both_engines! { together: cpythons_own_tests_pass }
