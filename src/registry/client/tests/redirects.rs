use std::fs;

use rstest::rstest;

use super::*;
use crate::registry::CredentialFiles;

fn to(location: impl Into<String>) -> Reply {
    reply(307, "").with("Location", location)
}

/// Credentials for a host, and the folder that holds them.
pub(super) fn password_for(host: &str) -> (tempfile::TempDir, Credentials) {
    let folder = tempfile::TempDir::new().unwrap();
    let auth = json!({"auths": {host: {"username": "me", "password": "s3cret"}}});
    fs::write(folder.path().join("config.json"), auth.to_string()).unwrap();
    let docker_config = Some(folder.path().to_owned());
    (folder, Credentials::new(CredentialFiles { docker_config, ..CredentialFiles::default() }))
}

/// A registry that wants a password, and redirects whoever has it.
async fn redirecting(to_where: impl Fn(&Asked, &str) -> String + Send + Sync + 'static) -> Fake {
    Fake::new(move |asked, own| match asked.header("authorization") {
        "" if asked.path.starts_with("/v2/") => {
            reply(401, "").with("WWW-Authenticate", r#"Basic realm="x""#)
        }
        _ => to(to_where(asked, own)),
    })
    .await
}

#[tokio::test]
async fn credentials_stay_with_the_registry() {
    let other = Fake::new(|_, _| manifest(image(), OCI)).await;
    let location = format!("http://{}/signed?key=1", other.host);
    let fake = redirecting(move |asked, _| match asked.path.as_str() {
        "/own" => location.clone(),
        _ => "/own".into(),
    })
    .await;
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[&other], credentials);
    client.manifest(&fake.reference()).await.unwrap();
    // Within the registry they are sent along.
    let own: Vec<_> = fake.asked().iter().map(|a| a.header("authorization").len() > 1).collect();
    assert_eq!(own, [false, true, true]);
    let there = &other.asked()[0];
    assert_eq!(there.path, "/signed?key=1");
    for name in ["authorization", "cookie", "referer"] {
        assert_eq!(there.header(name), "");
    }
}

#[tokio::test]
async fn credentials_do_not_come_back_with_the_redirect() {
    let home = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let back = home.clone();
    let other = Fake::new(move |_, _| to(format!("http://{}/back", back.get().unwrap()))).await;
    let there = format!("http://{}/there", other.host);
    let fake = redirecting(move |_, _| there.clone()).await;
    home.set(fake.host.clone()).unwrap();
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[&other], credentials);
    let error = client.manifest(&fake.reference()).await.unwrap_err();
    assert!(error.detail.contains("circle"), "{error}");
    let asked = fake.asked();
    let back = asked.iter().find(|asked| asked.path == "/back").unwrap();
    assert_eq!(back.header("authorization"), "");
}

#[tokio::test]
async fn another_hosts_401_is_not_answered() {
    let other = Fake::new(|_, _| reply(401, "").with("WWW-Authenticate", "Basic")).await;
    let there = format!("http://{}/there", other.host);
    let fake = redirecting(move |_, _| there.clone()).await;
    let (_folder, credentials) = password_for(&fake.host);
    let client = fake.client_and(&[&other], credentials);
    let error = client.manifest(&fake.reference()).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Unavailable, false), "{error}");
    assert_eq!(other.asked().len(), 1);
    assert_eq!(other.asked()[0].header("authorization"), "");
}

#[rstest]
#[case("/again")]
#[case("//HOST/again?")]
#[tokio::test]
async fn a_circle_ends(#[case] location: &'static str) {
    let fake = Fake::new(move |_, own| to(location.replace("HOST", own))).await;
    let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Unavailable, false), "{error}");
    assert_eq!(fake.asked().len(), 6);
}

#[tokio::test]
async fn five_hops_are_followed() {
    let fake = Fake::new(|asked, _| match asked.path.strip_prefix("/hop") {
        Some("5") => manifest(image(), OCI),
        Some(hop) => to(format!("/hop{}", hop.parse::<u32>().unwrap() + 1)),
        None => to("/hop1"),
    })
    .await;
    assert!(fake.client().manifest(&fake.reference()).await.is_ok());
}

#[rstest]
#[case("https://169.254.169.254/latest/meta-data/")]
#[case("https://10.0.0.1/")]
#[case("https://[::1]:5000/")]
#[case("https://[::ffff:169.254.169.254]/")]
#[case("https://2130706433/")]
#[case("https://0/")]
#[case("https://localhost/")]
#[tokio::test]
async fn a_private_address_is_refused(#[case] location: &'static str) {
    let fake = Fake::new(move |_, _| to(location)).await;
    let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::NotAllowed, false), "{error}");
    assert!(!said(&error).contains("169.254"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_not_named_is_refused() {
    let other = Fake::new(|_, _| manifest(image(), OCI)).await;
    let there = other.host.clone();
    let fake = Fake::new(move |_, _| to(format!("https://{there}/"))).await;
    let error = fake.client().manifest(&fake.reference()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NotAllowed, "{error}");
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_registry_at_a_private_address_has_to_be_named() {
    let fake = Fake::new(|_, _| manifest(image(), OCI)).await;
    for plain_http in [vec![], vec![fake.host.clone()]] {
        let options = ClientOptions { plain_http, times: short(), ..ClientOptions::default() };
        let client = Client::new(options).unwrap();
        let by_name = fake.host.replace("127.0.0.1", "localhost");
        for host in [&fake.host, &by_name] {
            let reference = format!("{host}/team/app:v1").parse().unwrap();
            let error = client.manifest(&reference).await.unwrap_err();
            assert_eq!(error.kind, ImageErrorKind::NotAllowed, "{error}");
        }
    }
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn a_host_that_is_gone_is_told_from_the_registry() {
    let gone = Fake::new(|_, _| manifest(image(), OCI)).await.host.clone();
    let there = format!("https://{gone}/");
    let fake = Fake::new(move |_, _| to(&there)).await;
    let hosts = vec![fake.host.clone(), gone];
    let options = ClientOptions {
        plain_http: hosts.clone(),
        private: hosts,
        times: short(),
        ..ClientOptions::default()
    };
    let error = Client::new(options).unwrap().manifest(&fake.reference()).await.unwrap_err();
    assert!(error.detail.contains("leads to a host that can't be reached"), "{error}");
    assert!(error.passing);
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn tls_is_not_left_for_a_plain_address_that_is_not_named() {
    let other = Fake::new(|_, _| manifest(image(), OCI)).await;
    let there = other.host.clone();
    let fake = Fake::new(move |_, _| to(format!("http://{there}/"))).await;
    let options = ClientOptions {
        plain_http: vec![fake.host.clone()],
        private: vec![fake.host.clone(), other.host.clone()],
        times: short(),
        ..ClientOptions::default()
    };
    let error = Client::new(options).unwrap().manifest(&fake.reference()).await.unwrap_err();
    assert!(error.detail.contains("without TLS") && !error.passing, "{error}");
    assert_eq!(other.connections(), 0);
}
