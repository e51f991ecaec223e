use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::redirects::password_for;
use super::*;
use crate::registry::CredentialFiles;

const BASIC: &str = "Basic bWU6czNjcmV0";

fn bearer(realm: impl std::fmt::Display) -> Reply {
    let challenge = format!(
        r#"Bearer realm="{realm}",service="the service",scope="repository:other/thing:push""#
    );
    reply(401, "").with("WWW-Authenticate", challenge)
}

fn token(token: &str, seconds: u64) -> Reply {
    reply(200, json!({"token": token, "expires_in": seconds}).to_string())
}

/// A registry that wants a token, which it gives itself.
async fn with_tokens(seconds: u64) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::new(move |asked, own| {
        if asked.path.starts_with("/token") {
            return token(&format!("t{}", given.fetch_add(1, SeqCst)), seconds);
        }
        // Only the latest token is good.
        let good = format!("Bearer t{}", given.load(SeqCst).wrapping_sub(1));
        match asked.header("authorization") == good {
            true => manifest(image(), OCI),
            false => bearer(format_args!("http://{own}/token?x=1")),
        }
    })
    .await
}

fn paths(fake: &Fake) -> Vec<String> {
    let short =
        |path: String| path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    fake.asked().into_iter().map(|asked| short(asked.path)).collect()
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_and_kept() {
    let fake = with_tokens(300).await;
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[], credentials);
    client.manifest(&fake.reference()).await.unwrap();
    client.digest(&fake.reference()).await.unwrap();
    assert_eq!(paths(&fake), ["v1", "token", "v1", "v1"]);
    let asked = &fake.asked()[1];
    assert_eq!(asked.header("authorization"), BASIC);
    // What is asked for is ours to say, and never more than to pull this.
    let query = "/token?x=1&service=the+service&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(asked.path, query);
    let other = format!("{}/team/other:v1", fake.host).parse().unwrap();
    client.manifest(&other).await.unwrap();
    assert_eq!(paths(&fake)[4..], ["v1", "token", "v1"]);
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_sent() {
    let fake = with_tokens(0).await;
    let client = fake.client();
    client.manifest(&fake.reference()).await.unwrap();
    client.manifest(&fake.reference()).await.unwrap();
    assert_eq!(paths(&fake), ["v1", "token", "v1", "v1", "token", "v1"]);
    assert_eq!(fake.asked()[3].header("authorization"), "");
    assert_eq!(fake.asked()[1].header("authorization"), "");
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let fake = with_tokens(300).await;
    let (first, second) = (fake.client(), fake.client());
    first.manifest(&fake.reference()).await.unwrap();
    // Another client's token makes this one's void.
    second.manifest(&fake.reference()).await.unwrap();
    first.manifest(&fake.reference()).await.unwrap();
    assert_eq!(paths(&fake)[6..], ["v1", "token", "v1"]);
    assert_eq!(fake.asked()[6].header("authorization"), "Bearer t0");

    let never = Fake::new(|asked, own| match asked.path.starts_with("/token") {
        true => token("t", 300),
        false => bearer(format_args!("http://{own}/token")),
    })
    .await;
    let error = never.client().manifest(&never.reference()).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Auth, false));
    assert!(error.detail.contains("no such image or keeps it private"), "{error}");
    assert_eq!(never.asked().len(), 3);
}

#[tokio::test]
async fn a_password_is_sent_where_a_password_is_wanted() {
    let fake = Fake::new(|asked, _| match asked.header("authorization") {
        BASIC => manifest(image(), OCI),
        _ => reply(401, "").with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let (_folder, credentials) = password_for(&fake.host);
    fake.client_and(&[], credentials).manifest(&fake.reference()).await.unwrap();
    let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Auth);
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let fake = with_tokens(300).await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("auth.json");
    let auth = json!({"auths": {&fake.host: {"identitytoken": "s3cret&more"}}});
    fs::write(&file, auth.to_string()).unwrap();
    let files = CredentialFiles { auth_file: Some(file), ..CredentialFiles::default() };
    let client = fake.client_and(&[], Credentials::new(files));
    client.manifest(&fake.reference()).await.unwrap();
    let asked = &fake.asked()[1];
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/token?x=1"));
    assert_eq!(asked.header("authorization"), "");
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&client_id=oncebox&refresh_token=s3cret%26more\
         &service=the+service&scope=repository%3Ateam%2Fapp%3Apull"
    );
}

/// A registry that sends for tokens to another, and what came of it with a password for it.
async fn foreign(
    other: &Fake,
    client: impl Fn(&Fake, Credentials) -> Client,
) -> (Fake, ImageError) {
    let realm = format!("http://{}/token", other.host);
    let fake = Fake::new(move |_, _| bearer(&realm)).await;
    let (_folder, credentials) = password_for(&fake.host);
    let error = client(&fake, credentials).manifest(&fake.reference()).await.unwrap_err();
    assert!(!said(&error).contains("s3cret"), "{error}");
    (fake, error)
}

#[tokio::test]
async fn a_foreign_realm_is_told_nothing() {
    // The same machine's other ports are other hosts, unless the operator names them.
    let other = Fake::new(|_, _| token("t", 300)).await;
    let (_, error) = foreign(&other, |fake, credentials| fake.client_and(&[], credentials)).await;
    assert_eq!(error.kind, ImageErrorKind::NotAllowed, "{error}");
    assert_eq!(other.connections(), 0);
    foreign(&other, |fake, credentials| fake.client_and(&[&other], credentials)).await;
    assert_eq!(other.asked().len(), 1);
}

#[tokio::test]
async fn a_realm_without_tls_at_another_host_is_not_asked() {
    for realm in ["http://auth.example/token", "ftp://auth.example/", "nothing", "https://a:b@c/"] {
        let fake = Fake::new(move |_, _| bearer(realm)).await;
        let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
        assert_eq!((error.kind, error.passing), (ImageErrorKind::Auth, false), "{realm}: {error}");
        assert!(error.detail.contains("sign"), "{error}");
    }
}

#[tokio::test]
async fn a_realm_is_not_followed_elsewhere() {
    let other = Fake::new(|_, _| token("t", 300)).await;
    let there = format!("http://{}/token", other.host);
    let fake = Fake::new(move |asked, own| match asked.path.starts_with("/token") {
        true => reply(307, "").with("Location", &there),
        false => bearer(format_args!("http://{own}/token")),
    })
    .await;
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[&other], credentials);
    let error = client.manifest(&fake.reference()).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Unavailable, false));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_token_service_may_fail() {
    let cases = [
        (reply(401, "s3cret"), ImageErrorKind::Auth, false),
        (reply(403, "s3cret"), ImageErrorKind::Auth, false),
        (reply(404, "s3cret"), ImageErrorKind::Unavailable, false),
        (reply(429, "").with("Retry-After", "9"), ImageErrorKind::Unavailable, true),
        (reply(503, "s3cret"), ImageErrorKind::Unavailable, true),
        (reply(200, "s3cret"), ImageErrorKind::Unavailable, true),
        (reply(200, r#"{"token": ""}"#), ImageErrorKind::Unavailable, true),
        (token("s3cret\r\nX-Other: 1", 1), ImageErrorKind::Unavailable, true),
        (token(&"t".repeat(20_000), 1), ImageErrorKind::Unavailable, true),
        (reply(200, vec![b' '; 70_000]), ImageErrorKind::Unavailable, true),
    ];
    for (number, (answer, kind, passing)) in cases.into_iter().enumerate() {
        let wait = answer.status == 429;
        let fake = Fake::new(move |asked, own| match asked.path.starts_with("/token") {
            true => answer.clone(),
            false => bearer(format_args!("http://{own}/token")),
        })
        .await;
        let (_folder, credentials) = password_for(&fake.host);
        let client = fake.client_and(&[], credentials);
        let error = client.manifest(&fake.reference()).await.unwrap_err();
        assert_eq!((error.kind, error.passing), (kind, passing), "{number}: {error}");
        assert_eq!(error.retry_after.is_some(), wait);
        assert!(!said(&error).contains("s3cret"), "{number}: {error:?}");
        assert_eq!(fake.asked().len(), 2, "{number}");
    }
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let fake = with_tokens(300).await;
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[], credentials);
    client.manifest(&fake.reference()).await.unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("t0"), "{shown}");
}
