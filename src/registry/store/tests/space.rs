//! The store's limit, and what goes when it is reached.

use std::time::{Duration, SystemTime};

use super::super::catalog::hex;
use super::{Scene, reference, wanted};
use crate::registry::{Image, ImageErrorKind, Images};

/// Writes down when an image was used.
fn used(scene: &Scene, image: &Image, seconds: u64) {
    let lease = scene.dir.path().join("store/leases").join(hex(image.digest.as_ref().unwrap()));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::open(lease).unwrap().set_modified(at).unwrap();
}

async fn is_here(scene: &Scene, name: &str) -> bool {
    scene.store.catalog.current().unwrap().index.find(&reference(name)).is_some()
}

/// Three images of 30 bytes beneath a limit of 100, used in the order c, a, b.
async fn full() -> Scene {
    let scene = Scene::limited(Some(100));
    let far = 10_000_000_000;
    for (name, layer, at) in [("a", 1, 2), ("b", 2, 3), ("c", 3, 1)] {
        let image = scene.add(name, &[(layer, 30)]).await.unwrap();
        used(&scene, &image, far + at);
    }
    scene
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let scene = full().await;
    let image = scene.add("d", &[(4, 30)]).await.unwrap();
    assert!(!is_here(&scene, "c").await);
    assert!(is_here(&scene, "a").await && is_here(&scene, "b").await);
    assert_eq!(scene.layers(), [1, 2, 4]);
    used(&scene, &image, 20_000_000_000);
    drop(image);
    scene.add("e", &[(5, 70)]).await.unwrap();
    assert!(!is_here(&scene, "a").await && !is_here(&scene, "b").await);
    assert_eq!(scene.layers(), [4, 5]);
}

#[tokio::test]
async fn what_is_in_use_never_goes() {
    let scene = full().await;
    let held = scene.another().find(&reference("c")).await.unwrap();
    scene.add("d", &[(4, 30)]).await.unwrap();
    assert!(is_here(&scene, "c").await && !is_here(&scene, "a").await);
    let error = scene.add("e", &[(5, 80)]).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NoSpace);
    assert!(error.detail.contains("IMAGE_STORE_SIZE"), "{error}");
    // What would not have been enough was not thrown away for nothing.
    assert!(is_here(&scene, "b").await && is_here(&scene, "d").await);
    drop(held);
    scene.add("e", &[(5, 80)]).await.unwrap();
    assert_eq!(scene.layers(), [5]);
}

#[tokio::test]
async fn what_unpacks_to_more_than_it_weighed_makes_room_as_well() {
    let scene = full().await;
    let image = std::sync::Arc::new(wanted("d", &[(4, 5)]));
    let plan = move |update: &mut super::super::catalog::Update| update.plan(&image, Some(100));
    let (plan, _) = scene.store.catalog.update(plan).await.unwrap();
    let work = std::sync::Arc::new(plan.unwrap().0);
    work.layer("layer-0").unwrap();
    assert_eq!(scene.layers(), [1, 2, 3]);
    for (bytes, fits) in [(101, false), (60, true)] {
        let work = std::sync::Arc::clone(&work);
        let place = move |update: &mut super::super::catalog::Update| {
            update.place(&work, "layer-0", super::id(4), bytes, Some(100))
        };
        assert_eq!(scene.store.catalog.update(place).await.is_ok(), fits);
    }
    assert_eq!(scene.layers(), [2, 4]);
}

#[tokio::test]
async fn shared_layers_count_once_and_stay_for_who_has_them() {
    let scene = Scene::limited(Some(100));
    drop(scene.add("a", &[(1, 40), (2, 40)]).await.unwrap());
    scene.add("b", &[(1, 40), (3, 50)]).await.unwrap();
    assert!(!is_here(&scene, "a").await);
    assert_eq!(scene.layers(), [1, 3]);
}
