//! Output without end.

use std::path::Path;

use serde_json::{Value, json};

use crate::rows::ended;
use crate::stage::Stage;
use crate::support::{Answer, Engine, host};

/// The operator's `OUTPUT_LIMIT`, of each stream.
const CAP: usize = 65_536;
/// By how much the service may grow while it counts a flood, in KiB.
const GROWTH: u64 = 2 * 1024;
/// What the service logs of one execution, in bytes.
const LINES: usize = 4096;

#[track_caller]
fn assert_cut(answer: &Answer, stream: &str) {
    let shown = answer.0[stream].as_str().expect("text").len();
    assert_eq!((shown, &answer.0[format!("{stream}_truncated")]), (CAP, &Value::Bool(true)));
    assert_eq!(answer.limits_hit(), ["output"], "{}", answer.0["limits_hit"]);
}

/// Plays a flood, and looks at what the service and the daemon take of it.
fn flooded(stage: &Stage, script: &str) -> Answer {
    stage.clean_after(|service| {
        let pid = service.pid();
        let (resident, logged) = (host::kib(pid, "VmRSS"), service.log().len());
        let daemons = logs_of_the_daemon(stage.engine);
        // The most that is ever resident counts anew from here.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("as root");
        let answer = service.run(&json!({ "script": script }));
        let most = host::kib(pid, "VmHWM");
        assert!(most <= resident + GROWTH, "{most} KiB resident, {resident} before");
        assert!(service.log().len() <= logged + LINES, "{}", service.last_words());
        assert_eq!(logs_of_the_daemon(stage.engine), daemons);
        answer
    })
}

/// Bytes of all that Docker's daemon has written down of what containers print.
fn logs_of_the_daemon(engine: Engine) -> u64 {
    if engine == Engine::Native {
        return 0;
    }
    let root = host::docker(&["info", "--format", "{{.DockerRootDir}}"]).remove(0);
    let containers = std::fs::read_dir(Path::new(&root).join("containers")).expect("as root");
    let files = containers.flatten().filter_map(|folder| std::fs::read_dir(folder.path()).ok());
    let logs =
        files.flatten().flatten().filter(|f| f.file_name().to_string_lossy().contains(".log"));
    logs.filter_map(|log| Some(log.metadata().ok()?.len())).sum()
}

fn r17_endless_output_is_cut_at_the_cap(engine: Engine) {
    let answer = flooded(&Stage::get(engine), "yes");
    assert_eq!(ended(&answer), "timeout");
    assert_cut(&answer, "stdout");
    assert_eq!(answer.stderr(), "");
}

fn r18_each_stream_has_a_cap_of_its_own(engine: Engine) {
    let stage = Stage::get(engine);
    let errors = flooded(&stage, "echo kept; yes >&2");
    assert_eq!((ended(&errors), errors.text()), ("timeout", "kept\n".into()));
    assert_cut(&errors, "stderr");
    let both = flooded(&stage, "yes out & yes err >&2");
    assert_eq!(ended(&both), "timeout");
    assert_cut(&both, "stdout");
    assert_cut(&both, "stderr");
}

fn r21_a_cap_is_exact(engine: Engine) {
    let stage = Stage::get(engine);
    for bytes in [CAP - 1, CAP, CAP + 1] {
        let fill = format!("head -c {bytes} /dev/zero | tr '\\0' x");
        let answer = stage.attack(&json!({"script": format!("{fill}; {fill} >&2")}));
        for stream in ["stdout", "stderr"] {
            let shown = answer.0[stream].as_str().expect("text").len();
            assert_eq!(shown, bytes.min(CAP), "{stream}");
            assert_eq!(answer.0[format!("{stream}_bytes")], bytes, "{stream}");
            assert_eq!(answer.0[format!("{stream}_truncated")], bytes > CAP, "{stream}");
        }
        assert_eq!(answer.limits_hit().contains(&"output"), bytes > CAP);
    }
}

on_both_engines! {
    together: r17_endless_output_is_cut_at_the_cap, r18_each_stream_has_a_cap_of_its_own,
        r21_a_cap_is_exact
}
