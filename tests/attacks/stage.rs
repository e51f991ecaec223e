//! Where attacks are played: a service under the test limits, and everything it must return to.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clean::{Belongings, SETTLE};
use crate::guard::Guard;
use crate::support::{Answer, Engine, Service, host};

/// The limits of the rows: T is 2 s, M 64 MiB, and so on. Nothing waits ahead, so that between two
/// attacks there is no container at all.
pub const LIMITS: &[(&str, &str)] = &[
    ("TIMEOUT", "2"),
    ("MEMORY_LIMIT", "64m"),
    ("CPU_LIMIT", "0.5"),
    ("PIDS_LIMIT", "64"),
    ("TMP_SIZE", "16m"),
    ("OUTPUT_LIMIT", "64k"),
    ("MAX_BODY", "1m"),
    ("MAX_CONCURRENT", "4"),
    ("QUEUE_LIMIT", "8"),
    ("QUEUE_TIMEOUT", "2"),
    ("POOL_SIZE", "0"),
];

/// T of the rows, in seconds.
pub const TIMEOUT: f64 = 2.0;

/// A service on which one attack at a time is played.
pub struct Stage {
    pub engine: Engine,
    service: Service,
    warm: Belongings,
    // Behind the service, which must have ended before its ceilings go.
    _guard: Guard,
}

/// The right to play now. It belongs to one test at a time, of whichever engine, because what is left
/// behind shows on the whole machine.
pub struct OnStage {
    // Before the turn, so that a stage also ends in it.
    stage: Arc<Stage>,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for OnStage {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Stage {
    /// The stage that the tests of an engine share. The next test holds it while it waits for its
    /// turn, so that it lives until the last.
    pub fn get(engine: Engine) -> OnStage {
        static NATIVE: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        static DOCKER: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let slot = match engine {
            Engine::Native => &NATIVE,
            Engine::Docker => &DOCKER,
        };
        let held = slot.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let turn = turn();
        let stage = held.unwrap_or_else(|| {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.upgrade().unwrap_or_else(|| {
                let stage = Arc::new(Self::start(engine, &[]));
                *slot = Arc::downgrade(&stage);
                stage
            })
        });
        OnStage { stage, _turn: turn }
    }

    /// One of the test's own, with further settings.
    pub fn with(engine: Engine, settings: &[(&str, &str)]) -> OnStage {
        let turn = turn();
        OnStage { stage: Arc::new(Self::start(engine, settings)), _turn: turn }
    }

    fn start(engine: Engine, settings: &[(&str, &str)]) -> Self {
        let guard = Guard::up(engine);
        let settings: Vec<_> = LIMITS.iter().chain(settings).copied().collect();
        let service = Service::start_program(guard.serve(engine), &settings);
        // What a service keeps from its first executions on is no attack's doing, nor what it keeps for
        // as many at once as it has slots.
        service.run_all(&vec![json!({"script": "echo warm"}); 8]);
        let warm = Belongings::of(&service);
        Self { engine, service, warm, _guard: guard }
    }

    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Runs a script that attacks, and looks whether all is as it was before.
    #[track_caller]
    pub fn attack(&self, request: &Value) -> Answer {
        self.clean_after(|service| service.run(request))
    }

    /// The same for an attack of any form.
    #[track_caller]
    pub fn clean_after<T>(&self, attack: impl FnOnce(&Service) -> T) -> T {
        self.clean_within(SETTLE, attack)
    }

    /// The same where it may take longer until all is gone.
    #[track_caller]
    pub fn clean_within<T>(&self, limit: Duration, attack: impl FnOnce(&Service) -> T) -> T {
        let before = Belongings::of(&self.service).or_warm(&self.warm);
        let outcome = attack(&self.service);
        before.again_within(limit, &self.service);
        outcome
    }

    /// Runs a Python script that must print just what is expected, without a word on stderr.
    #[track_caller]
    pub fn python(&self, script: &str) -> String {
        self.text(&json!({"script": script, "language": "python"}))
    }

    /// The same for `/bin/sh`.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.text(&json!({ "script": script }))
    }

    #[track_caller]
    fn text(&self, request: &Value) -> String {
        let answer = self.attack(request);
        let ended = (answer.status(), answer.exit_code(), answer.stderr());
        assert_eq!(ended, ("completed", 0, String::new()), "{}", answer.0);
        answer.text()
    }
}

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left behind is found, or nothing else here would mean anything.
fn a_clean_stage_is_told_from_another(engine: Engine) {
    let stage = Stage::get(engine);
    assert_eq!(stage.sh("echo hi"), "hi\n");
    let unclean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let poster = stage.service().poster();
        stage.clean_after(|_| {
            let mark = &host::mark("41");
            let endless = json!({"script": format!("sleep {mark}"), "timeout": 6});
            std::thread::spawn(move || poster(&endless));
            host::await_argument(mark);
        });
    }));
    assert!(unclean.is_err(), "a script that still runs was not seen");
}

on_both_engines! { together: a_clean_stage_is_told_from_another }
