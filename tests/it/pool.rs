//! Containers made ahead: nothing but time may tell them from one made for the request.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::processes::{guests, spawner_of};
use crate::support::{Engine, Service, host, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn pooled(engine: Engine, settings: &[(&str, &str)]) -> Service {
    filled(Service::start(engine, settings))
}

/// The service, once its pool is full.
pub fn filled(service: Service) -> Service {
    fill(&service);
    service
}

/// Waits until `/ready` says that every floor is reached.
fn fill(service: &Service) {
    until("a full pool", PATIENCE, || {
        let reply = service.get("/ready").expect("an answer");
        let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
        (reply.http == 200 && body["pool"]["full"] == true).then_some(())
    });
}

fn count(service: &Service, sample: &str) -> f64 {
    Metrics::of(service).sample(sample)
}

const STARTED: &str = "oncebox_pool_hits_total{kind=\"started\"}";
const WAITING: &str = "oncebox_pool_hits_total{kind=\"waiting\"}";
const MISSES: &str = "oncebox_pool_misses_total";

/// Runs a request until one of its kind waits, and then in that one.
fn run_ahead(service: &Service, request: &Value) -> Value {
    until("an interpreter started ahead", PATIENCE, || {
        let before = count(service, STARTED);
        let answer = service.run(request).0;
        (count(service, STARTED) > before).then_some(answer)
    })
}

/// An answer without what is never the same twice.
fn lasting(mut answer: Value) -> Value {
    for field in ["id", "execution_time", "timings", "usage"] {
        assert!(answer.as_object_mut().expect("an object").remove(field).is_some());
    }
    answer
}

/// What a script can see of its world, in each language whose interpreter can wait.
fn scripts() -> Vec<Value> {
    let sh = "echo \"$0|$#|$PWD|$(umask)\"; cat \"$0\"; ls -lA | awk '{print $1, $5, $9}'; \
              env | sort; cat; id -u | grep -c .; ls /proc/self/fd | wc -l; echo e >&2; \
              echo kept >made; false || exit 7";
    let python = "import os, sys, inspect\n\
                  def f(): pass\n\
                  print(__file__, sys.argv, sys.path[0], os.getcwd(), sorted(os.listdir('.')))\n\
                  print(inspect.getsource(f), repr(sys.stdin.read()), sorted(os.environ.items()))\n\
                  print(len(os.listdir('/proc/self/fd')), os.getpid() == os.getsid(0))\n\
                  raise ValueError('a line that the traceback shows')\n";
    let node = "const fs = require('fs');\n\
                console.log(__filename, process.argv, process.cwd(), fs.readdirSync('.'));\n\
                console.log(fs.readFileSync(__filename, 'utf8').length, process.env);\n\
                console.log(fs.readFileSync(0, 'utf8').length);\n\
                throw new Error('a line that the trace shows');\n";
    let request = |language: &str, script: &str| {
        json!({"language": language, "script": script, "outputs": ["**"],
               "files": [{"path": "data/in.txt", "content": "1"}]})
    };
    vec![
        request("sh", sh),
        request("bash", sh),
        request("sh", "kill -SEGV $$"),
        request("bash", "syntax ) error"),
        request("python", python),
        request("python", "print(1\n"),
        request("node", node),
        request("node", "let x = ;"),
    ]
}

fn an_interpreter_that_waited_answers_like_one_started_now(engine: Engine) {
    let ahead = pooled(engine, &[("POOL_SIZE", "1")]);
    let now = Service::start(engine, &[("POOL_SIZE", "0")]);
    for request in scripts() {
        let expected = lasting(now.run(&request).0);
        assert_eq!(lasting(run_ahead(&ahead, &request)), expected, "{request}");
    }
    assert_eq!(count(&now, MISSES) + count(&now, "oncebox_pool_made_total"), 0.0);
}

/// What was started ahead does not fit these, and they are answered as ever.
fn what_does_not_fit_goes_one_step_back(engine: Engine) {
    let service = pooled(engine, &[("POOL_SIZE", "2")]);
    let show = "echo \"$1|$A\"; cat";
    for (request, stdout) in [
        (json!({"script": show, "args": ["x"]}), "x|\n"),
        (json!({"script": show, "env": {"A": "y"}}), "|y\n"),
        (json!({"script": show, "stdin": "z"}), "|\nz"),
        (json!({"script": "#!/bin/sh\necho shebang"}), "shebang\n"),
        (json!({"script": "print 'perl'", "language": "perl"}), "perl"),
        (json!({"script": "# coding: latin-1\nprint('ok')", "language": "python"}), "ok\n"),
    ] {
        fill(&service);
        let (started, waiting) = (count(&service, STARTED), count(&service, WAITING));
        assert_eq!(service.run(&request).text(), stdout);
        assert_eq!(count(&service, STARTED), started, "{request}");
        assert_eq!(count(&service, WAITING), waiting + 1.0, "{request}");
    }
    // A module that the request brings along decides how node reads its script.
    let module = json!({"path": "package.json", "content": "{\"type\": \"module\"}"});
    let request = json!({"script": "console.log(typeof require, import.meta.url)",
                         "language": "node", "files": [module]});
    run_ahead(&service, &json!({"script": "1", "language": "node"}));
    fill(&service);
    let expected = "undefined file:///tmp/work/script.js\n";
    assert_eq!(service.run(&request).text(), expected);
}

fn no_container_runs_two_scripts(engine: Engine) {
    let service = pooled(engine, &[("POOL_SIZE", "3")]);
    let runs = if engine == Engine::Native { 40 } else { 12 };
    let script = "ls -A /tmp /tmp/work /dev/shm 2>/dev/null; echo x >/tmp/mark; \
                  echo x >/tmp/work/mark; { echo x >/dev/shm/mark; } 2>/dev/null; ps ax | wc -l; \
                  sleep 300 & ";
    let outputs: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let post = service.poster();
                scope.spawn(move || {
                    let run = |_| post(&json!({"script": script})).expect("an answer").ran();
                    (0..runs / 2).map(run).map(|answer| answer.text().to_owned()).collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| -> Vec<String> { thread.join().expect("runs") })
            .collect()
    });
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert!(!outputs.iter().any(|output| output.contains("mark")), "{outputs:?}");
}

/// Limits of its own hold for a request that gets a waiting container.
fn limits_are_applied_to_a_container_that_waited(engine: Engine) {
    let settings = [("POOL_SIZE", "1"), ("MEMORY_LIMIT", "128m"), ("MAX_MEMORY_LIMIT", "512m")];
    let service = pooled(engine, &settings);
    let greedy = "head -c 200000000 /dev/zero | tail | wc -c";
    let run = |limits: Value| {
        fill(&service);
        let (misses, before) = (count(&service, MISSES), count(&service, STARTED));
        let mut request = json!({"script": greedy});
        request.as_object_mut().expect("an object").extend(
            limits.as_object().expect("an object").iter().map(|(k, v)| (k.clone(), v.clone())),
        );
        let answer = service.run(&request).0;
        let fresh = count(&service, MISSES) > misses;
        assert_eq!(count(&service, STARTED) - before, f64::from(!fresh), "{limits}");
        (answer, fresh)
    };
    assert_eq!(run(json!({})).0["status"], "out_of_memory");
    let (raised, fresh) = run(json!({"memory_limit": "512m"}));
    assert_eq!((&raised["stdout"], fresh), (&json!("200000000\n"), false), "{raised}");
    let (lowered, fresh) = run(json!({"memory_limit": "32m"}));
    assert_eq!((&lowered["status"], fresh), (&json!("out_of_memory"), false));

    fill(&service);
    let bomb = "i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i+1)); done; wait; echo end";
    let bombed = service.run(&json!({"script": bomb, "pids_limit": 10}));
    assert_eq!(bombed.0["limits_hit"], json!(["pids"]));

    // The size of a mounted /tmp stays, so this one is made for the request.
    fill(&service);
    let misses = count(&service, MISSES);
    let request = json!({"script": "df -k /tmp | awk 'END {print $2}'", "tmp_size": "8m"});
    assert_eq!(service.run(&request).text(), "8192\n");
    assert_eq!(count(&service, MISSES), misses + 1.0);
}

fn one_that_dies_while_it_waits_is_replaced(engine: Engine) {
    let service = pooled(engine, &[("POOL_SIZE", "2")]);
    let died = |times: f64| {
        until("the death to be noticed", PATIENCE, || {
            (count(&service, "oncebox_pool_died_total") == times).then_some(())
        });
        fill(&service);
    };
    let misses = count(&service, MISSES);
    let waiting = guests(&service, engine);
    assert_eq!(waiting.len(), 2);
    host::signal(waiting[0], Signal::KILL);
    died(1.0);
    // Its interpreter alone: then the guest gives up.
    let shell = host::descendants(waiting[1]);
    assert_eq!(shell.len(), 1, "a shell waits beneath the guest");
    host::signal(shell[0], Signal::KILL);
    died(2.0);
    let now = guests(&service, engine);
    assert!(now.iter().all(|pid| !waiting.contains(pid)), "{now:?}");
    assert_eq!(service.run(&json!({"script": "echo on"})).text(), "on\n");
    assert_eq!(count(&service, MISSES), misses);
}

fn a_pool_of_nothing_holds_nothing(engine: Engine) {
    let service = Service::start(engine, &[("POOL_SIZE", "0")]);
    service.run(&json!({"script": "echo"}));
    until("the container to be gone", PATIENCE, || {
        guests(&service, engine).is_empty().then_some(())
    });
    assert_eq!(count(&service, "oncebox_pool_made_total"), 0.0);
}

/// A pool of one image serves whoever names it.
fn custom_pools_wait_as_well(engine: Engine) {
    let (image, floor) = match engine {
        Engine::Native => ("host", "host=2"),
        Engine::Docker => ("oncebox-test/busybox:latest", "oncebox-test/busybox:latest=2"),
    };
    let service = pooled(engine, &[("POOL_SIZE", "0"), ("CUSTOM_POOLS", floor)]);
    assert!(count(&service, "oncebox_pool_waiting") >= 2.0);
    let misses = count(&service, MISSES);
    assert_eq!(service.run(&json!({"script": "echo on", "image": image})).text(), "on\n");
    assert_eq!((count(&service, STARTED), count(&service, MISSES)), (1.0, misses));
}

/// Requests that were not yet running do not notice that the spawner was killed.
fn a_new_spawner_fills_the_pool_again() {
    let service = pooled(Engine::Native, &[("POOL_SIZE", "3")]);
    for _ in 0..3 {
        let spawner = spawner_of(&service);
        host::signal(spawner, Signal::KILL);
        // Its containers die with it, and what runs in one by then is lost.
        until("the spawner's end", PATIENCE, || {
            host::proc(spawner, "stat").is_none_or(|stat| stat.contains(") Z ")).then_some(())
        });
        for n in 0..10 {
            let answer = service.run(&json!({"script": format!("echo {n}")}));
            assert_eq!(answer.text(), format!("{n}\n"));
        }
        fill(&service);
    }
}

on_both_engines! {
    together: an_interpreter_that_waited_answers_like_one_started_now,
        what_does_not_fit_goes_one_step_back, no_container_runs_two_scripts,
        limits_are_applied_to_a_container_that_waited, one_that_dies_while_it_waits_is_replaced,
        a_pool_of_nothing_holds_nothing, custom_pools_wait_as_well;
    alone:
}

#[test]
fn native_a_new_spawner_fills_the_pool_again() {
    let _turn = crate::support::turn::together();
    if crate::support::engines().contains(&Engine::Native) {
        a_new_spawner_fills_the_pool_again();
    }
}
