//! On a played engine, with a file that can be looked at as a crash would leave it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::*;
use crate::api::testing::{Stage, executor};
use crate::execution::admission::{Allowance, Who};
use crate::execution::live::End;
use crate::execution::outcome::Status;
use crate::execution::request::AskedLimits;
use crate::execution::runtime::{Names, Offered, Runtime};
use crate::execution::store::kept::unpack_request;
use crate::execution::store::{Change, Place, StoreError, StoreOptions};
use crate::execution::testing::execution;
use crate::registry::ImageErrorKind;

/// Long enough for a busy machine; nothing here waits for it when all is well.
const SOON: Duration = Duration::from_secs(20);
const ROOMY: StoreOptions = StoreOptions { ttl: Duration::from_secs(3600), size_limit: 1 << 30 };

/// How each execution ended, in the order they did.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Ended>>>);

type Ended = (Uuid, Result<Outcome, Failure>);

impl Reporter for Told {
    fn watch(&self, _: &Executor, head: &Head, _: &Execution, _: &Caller) -> Box<dyn Watch> {
        Box::new(Line(self.clone(), head.id))
    }

    fn document(&self, _: &Head, _: &Result<Outcome, Failure>) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

struct Line(Told, Uuid);

impl Watch for Line {
    fn ended(self: Box<Self>, ended: &Result<Outcome, Failure>) {
        self.0.0.lock().unwrap().push((self.1, ended.clone()));
    }
}

/// One life of the service.
struct Life {
    executions: Arc<Executions>,
    executor: Arc<Executor>,
    running: UnboundedReceiver<CancellationToken>,
    told: Told,
}

async fn begin(place: Place, kept: StoreOptions) -> Life {
    let (stage, running) = Stage::new();
    let executor = executor(stage);
    let store = FileStore::open(place, kept).unwrap();
    let told = Told::default();
    let options = BackgroundOptions { max_background: 4, webhooks: None };
    let reporter = Box::new(told.clone());
    let executions = Executions::open(Arc::clone(&executor), store, reporter, options).await;
    Life { executions: executions.unwrap(), executor, running, told }
}

async fn in_memory() -> Life {
    begin(Place::Memory, ROOMY).await
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("executions.redb")
    }

    async fn begin(&self) -> Life {
        begin(Place::prepare(&self.path(), None).unwrap(), ROOMY).await
    }

    /// What a crash leaves at this moment.
    fn crashed(&self) -> Self {
        let crashed = Self::new();
        fs::copy(self.path(), crashed.path()).unwrap();
        fs::set_permissions(crashed.path(), fs::Permissions::from_mode(0o600)).unwrap();
        crashed
    }
}

fn owner(name: &str) -> Who {
    Who::Key(name.into())
}

fn asked(script: &str) -> Asked {
    Asked {
        execution: execution(script),
        names: Names::default(),
        caller: Caller { who: owner("me"), ..Caller::SERVICE },
        asked_by: AskedBy::Executions,
        request_id: "req-1".into(),
        trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        retry: false,
        key: None,
        webhook: None,
    }
}

fn keyed(script: &str, key: &str) -> Asked {
    Asked { asked_by: AskedBy::Execute, key: Some(key.into()), ..asked(script) }
}

impl Life {
    async fn accept(&self, asked: Asked) -> Uuid {
        self.executions.accept(asked).await.unwrap().execution.head().id
    }

    async fn found(&self, id: Uuid) -> Option<Found> {
        self.executions.find(&owner("me"), id).await.unwrap()
    }

    async fn ended(&self, id: Uuid) -> End {
        let found = self.found(id).await.expect("it is there");
        let live = self.executions.live(&found).await.unwrap();
        timeout(SOON, live.ended()).await.expect("in time")
    }

    /// From the store, once it has left memory.
    async fn kept(&self, id: Uuid) -> Head {
        timeout(SOON, async {
            loop {
                match self.found(id).await.expect("it is there") {
                    Found::Kept(head) => return *head,
                    Found::Live(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
        .expect("in time")
    }

    async fn container(&mut self) -> CancellationToken {
        timeout(SOON, self.running.recv()).await.expect("in time").expect("a container")
    }

    async fn stop(&self) {
        self.executions.close();
        self.executor.close();
        self.executions.stop();
        timeout(SOON, self.executions.idle()).await.expect("in time");
        self.executions.finish().await;
    }
}

fn printed(end: &End) -> String {
    let outcome = end.as_ref().as_ref().expect("an outcome");
    String::from_utf8(outcome.stdout.bytes.clone()).unwrap()
}

#[tokio::test]
async fn one_is_accepted_runs_and_is_kept() {
    let life = in_memory().await;
    let id = life.accept(asked("hello")).await;
    assert_eq!(printed(&life.ended(id).await), "hello");
    let head = life.kept(id).await;
    assert!(head.created <= head.started.unwrap() && head.started <= head.ended);
    assert_eq!(printed(&life.ended(id).await), "hello", "also from the store");
    assert!(life.executions.find(&owner("other"), id).await.unwrap().is_none());
    assert!(life.found(Uuid::now_v7()).await.is_none());
    let told = life.told.0.lock().unwrap();
    assert!(matches!(&told[..], [(told, Ok(_))] if *told == id));
}

#[tokio::test]
async fn those_of_an_owner_are_listed_newest_first() {
    let mut life = in_memory().await;
    let ended = life.accept(asked("hello")).await;
    life.container().await;
    life.kept(ended).await;
    let running = life.accept(asked("hang")).await;
    life.container().await;
    let list = async |after, most| {
        let (found, more) = life.executions.list(&owner("me"), after, most).await.unwrap();
        (found.iter().map(|found| (found.head().id, found.now())).collect::<Vec<_>>(), more)
    };
    let both = [(running, Now::Running), (ended, Now::Over)];
    assert_eq!(list(None, 5).await, (both.to_vec(), false));
    assert_eq!(list(None, 1).await, (both[..1].to_vec(), true));
    assert_eq!(list(Some(running), 1).await, (both[1..].to_vec(), false));
    let (others, _) = life.executions.list(&owner("other"), None, 5).await.unwrap();
    assert!(others.is_empty());
}

#[tokio::test]
async fn a_panic_ends_its_own_execution_alone() {
    let life = in_memory().await;
    let mut panics = asked("hello");
    panics.execution.image = Some("panic".parse().unwrap());
    let panics = life.accept(panics).await;
    let other = life.accept(asked("hello")).await;
    assert!(matches!(&*life.ended(panics).await, Err(Failure::Internal(_))));
    assert_eq!(printed(&life.ended(other).await), "hello");
    life.kept(panics).await;
    assert!(matches!(&*life.ended(panics).await, Err(Failure::Internal(_))));
}

#[tokio::test]
async fn one_is_cancelled_while_it_waits_and_while_it_runs() {
    let mut life = in_memory().await;
    let running = [life.accept(asked("hang")).await, life.accept(asked("hang")).await];
    let containers = [life.container().await, life.container().await];
    let waiting = [life.accept(asked("hello")).await, life.accept(asked("hello")).await];
    for (ahead, id) in waiting.into_iter().enumerate() {
        timeout(SOON, async {
            while life.found(id).await.unwrap().now() != Now::Queued(Some(ahead)) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("in the queue");
    }
    let refused = life.executions.accept(asked("hello")).await.unwrap_err();
    assert!(matches!(refused, Refused::TooMany), "{refused:?}");
    life.executions.cancel(&life.found(waiting[0]).await.unwrap());
    assert!(matches!(&*life.ended(waiting[0]).await, Err(Failure::Cancelled)));
    life.executions.cancel(&life.found(running[0]).await.unwrap());
    assert_eq!(life.ended(running[0]).await.as_ref().as_ref().unwrap().status, Status::Cancelled);
    timeout(SOON, containers[0].cancelled()).await.expect("the container is gone");
    assert_eq!(printed(&life.ended(waiting[1]).await), "hello", "it was its turn");
    // What is over stays as it is.
    life.kept(waiting[1]).await;
    life.executions.cancel(&life.found(waiting[1]).await.unwrap());
    assert_eq!(printed(&life.ended(waiting[1]).await), "hello");
}

#[tokio::test]
async fn a_crash_interrupts_what_has_not_ended_and_runs_again_what_asked_for_that() {
    let folder = Folder::new();
    let mut life = folder.begin().await;
    let ended = life.accept(asked("hello")).await;
    life.container().await;
    life.kept(ended).await;
    let once = life.accept(asked("hang")).await;
    let again = life.accept(Asked { retry: true, ..asked("hang") }).await;
    let waiting = life.accept(asked("never")).await;
    life.container().await;
    life.container().await;
    begun(&life, again, 1).await;

    let mut folder = folder.crashed();
    for times in 2..=3 {
        let mut next = folder.begin().await;
        assert_eq!(printed(&next.ended(ended).await), "hello");
        for interrupted in [once, waiting] {
            let end = next.ended(interrupted).await;
            assert!(matches!(&*end, Err(Failure::Interrupted)), "{end:?}");
            assert!(next.kept(interrupted).await.ended.is_some());
        }
        next.container().await;
        assert_eq!(next.found(again).await.unwrap().now(), Now::Running);
        begun(&next, again, times).await;
        folder = folder.crashed();
    }
    let last = folder.begin().await;
    let end = last.ended(again).await;
    assert!(matches!(&*end, Err(Failure::Interrupted)), "it may be what ends the service: {end:?}");
}

/// After a restart nobody knows what the key allowed.
#[tokio::test]
async fn what_is_run_again_keeps_to_what_its_key_allowed() {
    let folder = Folder::new();
    let mut life = folder.begin().await;
    let most = AskedLimits { memory: Some(64 << 20), ..AskedLimits::default() };
    let allowance = Some(Arc::new(Allowance { most, ..Allowance::default() }));
    let caller = Caller { allowance, ..asked("").caller };
    let id = life.accept(Asked { retry: true, caller, ..asked("hang") }).await;
    life.container().await;
    let request = life.executions.keeper.read(move |store| store.request(id)).await.unwrap();
    let execution = unpack_request(id, &request.unwrap()).unwrap();
    assert_eq!(execution.limits.memory, most.memory);
    life.stop().await;
}

/// Waits until it is written down that it was begun so often.
async fn begun(life: &Life, id: Uuid, times: u32) {
    timeout(SOON, async {
        loop {
            let head = life.executions.keeper.read(move |store| store.head(id)).await.unwrap();
            if head.unwrap().tries == times {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn a_clean_stop_interrupts_what_goes_on_and_keeps_what_is_to_run_again() {
    let folder = Folder::new();
    let mut life = folder.begin().await;
    let running = life.accept(asked("hang")).await;
    let again = life.accept(Asked { retry: true, ..asked("hang") }).await;
    life.container().await;
    life.container().await;
    let waiting = life.accept(asked("never")).await;
    let live = life.executions.live(&life.found(waiting).await.unwrap()).await.unwrap();
    life.stop().await;
    assert!(matches!(&*live.ended().await, Err(Failure::Interrupted)));
    let late = life.executions.accept(asked("late")).await.unwrap_err();
    assert!(matches!(late, Refused::Closing), "{late:?}");

    let mut next = folder.begin().await;
    for interrupted in [running, waiting] {
        assert!(matches!(&*next.ended(interrupted).await, Err(Failure::Interrupted)));
    }
    next.container().await;
    assert_eq!(next.found(again).await.unwrap().now(), Now::Running);
    next.stop().await;
}

#[tokio::test]
async fn w24_a_hundred_equal_requests_are_one_execution() {
    let mut life = in_memory().await;
    let all = (0..100).map(|_| life.executions.accept(keyed("hello", "k")));
    let accepted: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(accepted.iter().filter(|accepted| !accepted.replayed).count(), 1);
    let id = accepted[0].execution.head().id;
    for accepted in &accepted {
        assert_eq!(accepted.execution.head().id, id);
        let live = life.executions.live(&accepted.execution).await.unwrap();
        assert_eq!(printed(&live.ended().await), "hello");
    }
    life.container().await;
    assert!(life.running.try_recv().is_err(), "one container");
    life.kept(id).await;
    // Later, from the store.
    let later = life.executions.accept(keyed("hello", "k")).await.unwrap();
    assert!(later.replayed && later.execution.head().id == id);
    let other = life.executions.accept(keyed("other", "k")).await.unwrap_err();
    assert!(matches!(other, Refused::Conflict), "{other:?}");
    let mut of_other = keyed("hello", "k");
    of_other.caller.who = owner("other");
    assert!(!life.executions.accept(of_other).await.unwrap().replayed);
    let by_executions = Asked { asked_by: AskedBy::Executions, ..keyed("hello", "k") };
    let other = life.executions.accept(by_executions).await.unwrap_err();
    assert!(matches!(other, Refused::Conflict), "{other:?}");
}

#[tokio::test]
async fn the_last_who_leaves_cancels_it_and_gives_its_key_back() {
    let mut life = in_memory().await;
    let first = life.executions.accept(keyed("hang", "k")).await.unwrap();
    let container = life.container().await;
    let second = life.executions.accept(keyed("hang", "k")).await.unwrap();
    let id = first.execution.head().id;
    drop(first);
    tokio::task::yield_now().await;
    assert!(!container.is_cancelled(), "one still waits");
    drop(second);
    // Whoever comes now gets another one.
    let third = life.executions.accept(keyed("hang", "k")).await.unwrap();
    assert!(!third.replayed);
    timeout(SOON, container.cancelled()).await.expect("gone");
    assert_eq!(life.ended(id).await.as_ref().as_ref().unwrap().status, Status::Cancelled);
}

/// Between the look at who has a key and the look at how far that one is, it may end.
#[tokio::test]
async fn an_end_that_gives_its_key_back_is_nobody_s_answer() {
    let mut life = in_memory().await;
    let first = life.executions.accept(keyed("hang", "k")).await.unwrap();
    life.container().await;
    let id = first.execution.head().id;
    let owner = owner("me").to_string();
    let seen = life.executions.keeper.read(move |store| store.keyed(&owner, "k")).await;
    let seen = seen.unwrap().expect("it has the key");
    assert!(life.executions.holder(seen.clone()).await.unwrap().is_some());
    drop(first);
    life.kept(id).await;
    assert!(life.executions.holder(seen).await.unwrap().is_none());
}

#[tokio::test]
async fn what_never_ran_gives_its_key_back() {
    let mut life = in_memory().await;
    let hang = [life.accept(asked("hang")).await, life.accept(asked("hang")).await];
    life.container().await;
    life.container().await;
    // Nobody who waits for an answer may wait in this queue.
    let busy = life.executions.accept(keyed("hello", "k")).await.unwrap();
    let id = busy.execution.head().id;
    let live = life.executions.live(&busy.execution).await.unwrap();
    assert!(matches!(&*live.ended().await, Err(Failure::Busy { .. })));
    for id in hang {
        life.executions.cancel(&life.found(id).await.unwrap());
        life.kept(id).await;
    }
    let again = life.executions.accept(keyed("hello", "k")).await.unwrap();
    assert!(!again.replayed);
    let live = life.executions.live(&again.execution).await.unwrap();
    assert_eq!(printed(&live.ended().await), "hello");
    assert!(life.found(id).await.is_none(), "nothing is kept of it");

    let mut missing = keyed("hello", "m");
    missing.execution.image = Some("missing".parse().unwrap());
    for _ in 0..2 {
        let accepted = life.executions.accept(missing.clone()).await.unwrap();
        assert!(!accepted.replayed);
        missing.execution.id = Uuid::now_v7();
        let live = life.executions.live(&accepted.execution).await.unwrap();
        let end = live.ended().await;
        let kind = ImageErrorKind::NotFound;
        assert!(matches!(&*end, Err(Failure::Image(error)) if error.kind == kind), "{end:?}");
        life.kept(accepted.execution.head().id).await;
    }
    // What broke is kept, and its key with it.
    let broken = life.executions.accept(keyed("break", "b")).await.unwrap();
    let live = life.executions.live(&broken.execution).await.unwrap();
    assert!(matches!(&*live.ended().await, Err(Failure::Engine(_))));
    let again = life.executions.accept(keyed("break", "b")).await.unwrap();
    assert!(again.replayed);
}

#[tokio::test]
async fn what_is_refused_is_not_kept() {
    let life = in_memory().await;
    let refused = life.executions.accept(keyed(" ", "k")).await.unwrap_err();
    assert!(matches!(refused, Refused::Rejected(_)), "{refused:?}");
    assert!(!life.executions.accept(keyed("hello", "k")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_store_without_room_refuses_clearly_and_loses_no_result_silently() {
    let full = StoreOptions { size_limit: 1000, ..ROOMY };
    let life = begin(Place::Memory, full).await;
    let request = Asked { retry: true, ..asked(&"x".repeat(2000)) };
    let refused = life.executions.accept(request).await.unwrap_err();
    assert!(matches!(refused, Refused::Store(StoreError::NoRoom)), "{refused:?}");
    let id = life.accept(asked(&"x".repeat(2000))).await;
    assert!(matches!(&*life.ended(id).await, Err(Failure::NoRoom)));
    life.kept(id).await;
    assert!(matches!(&*life.ended(id).await, Err(Failure::NoRoom)));
}

#[tokio::test]
async fn a_store_that_fails_accepts_nothing_and_what_ends_is_told_all_the_same() {
    let mut life = in_memory().await;
    let id = life.accept(asked("hang")).await;
    life.container().await;
    let found = life.found(id).await.unwrap();
    let live = life.executions.live(&found).await.unwrap();
    life.executions.keeper.close().await;
    let refused = life.executions.accept(asked("hello")).await.unwrap_err();
    assert!(matches!(refused, Refused::Store(StoreError::Failed(_))), "{refused:?}");
    life.executions.cancel(&found);
    let end = timeout(SOON, live.ended()).await.expect("in time");
    assert_eq!(end.as_ref().as_ref().unwrap().status, Status::Cancelled);
    assert!(matches!(life.found(id).await, Some(Found::Live(_))), "it stays until it is written");
    let late = life.executions.keeper.commit(Change::Forget(id)).await;
    assert!(late.is_err());
}

/// A name is what was asked for, and what it means when it is accepted is what runs.
#[tokio::test]
async fn a_name_means_what_it_meant_when_it_was_accepted() {
    let folder = Folder::new();
    let life = folder.begin().await;
    let named = || Asked {
        names: Names { runtime: Some("py".into()), resources: None },
        ..keyed("hello", "k")
    };
    let refused = life.executions.accept(named()).await.unwrap_err();
    assert!(matches!(&refused, Refused::Rejected(r) if r.field == "runtime"), "{refused:?}");
    let offer = |runtimes| {
        let templates = BTreeMap::new();
        life.executor.catalogue().offer(Offered { runtimes, templates });
    };
    let runtime = |image: &str| Runtime {
        name: "py".parse().unwrap(),
        display_name: None,
        description: None,
        version: None,
        image: image.parse().unwrap(),
        language: None,
        env: vec![],
        limits: AskedLimits::default(),
        pool: 0,
    };
    offer(vec![runtime("python:1")]);
    let id = life.accept(named()).await;
    offer(vec![runtime("python:2")]);
    let end = life.ended(id).await;
    let outcome = end.as_ref().as_ref().expect("an outcome");
    assert_eq!((&*outcome.image, outcome.runtime.as_deref()), ("python:1", Some("py")));
    // The same request is answered alike, even when there is no such runtime any more.
    offer(vec![]);
    assert_eq!(life.accept(named()).await, id);
    let other = Asked { names: Names::default(), ..named() };
    assert!(matches!(life.executions.accept(other).await, Err(Refused::Conflict)));
    life.stop().await;
}
