use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::keeper::Keeper;
use super::kept::Key;
use super::*;

const ROOMY: StoreOptions = StoreOptions { ttl: Duration::from_secs(3600), size_limit: 1 << 30 };

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("new/executions.redb")
    }

    fn open(&self, options: StoreOptions) -> FileStore {
        let place = Place::prepare(&self.path(), None).expect("a place");
        FileStore::open(place, options).expect("a store")
    }
}

fn in_memory(options: StoreOptions) -> FileStore {
    FileStore::open(Place::Memory, options).expect("a store")
}

fn accepted(owner: &str) -> Head {
    let head = Head { id: Uuid::now_v7(), owner: owner.into(), created: now(), ..Head::default() };
    assert!(head.ended.is_none());
    head
}

fn ended(head: &Head, at: u64) -> Head {
    Head { ended: Some(at), ..head.clone() }
}

fn change(store: &FileStore, change: Change) -> Result<(), StoreError> {
    store.commit(&[change]).expect("written").remove(0)
}

fn accept(store: &FileStore, head: &Head) {
    let change = self::change(store, Change::Accept { head: head.clone(), request: None });
    assert_eq!(change, Ok(()));
}

fn end(store: &FileStore, head: &Head, body: &[u8]) -> Result<(), StoreError> {
    change(store, Change::End { head: head.clone(), body: Some(body.to_vec()) })
}

fn ids(heads: &[Head]) -> Vec<Uuid> {
    heads.iter().map(|head| head.id).collect()
}

#[test]
fn what_is_committed_is_there_after_a_crash() {
    let folder = Folder::new();
    let (first, second) = (accepted("key:a"), accepted("key:a"));
    let body = vec![7; 200_000];
    {
        let store = folder.open(ROOMY);
        let request = Some(vec![1; 100_000]);
        change(&store, Change::Accept { head: first.clone(), request: request.clone() }).unwrap();
        accept(&store, &second);
        change(&store, Change::Begin(first.id)).unwrap();
        end(&store, &ended(&second, now()), &body).unwrap();
        assert_eq!(store.request(first.id), Ok(request));
        // As after kill -9: nothing is told of the end, and the lock goes with the process.
        let copy = folder.0.path().join("copy");
        fs::copy(folder.path(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        let crashed = Place::prepare(&copy, None).unwrap();
        let crashed = FileStore::open(crashed, ROOMY).unwrap();
        check_both(&crashed, &first, &second, &body);
    }
    check_both(&folder.open(ROOMY), &first, &second, &body);
}

fn check_both(store: &FileStore, first: &Head, second: &Head, body: &[u8]) {
    assert_eq!(store.pending(), Ok(vec![first.id]));
    assert_eq!(store.head(first.id).unwrap().unwrap().tries, 1);
    assert_eq!(store.body(second.id).unwrap().as_deref(), Some(body));
    assert_eq!(store.request(second.id), Ok(None));
    let bytes = store.bytes();
    assert!((300_000..302_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_file_is_private_and_one_service_alone_holds_it() {
    let folder = Folder::new();
    let store = folder.open(ROOMY);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o600);
    assert_eq!(mode(folder.path().parent().unwrap()), 0o700);
    let again = Place::prepare(&folder.path(), None).unwrap();
    let refused = FileStore::open(again, ROOMY).unwrap_err();
    assert!(refused.contains("another service") && refused.contains("EXECUTION_STORE"));
    store.close();
    assert!(matches!(store.head(Uuid::nil()), Err(StoreError::Failed(_))));
    folder.open(ROOMY);
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    let folder = Folder::new();
    let target = folder.0.path().join("target");
    fs::write(&target, "mine").unwrap();
    let refused = |path: &Path| Place::prepare(path, None).map(drop).unwrap_err();
    let link = folder.0.path().join("link");
    symlink(&target, &link).unwrap();
    refused(&link);
    let hard = folder.0.path().join("hard");
    fs::hard_link(&target, &hard).unwrap();
    assert!(refused(&hard).contains("no plain file"));
    fs::remove_file(&hard).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&target).contains("chmod 600"));
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place::prepare(&target, None).unwrap();
    let refused = FileStore::open(place, ROOMY).unwrap_err();
    assert!(refused.contains("can't be opened"), "{refused}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    let other = Place::prepare(&target, Some((12345, 12345))).map(drop).unwrap_err();
    assert!(other.contains("belongs to uid"), "{other}");
}

#[test]
fn owners_see_their_own_newest_first_and_paged() {
    let store = in_memory(ROOMY);
    let mine: Vec<_> = (0..5).map(|_| accepted("key:a")).collect();
    mine.iter().for_each(|head| accept(&store, head));
    for other in ["key:", "key:aa", "key:b", "address:127.0.0.1"] {
        accept(&store, &accepted(other));
    }
    let newest_first: Vec<_> = ids(&mine).into_iter().rev().collect();
    let list = |before, most| ids(&store.list("key:a", before, most).unwrap());
    assert_eq!(list(Uuid::max(), 500), newest_first);
    assert_eq!(list(Uuid::max(), 2), newest_first[..2]);
    assert_eq!(list(newest_first[1], 2), newest_first[2..4]);
    assert!(list(newest_first[4], 2).is_empty());
    assert_eq!(store.list("key:c", Uuid::max(), 9), Ok(Vec::new()));
}

#[test]
fn what_is_too_old_is_gone_at_once_and_swept_later() {
    let store = in_memory(ROOMY);
    let (old, young, pending) = (accepted("a"), accepted("a"), accepted("a"));
    for head in [&old, &young, &pending] {
        accept(&store, head);
    }
    end(&store, &ended(&old, now() - 3_600_001), b"x").unwrap();
    end(&store, &ended(&young, now() - 3_500_000), b"x").unwrap();
    assert_eq!(store.head(old.id), Ok(None));
    let left = [pending.id, young.id];
    assert_eq!(ids(&store.list("a", Uuid::max(), 9).unwrap()), left);
    let before = store.bytes();
    store.sweep().unwrap();
    assert!(store.bytes() < before);
    assert_eq!(store.body(old.id), Ok(None));
    assert_eq!(ids(&store.list("a", Uuid::max(), 9).unwrap()), left);
}

#[test]
fn the_oldest_ended_go_when_there_is_no_room_and_never_a_pending_one() {
    let store = in_memory(StoreOptions { size_limit: 10_000, ..ROOMY });
    let heads: Vec<_> = (0..4).map(|_| accepted("a")).collect();
    let began = now();
    for (head, at) in heads.iter().zip([3, 1, 2, 4]) {
        accept(&store, head);
        end(&store, &ended(head, began + at), &[0; 3000]).unwrap();
    }
    let there = || heads.iter().map(|head| store.head(head.id).unwrap().is_some());
    assert!(there().eq([true, false, true, true]), "the first to end is gone");
    assert!(store.bytes() <= 10_000);
    let large = Change::Accept { head: accepted("a"), request: Some(vec![0; 9000]) };
    assert_eq!(change(&store, large), Ok(()));
    assert!(there().all(|there| !there));
    // What has not ended is nobody's room.
    let more = Change::Accept { head: accepted("a"), request: Some(vec![0; 3000]) };
    assert_eq!(change(&store, more), Err(StoreError::NoRoom));
    let small = accepted("a");
    accept(&store, &small);
    assert_eq!(end(&store, &ended(&small, now()), &[0; 20_000]), Err(StoreError::NoRoom));
    assert!(store.head(small.id).unwrap().unwrap().ended.is_none(), "nothing was changed");
}

#[test]
fn a_key_leads_to_its_execution_until_it_is_given_back() {
    let store = in_memory(ROOMY);
    let key = Some(Key { key: "k".into(), fingerprint: vec![1] });
    let keyed = |owner: &str| Head { key: key.clone(), ..accepted(owner) };
    let (mine, other) = (keyed("key:a"), keyed("key:b"));
    accept(&store, &mine);
    accept(&store, &other);
    let found = |owner| store.keyed(owner, "k").unwrap().map(|head| head.id);
    assert_eq!((found("key:a"), found("key:b")), (Some(mine.id), Some(other.id)));
    assert_eq!(found("key:c"), None);
    end(&store, &ended(&mine, now()), b"").unwrap();
    assert_eq!(found("key:a"), Some(mine.id));
    end(&store, &Head { key: None, ..ended(&other, now()) }, b"").unwrap();
    assert_eq!(found("key:b"), None);
    let next = keyed("key:b");
    accept(&store, &next);
    change(&store, Change::Forget(other.id)).unwrap();
    assert_eq!(found("key:b"), Some(next.id), "another holds it by then");
    change(&store, Change::Forget(next.id)).unwrap();
    assert_eq!(found("key:b"), None);
    assert_eq!(store.pending(), Ok(Vec::new()));
}

#[test]
fn webhooks_come_in_the_order_they_are_due() {
    let store = in_memory(ROOMY);
    let webhook = |due| Webhook { url: "https://a.example/".into(), tries: 0, due };
    let heads: Vec<_> = (0..3).map(|_| accepted("a")).collect();
    for (head, due) in heads.iter().zip([Some(30), Some(10), None]) {
        accept(&store, head);
        let head = Head { webhook: Some(webhook(due)), ..ended(head, now()) };
        end(&store, &head, b"").unwrap();
    }
    assert_eq!(store.due(9), Ok(vec![(10, heads[1].id), (30, heads[0].id)]));
    assert_eq!(store.due(1), Ok(vec![(10, heads[1].id)]));
    let again = Webhook { tries: 1, ..webhook(Some(50)) };
    change(&store, Change::Tried(heads[1].id, again.clone())).unwrap();
    assert_eq!(store.due(9), Ok(vec![(30, heads[0].id), (50, heads[1].id)]));
    assert_eq!(store.head(heads[1].id).unwrap().unwrap().webhook, Some(again));
    change(&store, Change::Tried(heads[0].id, webhook(None))).unwrap();
    change(&store, Change::Forget(heads[1].id)).unwrap();
    assert_eq!(store.due(9), Ok(Vec::new()));
}

#[test]
fn a_file_does_not_grow_with_what_has_gone() {
    let folder = Folder::new();
    let store = folder.open(StoreOptions { size_limit: 4 << 20, ..ROOMY });
    let size = || fs::metadata(folder.path()).unwrap().len();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..10 {
            let head = accepted("a");
            accept(&store, &head);
            end(&store, &ended(&head, now()), &vec![5; 1 << 20]).unwrap();
        }
        sizes.push(size());
    }
    assert!(sizes[3] <= sizes[1], "{sizes:?}");
    assert!(sizes[3] < 32 << 20, "{sizes:?}");
}

#[tokio::test]
async fn a_keeper_writes_what_it_was_told_before_it_closes() {
    let folder = Folder::new();
    let keeper = Keeper::start(Arc::new(folder.open(ROOMY))).unwrap();
    let heads: Vec<_> = (0..50).map(|_| accepted("a")).collect();
    let asked: Vec<_> = heads
        .iter()
        .map(|head| keeper.commit(Change::Accept { head: head.clone(), request: None }))
        .collect();
    keeper.close().await;
    for written in asked {
        assert_eq!(written.await, Ok(()));
    }
    let late = keeper.commit(Change::Forget(heads[0].id)).await;
    assert!(matches!(late, Err(StoreError::Failed(_))));
    let mut found = folder.open(ROOMY).pending().unwrap();
    found.sort_unstable();
    assert_eq!(found, ids(&heads));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Accept { owner: usize, key: usize, bytes: usize },
    End { which: usize, bytes: usize, release: bool },
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..2, 0_usize..3, 0_usize..2000).prop_map(|(owner, key, bytes)| Step::Accept {
            owner,
            key,
            bytes
        }),
        (0_usize..20, 0_usize..2000, any::<bool>()).prop_map(|(which, bytes, release)| Step::End {
            which,
            bytes,
            release
        }),
        (0_usize..20).prop_map(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens: the bytes are those of what is there, within the limit, and every key leads
    /// to an execution of its owner that has it.
    #[test]
    fn the_tables_agree(steps in prop::collection::vec(step(), 1..60)) {
        const LIMIT: u64 = 8000;
        let store = in_memory(StoreOptions { size_limit: LIMIT, ..ROOMY });
        let owners = ["a", "b"];
        let mut all: Vec<Head> = Vec::new();
        for step in steps {
            match step {
                Step::Accept { owner, key, bytes } => {
                    let key = Key { key: key.to_string(), fingerprint: vec![] };
                    if store.keyed(owners[owner], &key.key).unwrap().is_some() {
                        continue;
                    }
                    let head = Head { key: Some(key), ..accepted(owners[owner]) };
                    all.push(head.clone());
                    let _ = change(&store, Change::Accept { head, request: Some(vec![0; bytes]) });
                }
                Step::End { which, bytes, release } => {
                    let Some(head) = all.get(which) else { continue };
                    if store.head(head.id).unwrap().is_none_or(|head| head.ended.is_some()) {
                        continue;
                    }
                    let key = head.key.clone().filter(|_| !release);
                    let _ = end(&store, &Head { key, ..ended(head, now()) }, &vec![0; bytes]);
                }
                Step::Forget(which) => {
                    let Some(head) = all.get(which) else { continue };
                    change(&store, Change::Forget(head.id)).unwrap();
                }
            }
            let heads = owners.map(|owner| store.list(owner, Uuid::max(), 500).unwrap()).concat();
            prop_assert_eq!(heads.iter().map(|head| head.bytes).sum::<u64>(), store.bytes());
            prop_assert!(store.bytes() <= LIMIT);
            let pending = heads.iter().filter(|head| head.ended.is_none()).count();
            prop_assert_eq!(store.pending().unwrap().len(), pending);
            for owner in owners {
                for key in ["0", "1", "2"] {
                    if let Some(found) = store.keyed(owner, key).unwrap() {
                        prop_assert_eq!(&*found.owner, owner);
                        prop_assert_eq!(found.key.map(|key| key.key), Some(key.to_owned()));
                    }
                }
            }
        }
    }
}
