//! A process may end at any moment, and several work in one store.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::super::work::Work;
use super::super::{folder, tree};
use super::{Scene, add, id, open, reference, wanted};
use crate::registry::Images;

#[tokio::test]
async fn work_of_the_dead_goes_and_work_of_the_living_stays() {
    let scene = Scene::new();
    let tmp = scene.dir.path().join("store/tmp");
    std::fs::create_dir_all(tmp.join("dead/layer-0/etc")).unwrap();
    std::fs::write(tmp.join("dead/layer-0/etc/passwd"), "x").unwrap();
    std::fs::write(tmp.join("dead/held"), "").unwrap();
    std::fs::create_dir_all(tmp.join("killed-before-its-lock")).unwrap();
    std::fs::write(tmp.join("no-folder"), "").unwrap();
    std::os::unix::fs::symlink("/", tmp.join("link")).unwrap();
    let begin =
        |update: &mut super::super::catalog::Update| Ok(Work::begin(&update.folder, &[]).unwrap());
    let (alive, _) = scene.store.catalog.update(begin).await.unwrap();
    let other = scene.another();
    other.prune().await.unwrap();
    // What opening has found goes behind our back.
    while scene.names("tmp").len() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(std::path::Path::new("/etc").exists());
    alive.close().await;
    assert_eq!(scene.names("tmp"), Vec::<String>::new());
}

#[tokio::test]
async fn layers_that_were_whole_are_there_for_the_next_attempt() {
    let scene = Scene::new();
    let image = Arc::new(wanted("a:1", &[(1, 10), (2, 20)]));
    let planned = Arc::clone(&image);
    let plan = scene.store.catalog.update(move |update| update.plan(&planned, None)).await.unwrap();
    let work = Arc::new(plan.0.unwrap().0);
    work.layer("layer-0").unwrap();
    let placing = Arc::clone(&work);
    let place = move |update: &mut super::super::catalog::Update| {
        update.place(&placing, "layer-0", id(1), 10, None)
    };
    scene.store.catalog.update(place).await.unwrap();
    // The pull is alive, so nobody takes its layer away.
    scene.another().prune().await.unwrap();
    assert_eq!(scene.layers(), [1]);
    let folder = work.layer("layer-1").unwrap();
    drop(folder);
    drop(Arc::into_inner(work).unwrap());
    while !scene.names("tmp").is_empty() {
        tokio::task::yield_now().await;
    }
    let other = scene.another();
    let (planned, before) = (Arc::clone(&image), scene.layers());
    let (plan, _) = other.catalog.update(move |update| update.plan(&planned, None)).await.unwrap();
    let (work, here, bytes) = plan.unwrap();
    assert_eq!((before, here.into_iter().collect::<Vec<_>>(), bytes), (vec![1], vec![id(1)], 10));
    work.close().await;
    assert_eq!(other.prune().await.unwrap().digests, Vec::<String>::new());
    assert_eq!(scene.layers(), Vec::<u8>::new());
}

#[tokio::test]
async fn what_the_index_does_not_name_is_never_used() {
    let scene = Scene::new();
    let stray = scene.store.layers_path().join(id(1).to_string());
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("half"), "x").unwrap();
    scene.add("a:1", &[(1, 10)]).await.unwrap();
    assert!(!stray.join("half").exists() && stray.join("file").exists());
    std::fs::create_dir(scene.store.layers_path().join(id(9).to_string())).unwrap();
    std::fs::write(scene.dir.path().join("store/leases/stray"), "").unwrap();
    std::fs::write(scene.dir.path().join("store/blobs/sha256/stray.new"), "").unwrap();
    scene.another();
    assert_eq!(scene.layers(), [1]);
    assert_eq!((scene.names("leases").len(), scene.names("blobs/sha256").len()), (1, 1));
}

#[tokio::test]
async fn after_a_restart_of_the_machine_only_finished_images_count() {
    let scene = Scene::new();
    scene.add("a:1", &[(1, 10)]).await.unwrap();
    let image = Arc::new(wanted("b:1", &[(2, 20)]));
    let (plan, _) =
        scene.store.catalog.update(move |update| update.plan(&image, None)).await.unwrap();
    let work = Arc::new(plan.unwrap().0);
    work.layer("layer-0").unwrap();
    let placing = Arc::clone(&work);
    let place = move |update: &mut super::super::catalog::Update| {
        update.place(&placing, "layer-0", id(2), 20, None)
    };
    scene.store.catalog.update(place).await.unwrap();
    Arc::into_inner(work).unwrap().close().await;
    scene.another();
    assert_eq!(scene.layers(), [1, 2]);
    std::fs::write(scene.dir.path().join("store/boot"), "another").unwrap();
    let store = scene.another();
    assert_eq!(scene.layers(), [1]);
    assert!(store.find(&reference("a:1")).await.is_ok());
}

#[tokio::test]
async fn an_image_whose_layers_went_is_none_and_can_come_again() {
    let scene = Scene::new();
    drop(scene.add("a:1", &[(1, 10), (2, 20)]).await.unwrap());
    std::fs::remove_dir_all(scene.store.layers_path().join(id(2).to_string())).unwrap();
    let other = scene.another();
    assert!(other.find(&reference("a:1")).await.is_err());
    assert!(scene.store.find(&reference("a:1")).await.is_err());
    add(&other, "a:1", &[(1, 10), (2, 20)]).await.unwrap();
    assert!(scene.store.find(&reference("a:1")).await.is_ok());
}

#[tokio::test]
async fn a_damaged_index_is_said_and_not_overwritten() {
    let scene = Scene::new();
    scene.add("a:1", &[(1, 10)]).await.unwrap();
    let index = scene.dir.path().join("store/index.json");
    for text in ["{\"version\":1,\"images\":", "{\"version\":2,\"images\":{},\"layers\":{}}"] {
        std::fs::write(&index, text).unwrap();
        let refused = open(scene.dir.path(), None).err().unwrap();
        assert!(refused.contains("index.json"), "{refused}");
        assert_eq!(std::fs::read_to_string(&index).unwrap(), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_share_one_store() {
    let scene = Scene::new();
    let adding = (0..8_u8).map(|n| {
        let store = scene.another();
        tokio::spawn(async move {
            for round in 0..4_u8 {
                let layers = [(1, 10), (2 + round, 20), (100 + n, 30)];
                add(&store, &format!("app{n}:{round}"), &layers).await.unwrap();
                store.prune().await.unwrap();
                assert!(store.find(&reference(&format!("app{n}:{round}"))).await.is_ok());
            }
        })
    });
    for added in adding.collect::<Vec<_>>() {
        added.await.unwrap();
    }
    assert_eq!(scene.store.list().await.unwrap().len(), 32);
    assert_eq!(scene.layers().len(), 1 + 4 + 8);
    for n in 0..8 {
        assert!(scene.store.find(&reference(&format!("app{n}:3"))).await.is_ok());
    }
}

#[test]
fn folders_of_any_kind_go_and_what_links_lead_to_stays() {
    let dir = tempfile::TempDir::new().unwrap();
    let (tree_at, canary) = (dir.path().join("tree"), dir.path().join("canary"));
    std::fs::write(&canary, "alive").unwrap();
    let mut deep = tree_at.clone();
    for _ in 0..300 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), "12345").unwrap();
    std::fs::hard_link(&canary, tree_at.join("hard")).unwrap();
    std::os::unix::fs::symlink(dir.path(), tree_at.join("soft")).unwrap();
    let locked = tree_at.join("locked");
    std::fs::create_dir_all(locked.join("inner")).unwrap();
    let closed = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o0);
    std::fs::set_permissions(locked.join("inner"), closed.clone()).unwrap();
    std::fs::set_permissions(&locked, closed).unwrap();
    let parent = std::fs::File::open(dir.path()).unwrap();
    assert_eq!(tree::remove(parent.as_fd(), "tree").unwrap(), 5);
    assert_eq!(tree::remove(parent.as_fd(), "tree").unwrap(), 0);
    assert_eq!(folder::names(&parent).unwrap(), ["canary"]);
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
}
