//! What is found, listed, named and removed.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::super::{LAYER_UID, Store};
use super::{Scene, add, id, open, reference};
use crate::registry::{ImageErrorKind, Images};

#[tokio::test]
async fn what_was_added_is_found_with_its_layers_and_without_hooks() {
    let scene = Scene::new();
    let image = scene.add("busybox:1", &[(1, 10), (2, 20), (1, 10)]).await.unwrap();
    assert_eq!(image.env, [("PATH".into(), "/bin".into())]);
    assert_eq!(image.layers.as_ref().unwrap().ids, [id(2), id(1)]);
    assert_eq!(
        scene.store.layers_path().join(id(1).to_string()).join("file").metadata().unwrap().len(),
        10
    );
    let other = scene.another();
    for name in ["busybox:1", "docker.io/library/busybox:1"] {
        assert_eq!(other.find(&reference(name)).await.unwrap(), image);
    }
    let digest = image.digest.unwrap();
    let pinned = format!("busybox@{digest}");
    assert_eq!(other.find(&reference(&pinned)).await.unwrap().layers, image.layers);
    for missing in ["busybox", "busybox:2", "example.com/busybox:1", &format!("other@{digest}")] {
        let error = other.find(&reference(missing)).await.unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::NotFound, "{missing}");
    }
}

#[tokio::test]
async fn layers_belong_to_nobody_and_the_store_is_closed_to_others() {
    let scene = Scene::new();
    scene.add("a", &[(1, 10)]).await.unwrap();
    let store = scene.dir.path().join("store");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for folder in ["", "layers", "blobs", "blobs/sha256", "leases", "tmp"] {
        assert_eq!(mode(&store.join(folder)), 0o700, "{folder}");
    }
    let owner = scene.store.layers_path().join(id(1).to_string()).metadata().unwrap().uid();
    let us = rustix::process::geteuid();
    assert_eq!(owner, if us.is_root() { LAYER_UID } else { us.as_raw() });
}

#[tokio::test]
async fn a_store_that_others_may_write_to_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    open(dir.path(), None).unwrap();
    let open_to_all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path().join("store"), open_to_all).unwrap();
    let refused = open(dir.path(), None).err().unwrap();
    assert!(refused.contains("chmod 700"), "{refused}");
}

#[tokio::test]
async fn preparing_gives_away_only_what_it_makes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("new/store");
    std::fs::create_dir_all(path.join("layers")).unwrap();
    Store::prepare(&path, Some((1234, 1235))).unwrap();
    let owner = |name: &str| path.join(name).metadata().unwrap().uid();
    assert_eq!((owner(""), owner("layers")), (0, 0));
    assert_eq!((owner("tmp"), owner("blobs/sha256")), (1234, 1234));
    let path = dir.path().join("fresh");
    Store::prepare(&path, Some((1234, 1235))).unwrap();
    for name in ["", "layers", "leases"] {
        assert_eq!(path.join(name).metadata().unwrap().uid(), 1234, "{name}");
    }
    // What root does there belongs to the store's owner as well.
    let options = super::StoreOptions { path: path.clone(), size_limit: None, max_image: 1 << 30 };
    let store = Store::open(options, None).unwrap();
    add(&store, "a", &[(1, 10)]).await.unwrap();
    for name in ["index.json", "lock", &format!("layers/{}", id(1))] {
        assert_eq!(path.join(name).metadata().unwrap().uid(), 1234, "{name}");
    }
}

#[tokio::test]
async fn a_tag_leads_to_one_image_and_the_old_one_stays_until_it_is_pruned() {
    let scene = Scene::new();
    let old = scene.add("app:1", &[(1, 10), (2, 20)]).await.unwrap();
    let new = scene.add("app:1", &[(1, 10), (3, 30)]).await.unwrap();
    assert_ne!(old.digest, new.digest);
    let other = scene.another();
    assert_eq!(other.find(&reference("app:1")).await.unwrap().digest, new.digest);
    let pinned = reference(&format!("app@{}", old.digest.as_ref().unwrap()));
    assert_eq!(other.find(&pinned).await.unwrap().digest, old.digest);
    let listed = other.list().await.unwrap();
    let named: Vec<_> = listed.iter().map(|image| image.references.clone()).collect();
    assert!(named.contains(&vec!["app:1".to_owned()]) && named.contains(&vec![]), "{named:?}");
    // In use, it stays.
    assert_eq!(other.prune().await.unwrap().digests, Vec::<String>::new());
    let digest = old.digest.clone().unwrap();
    drop(old);
    let removed = other.prune().await.unwrap();
    assert_eq!((removed.digests, removed.freed), (vec![digest], 20));
    assert_eq!(scene.layers(), [1, 3]);
    assert_eq!(scene.names("leases").len(), 1);
    assert_eq!(scene.names("blobs/sha256").len(), 1);
    assert_eq!(scene.names("tmp"), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_name_for_the_same_image_is_only_a_name() {
    let scene = Scene::new();
    let image = scene.add("a:1", &[(1, 10)]).await.unwrap();
    scene.add("b:1", &[(1, 10)]).await.unwrap();
    let listed = scene.store.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].references, ["a:1", "b:1"]);
    let removed = scene.store.remove(&reference("a:1")).await.unwrap();
    assert_eq!((removed.references, removed.digests), (vec!["a:1".to_owned()], vec![]));
    assert_eq!(scene.store.find(&reference("b:1")).await.unwrap().digest, image.digest);
    let gone = scene.store.find(&reference("a:1")).await.unwrap_err();
    assert_eq!(gone.kind, ImageErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_in_use_is_not_removed_whoever_uses_it() {
    let scene = Scene::new();
    scene.add("a:1", &[(1, 10), (2, 20)]).await.unwrap();
    scene.add("b:1", &[(1, 10)]).await.unwrap();
    let other = scene.another();
    let used = other.find(&reference("a:1")).await.unwrap();
    let refused = scene.store.remove(&reference("a:1")).await.unwrap_err();
    assert_eq!(refused.kind, ImageErrorKind::InUse);
    assert_eq!(other.find(&reference("a:1")).await.unwrap(), used);
    let digest = used.digest.clone().unwrap();
    drop(used);
    let by_digest = reference(&format!("whatever@{digest}"));
    let removed = scene.store.remove(&by_digest).await.unwrap();
    assert_eq!((removed.references, removed.digests), (vec!["a:1".into()], vec![digest]));
    assert_eq!(removed.freed, 20);
    assert_eq!(scene.layers(), [1]);
    assert_eq!(other.find(&reference("a:1")).await.unwrap_err().kind, ImageErrorKind::NotFound);
    let missing = scene.store.remove(&reference("a:1")).await.unwrap_err();
    assert_eq!(missing.kind, ImageErrorKind::NotFound);
}

#[tokio::test]
async fn a_removed_image_can_come_again_and_is_found_in_every_process() {
    let scene = Scene::new();
    let other = scene.another();
    for _ in 0..3 {
        drop(scene.add("a:1", &[(1, 10)]).await.unwrap());
        assert!(other.find(&reference("a:1")).await.is_ok());
        assert!(scene.store.find(&reference("a:1")).await.is_ok());
        scene.store.remove(&reference("a:1")).await.unwrap();
        assert!(other.find(&reference("a:1")).await.is_err());
    }
}

#[tokio::test]
async fn lists_and_descriptions_say_what_is_known() {
    let scene = Scene::new();
    scene.add("app:1", &[(1, 10), (2, 20)]).await.unwrap();
    let details = scene.store.describe(&reference("app:1")).await.unwrap();
    assert_eq!(details.os, "linux");
    assert_eq!(details.config["Cmd"][0], "sh");
    assert_eq!(
        details.layers.iter().map(|layer| layer.size).collect::<Vec<_>>(),
        [Some(10), Some(20)]
    );
    assert_eq!(details.history[0].created_by.as_deref(), Some("RUN x"));
    assert_eq!((details.summary.size, details.summary.created), (30, Some(1_725_661_207)));
    assert_eq!(details.summary.references, ["app:1"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(details.summary.last_used.is_some_and(|used| now - used < 60));
    let missing = scene.store.describe(&reference("app:2")).await.unwrap_err();
    assert_eq!(missing.kind, ImageErrorKind::NotFound);
}

/// Run it alone, optimised: `cargo test --release --lib a_known_image -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes measurements"]
async fn a_known_image_is_found_in_less_than_50_microseconds() {
    const ROUNDS: u32 = 50_000;
    let scene = Scene::new();
    drop(scene.add("a:1", &[(1, 10), (2, 20)]).await.unwrap());
    let name = reference("a:1");
    for used in [false, true] {
        let held = scene.store.find(&name).await.unwrap();
        let held = used.then_some(held);
        let began = std::time::Instant::now();
        for _ in 0..ROUNDS {
            scene.store.find(&name).await.unwrap();
        }
        let each = began.elapsed() / ROUNDS;
        println!("in use: {used}, each {each:?}");
        assert!(each < Duration::from_micros(50), "{each:?}");
        drop(held);
    }
}

#[tokio::test]
async fn a_change_wakes_those_who_wait_in_this_process_and_in_others() {
    let scene = Scene::new();
    scene.add("a:1", &[(1, 10)]).await.unwrap();
    let other = scene.another();
    let (here, there) = (scene.store.changed(), other.changed());
    // A name that leads where it led before is no change.
    scene.add("a:1", &[(1, 10)]).await.unwrap();
    let nothing = timeout(Duration::from_millis(1500), scene.store.changed()).await;
    assert!(nothing.is_err());
    scene.add("a:1", &[(2, 10)]).await.unwrap();
    let both = async { tokio::join!(here, there) };
    timeout(Duration::from_secs(10), both).await.unwrap();
}
