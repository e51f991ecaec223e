//! `echo hi`, end to end over HTTP on each engine, beside fork + exec on this machine and
//! `docker run --rm`, in one run: `cargo bench --bench echo`.
//!
//! The four take turns, one request each, so that whatever else the machine does meets all alike.
//! Needs what `tests/run` needs; `DOCKER_HOST` and `ONCEBOX_BENCH_IMAGE` (default
//! `oncebox-test/busybox:latest`, built by `tests/images`) name the engine and its image.

// A program for people: it may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;

const REQUESTS: usize = 200;
/// Before the clock starts: caches fill, lazy things are made.
const WARM_UP: usize = 5;

struct Service {
    child: Child,
    url: String,
    client: Client,
}

impl Service {
    fn start(engine: &str, image: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let child = Command::new(env!("CARGO_BIN_EXE_oncebox"))
            .arg("serve")
            .env("ENGINE", engine)
            .env("BASE_IMAGE", image)
            .env("PORT", address.port().to_string())
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::null())
            .spawn()
            .expect("the service starts");
        let client = Client::builder().no_proxy().build().expect("a client");
        let began = Instant::now();
        while !client
            .get(format!("http://{address}/health"))
            .send()
            .is_ok_and(|r| r.status().is_success())
        {
            assert!(began.elapsed() < Duration::from_secs(30), "{engine} does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, url: format!("http://{address}/execute"), client }
    }

    fn echo(&self) {
        let body = r#"{"script":"echo hi"}"#;
        let request =
            self.client.post(&self.url).header("content-type", "application/json").body(body);
        let answer = request.send().and_then(|r| r.text()).expect("an answer");
        assert!(answer.contains(r#""stdout":"hi\n""#), "{answer}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn command(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("the command runs");
    assert_eq!(output.stdout, b"hi\n", "{}", String::from_utf8_lossy(&output.stderr));
}

fn main() {
    let image = std::env::var("ONCEBOX_BENCH_IMAGE")
        .unwrap_or_else(|_| "oncebox-test/busybox:latest".into());
    let native = Service::start("native", "host");
    let docker = Service::start("docker", &image);
    let run = ["run", "--rm", "--network", "none", &image, "/bin/sh", "-c", "echo hi"];
    let rivals: [(&str, &dyn Fn()); 4] = [
        ("fork + exec on the host", &|| command("/bin/sh", &["-c", "echo hi"])),
        ("oncebox, native", &|| native.echo()),
        ("oncebox, docker", &|| docker.echo()),
        ("docker run --rm", &|| command("docker", &run)),
    ];
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..WARM_UP + REQUESTS {
        for ((_, echo), times) in rivals.iter().zip(&mut times) {
            let began = Instant::now();
            echo();
            if round >= WARM_UP {
                times.push(began.elapsed());
            }
        }
    }
    println!("echo hi, {REQUESTS} each, taking turns{:>11}{:>11}", "p50", "p95");
    for ((name, _), mut times) in rivals.iter().zip(times) {
        times.sort_unstable();
        let at = |share: usize| {
            format!("{:.2} ms", times[times.len() * share / 100].as_secs_f64() * 1e3)
        };
        println!("{name:<34}{:>11}{:>11}", at(50), at(95));
    }
}
