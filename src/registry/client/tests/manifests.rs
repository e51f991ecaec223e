use rstest::rstest;

use super::*;

fn index(body: &str, media_type: &str) -> String {
    let mut entry = descriptor(media_type, body.as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": architecture()});
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string()
}

/// A registry with an index under the tag, and this under the digest in it.
async fn indexed(index: String, body: String, content_type: &'static str) -> Fake {
    Fake::new(move |asked, _| match asked.path.ends_with("/v1") {
        true => manifest(index.clone(), INDEX),
        false => manifest(body.clone(), content_type),
    })
    .await
}

async fn fails(answer: Reply) -> ImageError {
    let fake = Fake::new(move |_, _| answer.clone()).await;
    fake.client().manifest(&fake.reference()).await.unwrap_err()
}

#[tokio::test]
async fn a_manifest_comes_with_its_digest() {
    let fake = Fake::new(|_, _| manifest(image(), OCI)).await;
    let found = fake.client().manifest(&fake.reference()).await.unwrap();
    assert_eq!(found.digest, sha256(image()));
    assert_eq!(found.manifest.layers[0].digest, sha256("layer"));
    let asked = &fake.asked()[0];
    assert_eq!((&*asked.method, &*asked.path), ("GET", "/v2/team/app/manifests/v1"));
    assert_eq!(asked.header("accept-encoding"), "identity");
    assert!(asked.header("accept").contains("manifest.list.v2+json"));
    assert_eq!(asked.header("authorization"), "");
}

#[tokio::test]
async fn an_index_leads_to_the_manifest_for_this_machine() {
    let index = index(&image(), OCI);
    let fake = indexed(index.clone(), image(), OCI).await;
    let found = fake.client().manifest(&fake.reference()).await.unwrap();
    assert_eq!(found.digest, sha256(index));
    assert_eq!(found.manifest.layers.len(), 1);
    let paths: Vec<_> = fake.asked().into_iter().map(|asked| asked.path).collect();
    let second = format!("/v2/team/app/manifests/{}", sha256(image()));
    assert_eq!(paths, ["/v2/team/app/manifests/v1", &second]);
}

#[tokio::test]
async fn a_digest_is_one_head_request() {
    let fake = Fake::new(|_, _| manifest(image(), OCI)).await;
    assert_eq!(fake.client().digest(&fake.reference()).await.unwrap(), sha256(image()));
    let methods: Vec<_> = fake.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["HEAD"]);
}

#[tokio::test]
async fn a_digest_that_is_not_said_is_computed() {
    let fake = Fake::new(|_, _| reply(200, image()).with("Content-Type", OCI)).await;
    assert_eq!(fake.client().digest(&fake.reference()).await.unwrap(), sha256(image()));
    let page = Fake::new(|_, _| reply(200, "<html>").with("Content-Type", "text/html")).await;
    let error = page.client().digest(&page.reference()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt);
}

#[tokio::test]
async fn what_is_not_its_digest_is_corrupt() {
    let other = manifest(image(), OCI);
    let header = reply(200, image())
        .with("Content-Type", OCI)
        .with("Docker-Content-Digest", sha256("other"));
    assert_eq!(fails(header.clone()).await.kind, ImageErrorKind::Corrupt);
    for answer in [other, header] {
        let fake = Fake::new(move |_, _| answer.clone()).await;
        let by_digest = format!("{}/team/app@{}", fake.host, sha256("wanted")).parse().unwrap();
        let error = fake.client().manifest(&by_digest).await.unwrap_err();
        assert!(error.kind == ImageErrorKind::Corrupt && error.passing, "{error}");
        let error = fake.client().digest(&by_digest).await.unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn what_an_index_promises_has_to_come() {
    let body = image();
    let cases = [
        // An image whose bytes are another's, a type that is another's, an index in an index.
        (index("other", OCI), body.clone(), OCI),
        (index(&body, INDEX), body.clone(), OCI),
        (index(&index(&body, OCI), OCI), index(&body, OCI), INDEX),
        (index(&body, "application/vnd.docker.distribution.manifest.v2+json"), body.clone(), OCI),
        (index(&body, OCI).replacen("\"size\":", "\"size\":1", 1), body.clone(), OCI),
    ];
    for (number, (index, body, content_type)) in cases.into_iter().enumerate() {
        let fake = indexed(index, body, content_type).await;
        let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
        let nested = number == 1;
        let kind = if nested { ImageErrorKind::Unsupported } else { ImageErrorKind::Corrupt };
        assert_eq!(error.kind, kind, "{number}: {error}");
        assert_eq!(fake.asked().len(), if nested { 1 } else { 2 }, "{number}");
    }
}

#[rstest]
#[case(Some(10 << 20))]
#[case(None)]
#[tokio::test]
async fn a_manifest_of_ten_mebibytes_is_not_read(#[case] length: Option<usize>) {
    let large = reply(200, vec![b' '; 10 << 20]).with("Content-Type", OCI).declaring(length);
    let error = fails(large).await;
    assert_eq!(error.kind, ImageErrorKind::Unsupported);
    assert!(error.detail.contains("more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn a_web_page_is_no_manifest() {
    let error = fails(reply(200, "<html>s3cret").with("Content-Type", "text/html")).await;
    assert!(error.kind == ImageErrorKind::Corrupt && error.passing);
    assert!(!said(&error).contains("s3cret"));
}

#[rstest]
#[case(400, ImageErrorKind::Unavailable, false)]
#[case(401, ImageErrorKind::Auth, false)]
#[case(403, ImageErrorKind::Auth, false)]
#[case(404, ImageErrorKind::NotFound, false)]
#[case(405, ImageErrorKind::Unavailable, false)]
#[case(408, ImageErrorKind::Unavailable, true)]
#[case(418, ImageErrorKind::Unavailable, false)]
#[case(429, ImageErrorKind::Unavailable, true)]
#[case(500, ImageErrorKind::Unavailable, true)]
#[case(503, ImageErrorKind::Unavailable, true)]
#[case(204, ImageErrorKind::Unavailable, false)]
#[case(304, ImageErrorKind::Unavailable, false)]
#[tokio::test]
async fn every_status_has_its_meaning(
    #[case] status: u16,
    #[case] kind: ImageErrorKind,
    #[case] passing: bool,
) {
    let body = r#"{"errors": [{"code": "DENIED", "message": "s3cret"}]}"#;
    let answer = reply(status, if status > 399 { body } else { "" });
    let error = fails(answer.with("X-Secret", "s3cret").with("Retry-After", "7")).await;
    assert_eq!((error.kind, error.passing), (kind, passing), "{error}");
    if status > 401 {
        assert_eq!(error.cause, format!("status {status}, DENIED"));
    }
    assert_eq!(error.retry_after.is_some(), kind == ImageErrorKind::Unavailable);
    let said = said(&error);
    assert!(!said.contains("s3cret") && !said.contains("/v2/"), "{said}");
}

#[rstest]
#[case("1", Some(1))]
#[case("3600", Some(3600))]
#[case("Fri, 31 Dec 9999 23:59:59 GMT", Some(86400))]
#[case("garbage", None)]
#[tokio::test]
async fn a_registry_may_say_when_to_come_again(#[case] text: &str, #[case] seconds: Option<u64>) {
    let error = fails(reply(429, "").with("Retry-After", text)).await;
    assert_eq!(error.retry_after, seconds.map(Duration::from_secs));
    assert!(error.passing);
}

#[tokio::test]
async fn an_unknown_manifest_is_not_found_whatever_the_status() {
    let error = fails(reply(400, r#"{"errors": [{"code": "MANIFEST_UNKNOWN"}]}"#)).await;
    assert_eq!(error.kind, ImageErrorKind::NotFound);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let fake = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = fake.local_addr().unwrap().to_string();
    let options = ClientOptions {
        plain_http: vec![host.clone()],
        private: vec![host.clone()],
        times: short(),
        ..ClientOptions::default()
    };
    let client = Client::new(options).unwrap();
    let reference = format!("{host}/team/app:v1").parse().unwrap();
    // The kernel takes the connection, and nobody answers.
    let error = client.manifest(&reference).await.unwrap_err();
    assert!(error.kind == ImageErrorKind::Timeout && error.passing, "{error}");
    // Nobody is there at all.
    drop(fake);
    let error = client.manifest(&reference).await.unwrap_err();
    assert!(error.kind == ImageErrorKind::Unavailable && error.passing, "{error}");
    assert!(error.detail.contains("can't be reached"), "{error}");
}

#[rstest]
#[case(End::Silence, ImageErrorKind::Timeout)]
#[case(End::Drip, ImageErrorKind::Timeout)]
#[case(End::Close, ImageErrorKind::Unavailable)]
#[tokio::test]
async fn a_manifest_that_stops_coming_fails(#[case] end: End, #[case] kind: ImageErrorKind) {
    let error = fails(manifest("{", OCI).declaring(Some(100_000)).ending(end)).await;
    assert!(error.kind == kind && error.passing, "{error}");
}

#[tokio::test]
async fn only_sha256_is_known() {
    let fake = Fake::new(|_, _| manifest(image(), OCI)).await;
    let digest = format!("sha512:{}", "a".repeat(128));
    let reference = format!("{}/team/app@{digest}", fake.host).parse().unwrap();
    let error = fake.client().manifest(&reference).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Unsupported);
    let odd = Descriptor { media_type: String::new(), digest: "../../x".into(), size: 1 };
    let error = fake.client().blob(&fake.reference(), &odd).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Unsupported);
    assert_eq!(fake.connections(), 0);
}
