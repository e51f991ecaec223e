//! The same names in many executions at once (F12).

use serde_json::json;

use crate::stage::Stage;
use crate::support::Engine;

fn f12_contents_never_mix(engine: Engine) {
    const RUNS: usize = 100;
    let settings = [("QUEUE_LIMIT", "128"), ("QUEUE_TIMEOUT", "120")];
    let stage = Stage::with(engine, &settings);
    let script =
        "cat data/in.txt; cp data/in.txt data/out.txt; echo $RUN >>data/out.txt; cat data/out.txt";
    // A hundred connections are more than one attack's growth; what is clean shows at the end.
    let service = stage.service();
    let returned = |path: &str, content: &str| json!({"path": path, "size": content.len(), "content": content, "executable": false});
    std::thread::scope(|scope| {
        for run in 0..RUNS {
            let poster = service.poster();
            scope.spawn(move || {
                let content = format!("{run} ").repeat(1000);
                let answer = poster(&json!({
                    "script": script, "env": {"RUN": run.to_string()}, "timeout": 30,
                    "files": [{"path": "data/in.txt", "content": content}],
                    "outputs": ["data/*.txt"],
                }));
                let answer = answer.expect("an answer").ran();
                let made = format!("{content}{run}\n");
                assert_eq!(answer.text(), format!("{content}{made}"), "run {run}");
                let files = [returned("data/in.txt", &content), returned("data/out.txt", &made)];
                assert_eq!(answer.0["files"], json!(files), "run {run}");
            });
        }
    });
}

on_both_engines! { together: f12_contents_never_mix }
