//! Memory without end.

use serde_json::json;

use super::group::Group;
use crate::rows::{ended, most_memory, oom_killed};
use crate::scripts;
use crate::stage::{Stage, TIMEOUT};
use crate::support::Engine;
use crate::support::length::rounds;

/// M of the rows.
const MEMORY: u64 = 64 << 20;
/// By how much the kernel may be late.
const MORE: u64 = MEMORY / 20;

fn r07_a_memory_bomb_is_killed(engine: Engine) {
    let mark = format!("r07-{}-{engine}", std::process::id());
    let script = "
import time
# Until it has been found from outside.
time.sleep(0.6)
x = []
while True: x.append(b'x' * (1 << 20))
";
    let request = json!({"script": script, "language": "python", "args": [mark]});
    let stage = Stage::get(engine);
    let (answer, peak) = stage.clean_after(|service| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| service.run(&request));
            let group = Group::of(&mark, "memory");
            let peak = group.last("memory.max_usage_in_bytes");
            (run.join().expect("an answer"), peak)
        })
    });
    assert_eq!((ended(&answer), oom_killed(&answer)), ("oom", true), "{}", answer.0);
    assert_eq!((answer.exit_code(), answer.signal()), (137, Some("SIGKILL")), "{}", answer.0);
    assert!(answer.execution_time().as_secs_f64() < TIMEOUT, "{}", answer.0);
    for peak in [peak, most_memory(&answer)] {
        assert!((MEMORY / 2..=MEMORY + MORE).contains(&peak), "{peak} bytes; {}", answer.0);
    }
}

/// The kernel's counters tell, whatever the main process does.
fn r08_a_memory_bomb_in_a_child_is_told(engine: Engine) {
    let requests =
        vec![json!({"script": scripts::MEMORY_BOMB_IN_A_CHILD, "timeout": 20}); rounds(10, 50)];
    let answers = Stage::get(engine).clean_after(|service| service.run_all(&requests));
    for (answer, _) in answers {
        assert_eq!((ended(&answer), oom_killed(&answer)), ("oom", true), "{}", answer.0);
        assert_eq!(answer.0["success"], false, "{}", answer.0);
    }
}

on_both_engines! {
    together: r07_a_memory_bomb_is_killed, r08_a_memory_bomb_in_a_child_is_told
}
