//! What a script could learn of the service, of the machine and of other executions: rows I.

mod covert;
mod earlier;
mod kernel;
mod network;
mod own;
mod processes;
mod service;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Service, host};

/// Lets another script run in another slot meanwhile, with this environment; `then` gets its pid as
/// the machine sees it.
fn beside<T>(service: &Service, env: &Value, then: impl FnOnce(u32) -> T) -> T {
    let mark = host::mark("41");
    let request = json!({"script": format!("exec sleep {mark}"), "env": env, "timeout": 20});
    let poster = service.poster();
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(move || poster(&request).expect("an answer").ran());
        let pid = host::await_argument(&mark);
        let outcome = then(pid);
        host::signal(pid, Signal::KILL);
        assert_eq!(neighbour.join().expect("no panic").signal(), Some("SIGKILL"));
        outcome
    })
}
