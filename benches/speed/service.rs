//! The service under measurement, as a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Engine;
use crate::client::{Connection, message};

/// From its start to readiness; it may fill its pools first.
const START: Duration = Duration::from_secs(180);
/// From SIGTERM to its end.
const STOP: Duration = Duration::from_secs(60);

/// Requests wait for their turn and are not refused: the load is ours to choose.
const PATIENT: [(&str, &str); 2] = [("QUEUE_LIMIT", "1024"), ("QUEUE_TIMEOUT", "100")];

/// A running service; stopped in order when it is dropped.
pub struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    /// With a log to be written there.
    pub fn start(engine: Engine, image: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let mut program = Command::new(env!("CARGO_BIN_EXE_oncebox"));
        program.arg("serve").env_clear();
        for name in ["PATH", "DOCKER_HOST"] {
            program.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let child = program
            .env("ENGINE", engine.to_string())
            .env("BASE_IMAGE", image)
            .env("PORT", address.port().to_string())
            .env("LOG_LEVEL", "error")
            // Not this machine's own.
            .env("EXECUTION_STORE", executions(address))
            .envs(PATIENT)
            .envs(settings.iter().copied())
            // Away from any settings file.
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the service starts");
        let mut service = Self { child, address };
        service.await_readiness();
        service
    }

    fn await_readiness(&mut self) {
        let began = Instant::now();
        let ready = message("GET", "/ready", "");
        loop {
            let status = Connection::open(self.address)
                .and_then(|mut connection| connection.exchange(&ready).map(|(status, _)| status));
            if matches!(status, Ok(200)) {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the service ended at once with {status}; its log is above");
            }
            assert!(began.elapsed() < START, "not ready after {START:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A connection that has been used, because the service does not wait long for a first request.
    pub fn connect(&self) -> Connection {
        let mut connection = Connection::open(self.address).expect("the service takes connections");
        let (status, _) = connection.exchange(&message("GET", "/health", "")).expect("an answer");
        assert_eq!(status, 200, "the service is not well");
        connection
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        let _ = std::fs::remove_file(executions(self.address));
        if ended(&mut self.child) {
            return;
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let told = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let began = Instant::now();
        while told && began.elapsed() < STOP {
            if ended(&mut self.child) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("speed: the service did not stop in order and is killed");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its file of executions, which is unlinked while it is still open.
fn executions(address: SocketAddr) -> PathBuf {
    std::env::temp_dir().join(format!("oncebox-speed-{}.redb", address.port()))
}
