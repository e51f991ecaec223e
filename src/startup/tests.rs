use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::testing::{Stage, executor};
use crate::config::{Flags, Machine};
use crate::registry::Reference;

/// Long enough for a busy machine; nothing here waits for it when all is well.
const SOON: Duration = Duration::from_secs(20);

/// A service on a played engine, and the containers that run.
struct Booted {
    port: u16,
    signals: Signals,
    running: UnboundedReceiver<CancellationToken>,
    ended: JoinHandle<Result<(), String>>,
}

async fn boot(drain_timeout: &str) -> Booted {
    let values = [("port", "0".to_owned()), ("drain_timeout", drain_timeout.to_owned())];
    let flags = Flags { file: None, values: values.into() };
    let machine =
        Machine { cores: 1, processors: 1, memory: 1 << 30, pid_max: 32_768, root: false };
    let settings = Settings::load(&flags, |_| None, &machine).expect("valid");
    let (engine, running) = Stage::new();
    let chosen = Chosen {
        executor: executor(engine.clone()),
        engine,
        image: Reference::host(),
        reason: "a test".into(),
        canary: Duration::ZERO,
    };
    let access = Arc::new(Access::open(&settings.access).expect("no keys"));
    let listener = listen(settings.address).expect("a free port");
    let store = executions::store(&settings, Place::Memory).expect("a store");
    let executions = executions::open(&settings, store, Arc::clone(&chosen.executor)).await;
    let executions = executions.expect("nothing to go on with");
    let runtimes = runtimes::open(&settings, &chosen.executor, &executions).await.expect("none");
    let kept = (executions, runtimes);
    let application =
        Application::assemble(&settings, access, listener, chosen, kept).expect("listening");
    let (port, signals) = (application.port(), Signals::default());
    let heard = signals.clone();
    let ended = tokio::spawn(async move { application.run_until_stopped(&heard).await });
    Booted { port, signals, running, ended }
}

impl Booted {
    async fn send(&self, script: &str) -> TcpStream {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        let body = format!("{{\"script\":\"{script}\"}}");
        let request = format!(
            "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(request.as_bytes()).await.expect("sent");
        client
    }

    async fn container(&mut self) -> CancellationToken {
        timeout(SOON, self.running.recv()).await.expect("in time").expect("a container")
    }
}

async fn answer(mut client: TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, client.read_to_string(&mut text)).await.expect("in time").expect("an answer");
    text
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_container_along() {
    let mut service = boot("60").await;
    let client = service.send("hang").await;
    let container = service.container().await;
    assert!(!container.is_cancelled());
    drop(client);
    timeout(Duration::from_secs(1), container.cancelled()).await.expect("gone within a second");
    service.signals.stop.cancel();
    assert_eq!(service.ended.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn what_runs_may_finish_and_nothing_new_is_taken() {
    let mut service = boot("60").await;
    let running = service.send("hang").await;
    let container = service.container().await;
    service.signals.stop.cancel();
    // The door closes a moment after the signal; each try before that is an ordinary answer.
    let refused = loop {
        let answer = answer(service.send("hello").await).await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("draining"), "{refused}");
    assert!(!container.is_cancelled());
    drop(running);
    assert_eq!(timeout(SOON, service.ended).await.expect("in time").expect("no panic"), Ok(()));
}

#[tokio::test]
async fn what_runs_past_the_drain_deadline_is_cancelled_and_answered() {
    let mut service = boot("0.05").await;
    let running = service.send("hang").await;
    let container = service.container().await;
    service.signals.stop.cancel();
    let answer = answer(running).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"status\":\"cancelled\""), "{answer}");
    timeout(SOON, container.cancelled()).await.expect("gone");
    assert_eq!(timeout(SOON, service.ended).await.expect("in time").expect("no panic"), Ok(()));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut service = boot("60").await;
    let _running = service.send("hang").await;
    service.container().await;
    service.signals.stop.cancel();
    service.signals.force.cancel();
    let ended = timeout(SOON, service.ended).await.expect("in time").expect("no panic");
    assert!(ended.is_err());
}
