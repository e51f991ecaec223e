//! Limits, as seen from inside a container, by default and as the request asks for.

use std::time::Duration;

use serde_json::json;

use crate::support::{Engine, Service, Shared};

behaviours! {
    [and: a_deadline_keeps_what_was_printed, a_fraction_of_a_second_is_a_deadline,
        memory_is_what_was_asked_for, tmp_counts_as_memory, processes_are_what_was_asked_for, cpu_is_what_was_asked_for,
        the_operator_s_defaults_hold]

    tmp_has_the_size_asked_for:
        {"script": "df -k /tmp | tail -n 1 | awk '{print $2}'", "tmp_size": "8m"} => {"stdout": "8192\n"};
    tmp_size_in_binary_units:
        {"script": "df -k /tmp | tail -n 1 | awk '{print $2}'", "tmp_size": "8Mi"} => {"stdout": "8192\n"};
    tmp_size_in_bytes:
        {"script": "df -k /tmp | tail -n 1 | awk '{print $2}'", "tmp_size": 8_388_608} => {"stdout": "8192\n"};
    tmp_has_the_default_size:
        {"script": "df -k /tmp | tail -n 1 | awk '{print $2}'"} => {"stdout": "65536\n"};
    descriptors_are_limited:
        {"script": "ulimit -Hn; ulimit -Sn"} => {"stdout": "1024\n1024\n"};
    files_have_a_largest_size:
        {"script": "ulimit -Hf"} => {"stdout": "2097152\n"};
}

fn a_deadline_keeps_what_was_printed(engine: Engine) {
    let request =
        json!({"script": "echo before; echo why >&2; sleep 30; echo after", "timeout": 0.5});
    let answer = Shared::get(engine).run(&request);
    assert_eq!(answer.status(), "timed_out", "{}", answer.0);
    assert_eq!((answer.exit_code(), answer.signal()), (137, Some("SIGKILL")), "{}", answer.0);
    assert_eq!((answer.text(), answer.stderr()), ("before\n".into(), "why\n".into()));
    assert_eq!(answer.limits_hit(), [""; 0], "{}", answer.0);
    assert!(answer.0["error"].is_string(), "{}", answer.0);
}

fn a_fraction_of_a_second_is_a_deadline(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({"script": "sleep 30", "timeout": 0.05}));
    assert_eq!(answer.status(), "timed_out", "{}", answer.0);
    assert!(answer.execution_time() >= Duration::from_millis(50), "{}", answer.0);
    assert!(answer.execution_time() < Duration::from_secs(2), "{}", answer.0);
}

/// Half of the limit can be had, twice of it can't.
fn memory_is_what_was_asked_for(engine: Engine) {
    let take = |mebibytes: u32| {
        Shared::get(engine).run(&json!({
            "script": format!("x = b'x' * ({mebibytes} << 20); print(len(x) >> 20)"),
            "language": "python",
            "memory_limit": "64m",
        }))
    };
    let answer = take(32);
    assert_eq!(answer.text(), "32\n", "{}", answer.0);
    let peak = answer.0["usage"]["max_memory_bytes"].as_u64().expect("a peak");
    assert!((32 << 20..=64 << 20).contains(&peak), "{}", answer.0);
    let answer = take(128);
    assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
    assert_eq!(answer.limits_hit(), ["memory"], "{}", answer.0);
    assert_eq!((answer.exit_code(), answer.signal()), (137, Some("SIGKILL")), "{}", answer.0);
    assert!(answer.0["error"].is_string(), "{}", answer.0);
}

/// What lies in `/tmp` is taken from the same memory.
fn tmp_counts_as_memory(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({
        "script": "head -c 100000000 /dev/zero > /tmp/fill; echo survived",
        "memory_limit": "32m",
        "tmp_size": "200m",
    }));
    assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
    assert_eq!(answer.limits_hit(), ["memory"], "{}", answer.0);
}

/// A fork beyond the limit fails inside and is said outside.
fn processes_are_what_was_asked_for(engine: Engine) {
    let script = "import os, time
made = 0
try:
    while made < 100:
        if os.fork() == 0:
            time.sleep(30)
        made += 1
except OSError as e:
    print(made, e.errno)";
    let answer =
        Shared::get(engine).run(&json!({"script": script, "language": "python", "pids_limit": 16}));
    let text = answer.text();
    let (made, errno) = text.trim().split_once(' ').expect("the fork that failed");
    let made: u32 = made.parse().expect("a count");
    // The guest and the script itself take their part.
    assert!((12..16).contains(&made), "{made} processes could be made");
    assert_eq!(errno, "11", "EAGAIN");
    assert_eq!(answer.limits_hit(), ["pids"], "{}", answer.0);
    assert!(answer.0["usage"]["max_pids"].as_u64() <= Some(16), "{}", answer.0);
}

/// A spinning script gets its share of time and no more.
fn cpu_is_what_was_asked_for(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({
        "script": "while :; do :; done",
        "cpu_limit": 0.2,
        "timeout": 2,
    }));
    let used = answer.0["usage"]["cpu_time"].as_f64().expect("CPU time");
    let share = used / answer.execution_time().as_secs_f64();
    assert!(share <= 0.2 * 1.2, "used {share:.3} of a core, allowed 0.2: {}", answer.0);
    assert!(share >= 0.05, "CPU time is not counted: {}", answer.0);
}

/// The operator's settings hold where the request says nothing, and are its ceiling where it does.
fn the_operator_s_defaults_hold(engine: Engine) {
    let service = Service::start(
        engine,
        &[
            ("TIMEOUT", "0.4"),
            ("MAX_TIMEOUT", "5"),
            ("TMP_SIZE", "4m"),
            ("MAX_TMP_SIZE", "6m"),
            ("OUTPUT_LIMIT", "10"),
            ("MAX_OUTPUT_LIMIT", "20"),
            ("MEMORY_LIMIT", "48m"),
            ("MAX_MEMORY_LIMIT", "64m"),
            ("PIDS_LIMIT", "8"),
            ("MAX_PIDS_LIMIT", "12"),
            ("CPU_LIMIT", "0.3"),
            ("MAX_CPU_LIMIT", "0.6"),
        ],
    );
    assert_eq!(service.run(&json!({"script": "sleep 30"})).status(), "timed_out");
    let df = "df -k /tmp | tail -n 1 | awk '{print $2}'";
    assert_eq!(service.run(&json!({"script": df})).text(), "4096\n");
    assert_eq!(service.run(&json!({"script": "printf 123456789012"})).text(), "1234567890");
    let hungry = service.run(&json!({
        "script": "x = b'x' * (64 << 20)",
        "language": "python",
        "timeout": 5,
    }));
    assert_eq!(hungry.status(), "out_of_memory", "{}", hungry.0);
    for (field, asked, ceiling) in [
        ("timeout", json!(5.5), "ceiling of 5 s"),
        ("tmp_size", json!("7m"), "ceiling of 6 MiB"),
        ("output_limit", json!(21), "ceiling of 20"),
        ("memory_limit", json!("65m"), "ceiling of 64 MiB"),
        ("pids_limit", json!(13), "ceiling of 12"),
        ("cpu_limit", json!(0.7), "ceiling of 0.6"),
    ] {
        let problem = service.refuse(&json!({"script": "echo never", field: asked}));
        assert_eq!((problem.http(), problem.field()), (400, field), "{}", problem.0);
        assert!(problem.detail().contains(ceiling), "no {ceiling} in {}", problem.0);
    }
}
