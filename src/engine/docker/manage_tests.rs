use std::sync::Mutex;

use rstest::rstest;
use serde_json::json;

use super::super::fake::{Answer, Fake};
use super::*;

const PINNED: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn listed(id: &str, tags: &[&str], digests: &[String], created: i64) -> serde_json::Value {
    json!({
        "Id": id, "ParentId": "", "RepoTags": tags, "RepoDigests": digests, "Created": created,
        "Size": 7, "SharedSize": -1, "Labels": null, "Containers": -1, "VirtualSize": 7,
    })
}

/// A daemon with an image by two names at one registry and one at another, a local one, and one
/// whose tag has moved on. `used`: a container has the first.
async fn daemon(used: bool) -> (Fake, Daemon) {
    let deleted = Mutex::new(Vec::new());
    let fake = Fake::start(move |method, path| {
        let digests =
            [format!("busybox@{PINNED}"), "reg.example/busybox@sha256:d1".into()];
        let path = path.split('?').next().unwrap_or_default();
        match (method, path) {
            ("GET", "/images/json") => Answer::ok(
                &json!([
                    listed("sha256:1", &["busybox:1", "busybox:2", "reg.example/busybox:1"], &digests, 10),
                    listed("sha256:2", &["mine:1"], &["<none>@<none>".into()], 30),
                    listed("sha256:3", &["<none>:<none>"], &["busybox@sha256:d3".into()], -1),
                ])
                .to_string(),
            ),
            ("GET", "/containers/json") => {
                let image = if used { "sha256:1" } else { "sha256:child" };
                Answer::ok(&json!([{ "Id": "c", "ImageID": image }]).to_string())
            }
            ("GET", path) if path.ends_with("/history") => Answer::ok(
                &json!([
                    { "Id": "sha256:1", "Created": 951_827_696, "CreatedBy": "ENV X=1", "Tags": null, "Size": 0, "Comment": "" },
                    { "Id": "<missing>", "Created": -62_135_596_800_i64, "CreatedBy": "", "Tags": null, "Size": 7, "Comment": "from -" },
                ])
                .to_string(),
            ),
            ("GET", path) if path.contains("none") => Answer::Status(404, "{}".into()),
            ("GET", _) => Answer::ok(
                &json!({
                    "Id": "sha256:1", "Os": "linux", "Architecture": "s390x", "Size": 7,
                    "RepoTags": ["busybox:1", "busybox:2", "reg.example/busybox:1"],
                    "RepoDigests": digests, "Config": { "Env": ["A=b"] },
                    "RootFS": { "Type": "layers", "Layers": ["sha256:l1", "sha256:l2"] },
                })
                .to_string(),
            ),
            ("DELETE", path) => {
                let mut deleted = deleted.lock().unwrap();
                deleted.push(path.to_owned());
                match (path, deleted.len()) {
                    (_, 1) if used => Answer::Status(409, r#"{"message":"conflict"}"#.into()),
                    (_, 1) => Answer::ok(r#"[{"Untagged":"docker.io/library/busybox:1"}]"#),
                    (_, 2) => Answer::ok(r#"[{"Untagged":"busybox:2"},{"Untagged":"bad name"}]"#),
                    (_, 3) => Answer::ok(r#"[{"Deleted":"sha256:1"},{"Deleted":"sha256:l2"}]"#),
                    _ => Answer::Status(404, r#"{"message":"No such image"}"#.into()),
                }
            }
            ("POST", "/images/prune") => Answer::ok(
                &json!({
                    "ImagesDeleted": [
                        { "Untagged": format!("busybox@{PINNED}") },
                        { "Deleted": "sha256:3" }, { "Deleted": "sha256:layer" },
                    ],
                    "SpaceReclaimed": 7,
                })
                .to_string(),
            ),
            _ => Answer::Status(500, "{}".into()),
        }
    })
    .await;
    let daemon = Daemon::new(Some(&fake.host())).unwrap();
    (fake, daemon)
}

#[tokio::test]
async fn images_are_listed_by_what_their_names_mean() {
    let (_fake, daemon) = daemon(false).await;
    let used = Used::from([("sha256:d1".to_owned(), 99)]);
    let all = list(&daemon, used).await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|one| (one.digest.as_str(), one.references.join(" "), one.created, one.last_used))
        .collect();
    let expected = [
        ("sha256:d1", "reg.example/busybox:1".to_owned(), Some(10), Some(99)),
        ("sha256:2", "mine:1".to_owned(), Some(30), None),
        (PINNED, "busybox:1 busybox:2".to_owned(), Some(10), None),
        ("sha256:d3", String::new(), None, None),
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn an_image_is_described_in_its_own_words() {
    let (_fake, daemon) = daemon(false).await;
    let used = Used::from([(PINNED.to_owned(), 99)]);
    let details = describe(&daemon, &"busybox:2".parse().unwrap(), used).await.unwrap();
    let summary = Summary {
        digest: PINNED.into(),
        references: vec!["busybox:1".into(), "busybox:2".into()],
        size: 7,
        created: Some(10),
        last_used: Some(99),
    };
    assert_eq!(details.summary, summary);
    assert_eq!((details.os.as_str(), details.architecture.as_str()), ("linux", "s390x"));
    assert_eq!(details.config["Env"], json!(["A=b"]));
    let layers: Vec<_> = details.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    assert_eq!(layers, ["sha256:l1", "sha256:l2"]);
    let first = HistoryEntry { comment: Some("from -".into()), ..HistoryEntry::default() };
    let second = HistoryEntry {
        created: Some("2000-02-29T12:34:56Z".into()),
        created_by: Some("ENV X=1".into()),
        comment: None,
        empty_layer: true,
    };
    assert_eq!(details.history, [first, second]);
    let missing = describe(&daemon, &"none".parse().unwrap(), Used::new()).await.unwrap_err();
    assert_eq!(missing.kind, ImageErrorKind::NotFound);
}

#[tokio::test]
async fn a_name_is_removed_and_no_more() {
    let (mut fake, daemon) = daemon(false).await;
    let removed = remove(&daemon, &"busybox:1".parse().unwrap()).await.unwrap();
    let expected = Removed { references: vec!["busybox:1".into()], ..Removed::default() };
    assert_eq!(removed, expected);
    let calls = fake.heard();
    let deletes: Vec<_> = calls.iter().filter(|call| call.starts_with("DELETE")).collect();
    assert_eq!(deletes.len(), 1);
    assert!(deletes[0].starts_with("DELETE /images/docker.io/library/busybox:1?"), "{deletes:?}");
    assert!(deletes[0].contains("force=false"), "{deletes:?}");
}

#[tokio::test]
async fn a_digest_is_removed_with_all_its_names() {
    let (mut fake, daemon) = daemon(false).await;
    let reference = format!("busybox@{PINNED}").parse().unwrap();
    let removed = remove(&daemon, &reference).await.unwrap();
    assert_eq!(removed.references, ["busybox:1", "busybox:2"]);
    assert_eq!(removed.digests, [PINNED]);
    let calls = fake.heard();
    let deleted = |name: &str| {
        let path = format!("DELETE /images/{name}?");
        calls.iter().any(|call| call.starts_with(&path))
    };
    for name in
        ["docker.io/library/busybox:1", "docker.io/library/busybox:2", "reg.example/busybox:1"]
    {
        assert!(deleted(name), "{name}: {calls:?}");
    }
    assert!(deleted(&format!("docker.io/library/busybox@{PINNED}")), "{calls:?}");
}

#[tokio::test]
async fn an_image_in_use_keeps_all_its_names() {
    let (mut fake, daemon) = daemon(true).await;
    let reference = format!("busybox@{PINNED}").parse().unwrap();
    let error = remove(&daemon, &reference).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::InUse);
    assert!(!fake.heard().iter().any(|call| call.starts_with("DELETE")));
    let error = remove(&daemon, &"busybox:1".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::InUse);
    assert!(!error.detail.contains("conflict") && error.cause.contains("conflict"), "{error:?}");
    let error = remove(&daemon, &"none".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotFound);
    let error = remove(&daemon, &Reference::host()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotFound);
}

#[tokio::test]
async fn pruning_tells_which_images_are_gone() {
    let (mut fake, daemon) = daemon(false).await;
    let removed = prune(&daemon).await.unwrap();
    let references = vec![format!("busybox@{PINNED}")];
    let expected = Removed { references, digests: vec!["sha256:d3".into()], freed: 7 };
    assert_eq!(removed, expected);
    let calls = fake.heard();
    let filters = "filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
    assert!(calls.iter().any(|call| call == &format!("POST /images/prune?{filters}")), "{calls:?}");
}

#[rstest]
#[case(0, "1970-01-01T00:00:00Z")]
#[case(951_782_399, "2000-02-28T23:59:59Z")]
#[case(951_827_696, "2000-02-29T12:34:56Z")]
#[case(978_307_200, "2001-01-01T00:00:00Z")]
#[case(1_709_251_199, "2024-02-29T23:59:59Z")]
#[case(1_709_251_200, "2024-03-01T00:00:00Z")]
#[case(4_107_542_400, "2100-03-01T00:00:00Z")]
#[case(253_402_300_799, "9999-12-31T23:59:59Z")]
fn seconds_are_written_as_dates(#[case] seconds: i64, #[case] date: &str) {
    assert_eq!(rfc3339(seconds), date);
}
