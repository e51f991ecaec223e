use std::fs;

use proptest::prelude::*;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

const HUB: &str = "docker.io";

fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.into(), password: password.into() }
}

/// What is found in a configuration folder with this `config.json`.
async fn found(registry: &str, json: &str) -> Result<Option<Credential>, ImageError> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), json).unwrap();
    let docker_config = Some(folder.path().to_owned());
    let files = CredentialFiles { auth_file: None, docker_config };
    Credentials::new(files).find(registry).await
}

#[rstest]
#[case(HUB, "https://index.docker.io/v1/")]
#[case(HUB, "docker.io")]
#[case(HUB, "index.docker.io")]
#[case("reg.example", "reg.example")]
#[case("reg.example", "https://reg.example")]
#[case("reg.example", "https://reg.example/v1/")]
#[case("reg.example", "http://REG.example/v2")]
#[case("reg.example:5000", "reg.example:5000")]
#[case("[::1]:5000", "https://[::1]:5000/v2/")]
#[tokio::test]
async fn every_form_of_a_key_is_known(#[case] registry: &str, #[case] key: &str) {
    // "me:pass:word"
    let json = format!(r#"{{"auths": {{"{key}": {{"auth": "bWU6cGFzczp3b3Jk"}}}}}}"#);
    assert!(found(registry, &json).await.unwrap() == Some(password("me", "pass:word")));
}

#[rstest]
#[case("reg.example", "reg.example:5000")]
#[case("reg.example:5000", "reg.example")]
#[case("reg.example", "https://reg.example/team/app")]
#[case("reg.example", "other.reg.example")]
#[case("reg.example", "reg.example.evil")]
#[case("example", "reg.example")]
#[case(HUB, "docker.io.evil")]
#[tokio::test]
async fn another_registrys_key_is_not_taken(#[case] registry: &str, #[case] key: &str) {
    let json = format!(r#"{{"auths": {{"{key}": {{"auth": "bWU6cGFzczp3b3Jk"}}}}}}"#);
    assert!(found(registry, &json).await.unwrap().is_none());
}

#[rstest]
#[case(r#"{"username": "me", "password": "p"}"#, Some(password("me", "p")))]
#[case(r#"{"auth": "bWU6cA=="}"#, Some(password("me", "p")))]
#[case(r#"{"auth": "bWU6cA"}"#, Some(password("me", "p")))]
#[case(r#"{"auth": "bWU6cAAA"}"#, Some(password("me", "p")))]
#[case(r#"{"auth": "bWU6cA==", "identitytoken": "t"}"#, Some(Credential::IdentityToken("t".into())))]
#[case("{}", None)]
#[case(r#"{"auth": "", "email": "x"}"#, None)]
#[tokio::test]
async fn every_form_of_an_entry_is_known(#[case] entry: &str, #[case] wanted: Option<Credential>) {
    let json = format!(r#"{{"HttpHeaders": {{}}, "auths": {{"reg.example": {entry}}}}}"#);
    assert!(found("reg.example", &json).await.unwrap() == wanted);
}

#[rstest]
#[case("not json s3cret")]
#[case(r#"{"auths": {"reg.example": "s3cret"}}"#)]
#[case(r#"{"auths": {"reg.example": {"auth": "s3cret!!"}}}"#)]
#[case(r#"{"auths": {"reg.example": {"auth": "bm9jb2xvbg=="}}}"#)]
#[case(r#"{"credsStore": "../../bin/s3cret"}"#)]
#[case(r#"{"credHelpers": {"reg.example": "a b; s3cret"}}"#)]
#[tokio::test]
async fn what_is_broken_is_an_error_without_its_text(#[case] json: &str) {
    let error = found("reg.example", json).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Auth, false));
    let said = format!("{error:?} {error}");
    assert!(said.contains("the credentials for reg.example can't be read"), "{said}");
    for secret in ["s3cret", "bm9jb2xvbg", "/tmp/"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn the_auth_file_stands_above_and_both_are_read_each_time() {
    let folder = TempDir::new().unwrap();
    let (own, docker) = (folder.path().join("own.json"), folder.path().join("config.json"));
    let files = CredentialFiles {
        auth_file: Some(own.clone()),
        docker_config: Some(folder.path().to_owned()),
    };
    let credentials = Credentials::new(files);
    assert!(credentials.find(HUB).await.unwrap().is_none());
    let entry = |name: &str| {
        format!(r#"{{"auths": {{"docker.io": {{"username": "{name}", "password": "p"}}}}}}"#)
    };
    fs::write(&docker, entry("docker")).unwrap();
    assert!(credentials.find(HUB).await.unwrap() == Some(password("docker", "p")));
    fs::write(&own, entry("own")).unwrap();
    assert!(credentials.find(HUB).await.unwrap() == Some(password("own", "p")));
    fs::write(&own, "{}").unwrap();
    assert!(credentials.find(HUB).await.unwrap() == Some(password("docker", "p")));
    fs::write(&own, " ".repeat(2 << 20)).unwrap();
    let error = credentials.find(HUB).await.unwrap_err();
    assert!(error.detail.contains("the file of REGISTRY_AUTH_FILE is broken"), "{error}");
}

/// What a helper answers that is this script.
async fn helped(script: &str, deadline: Duration) -> Result<Option<Credential>, Unreadable> {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("docker-credential-test");
    // Written by another process: what this one has open for writing, a test beside this one may
    // inherit, and then it can't be run.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
    let mut shell = std::process::Command::new("sh");
    let written = shell.args(["-c", write]).arg(&program).arg(script).status().unwrap();
    assert!(written.success());
    helper::run(program.to_str().unwrap(), "reg.example", deadline).await
}

#[tokio::test]
async fn a_helper_is_asked_as_docker_asks_it() {
    let echo = r#"test "$1" = get && read server; printf '{"ServerURL":"x","Username":"u-%s","Secret":"s"}' "$server""#;
    assert!(helped(echo, READ_TIME).await.unwrap() == Some(password("u-reg.example", "s")));
    let token = r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"t"}'"#;
    assert!(helped(token, READ_TIME).await.unwrap() == Some(Credential::IdentityToken("t".into())));
    let unknown = "echo 'credentials not found in native keychain'; exit 1";
    assert!(helped(unknown, READ_TIME).await.unwrap().is_none());
}

#[rstest]
#[case("echo s3cret; exit 1", "it says that it failed")]
#[case("echo s3cret", "not as it has to be")]
#[case("exec cat /dev/zero", "more than 65536 bytes")]
#[tokio::test]
async fn a_helper_that_fails_is_an_error_without_its_text(
    #[case] script: &str,
    #[case] cause: &str,
) {
    let error = helped(script, READ_TIME).await.unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn a_helper_that_hangs_is_ended() {
    let error = helped("exec sleep 1000", Duration::from_millis(100)).await.unwrap_err();
    assert!(error.cause.contains("no answer in 0.1 s"), "{error:?}");
}

#[tokio::test]
async fn a_helper_that_is_missing_is_named() {
    let error = found(HUB, r#"{"credsStore": "nobody-has-this"}"#).await.unwrap_err();
    assert!(error.detail.contains("docker-credential-nobody-has-this failed"), "{error}");
}

#[test]
fn a_credential_is_never_shown() {
    assert_eq!(format!("{:?}", Some(password("me", "p"))), "Some(Credential)");
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_sentence(text in ".{0,200}", key in ".{0,20}") {
        if let Ok(config) = Config::parse(text.as_bytes()) {
            let _ = config.inline("reg.example");
        }
        let json = serde_json::json!({"auths": {key.clone(): {"username": "u", "password": "p"}}});
        let config = Config::parse(json.to_string().as_bytes()).unwrap();
        let found = config.inline("reg.example").unwrap().is_some();
        prop_assert!(!found || key.contains("reg.example"));
    }
}
