use rstest::rstest;

use super::ImageErrorKind::{
    Auth, Corrupt, EngineFailed, NoSpace, NotFound, Timeout, Unavailable, Unsupported,
};
use super::*;

fn reference() -> Reference {
    "reg.example:5000/team/tool:1".parse().unwrap()
}

fn password() -> Credential {
    Credential::Password { username: "me".into(), password: "hunter2".into() }
}

/// The status of the daemon's answer, 0 where it had begun already, and what it said then. Those of
/// 20.10 were heard from one; those of containerd's image store are as its users report them.
#[rstest]
#[case(
    404,
    "manifest for reg.example:5000/team/tool:1 not found: manifest unknown: manifest unknown",
    NotFound,
    false
)]
#[case(
    404,
    "repository reg.example:5000/team/tool not found: name unknown: repository name not known to registry",
    NotFound,
    false
)]
#[case(
    404,
    "pull access denied for tool, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
    NotFound,
    false
)]
#[case(
    500,
    "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
    Auth,
    false
)]
#[case(429, "error from registry: You have reached your limit", Unavailable, true)]
#[case(
    404,
    "failed to resolve reference \"reg.example:5000/team/tool:1\": reg.example:5000/team/tool:1: not found",
    NotFound,
    false
)]
#[case(
    404,
    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
    NotFound,
    false
)]
#[case(
    500,
    "error parsing HTTP 404 response body: invalid character '<' looking for beginning of value: \"<html>\"",
    NotFound,
    false
)]
#[case(0, "unknown blob", NotFound, false)]
#[case(500, "unauthorized: authentication required", Auth, false)]
#[case(
    500,
    "Head \"http://reg.example:5000/v2/team/tool/manifests/1\": no basic auth credentials",
    Auth,
    false
)]
#[case(
    500,
    "Get \"https://registry-1.docker.io/v2/\": unauthorized: incorrect username or password",
    Auth,
    false
)]
#[case(
    500,
    "error parsing HTTP 403 response body: unexpected end of JSON input: \"\"",
    Auth,
    false
)]
#[case(
    500,
    "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://10.0.0.1:443/token?scope=200: 401 Unauthorized",
    Auth,
    false
)]
#[case(
    0,
    "error pulling image configuration: download failed after attempts=1: unauthorized: no",
    Auth,
    false
)]
#[case(500, "toomanyrequests: You have reached your pull rate limit", Unavailable, true)]
#[case(
    500,
    "error parsing HTTP 429 response body: unexpected end of JSON input: \"\"",
    Unavailable,
    true
)]
#[case(
    500,
    "unexpected status from HEAD request to https://reg.example:5000/v2/team/tool/manifests/1: 429 Too Many Requests",
    Unavailable,
    true
)]
#[case(500, "received unexpected HTTP status: 503 Service Unavailable", Unavailable, true)]
#[case(
    500,
    "unexpected status code https://reg.example:5000/v2/team/tool/blobs/sha256:123: 502 Bad Gateway",
    Unavailable,
    true
)]
#[case(500, "received unexpected HTTP status: 504 Gateway Timeout", Timeout, true)]
#[case(
    500,
    "error parsing HTTP 400 response body: invalid character '<' looking for beginning of value: \"\"",
    Unavailable,
    false
)]
#[case(500, "unknown: bad request", Unavailable, false)]
#[case(500, "Head \"/v2/team/tool/manifests/1\": stopped after 10 redirects", Unavailable, false)]
#[case(
    500,
    "Get \"http://reg.example:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused",
    Unavailable,
    true
)]
#[case(
    500,
    "Head \"http://reg.example:5000/v2/team/tool/manifests/1\": read tcp 127.0.0.1:2->127.0.0.1:5000: read: connection reset by peer",
    Unavailable,
    true
)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": dial tcp: lookup reg.example on 10.0.0.53:53: no such host",
    Unavailable,
    true
)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": dial tcp: lookup reg.example on 10.0.0.53:53: server misbehaving",
    Unavailable,
    true
)]
#[case(500, "Head \"http://reg.example:5000/v2/team/tool/manifests/1\": EOF", Unavailable, true)]
#[case(0, "expected HTTP 206 from byte range request", Unavailable, true)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": x509: certificate signed by unknown authority",
    Unavailable,
    false
)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": http: server gave HTTP response to HTTPS client",
    Unavailable,
    false
)]
#[case(500, "Get \"https://reg.example:5000/v2/\": net/http: TLS handshake timeout", Timeout, true)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
    Timeout,
    true
)]
#[case(500, "Get \"https://reg.example:5000/v2/\": context deadline exceeded", Timeout, true)]
#[case(
    500,
    "Get \"https://reg.example:5000/v2/\": dial tcp 10.0.0.1:5000: i/o timeout",
    Timeout,
    true
)]
#[case(0, "filesystem layer verification failed for digest sha256:f2", Corrupt, true)]
#[case(
    0,
    "error pulling image configuration: image config verification failed for digest sha256:7c",
    Corrupt,
    true
)]
#[case(500, "manifest verification failed for digest sha256:7c", Corrupt, true)]
#[case(
    0,
    "failed to register layer: Error processing tar file(exit status 1): unexpected EOF",
    Corrupt,
    true
)]
#[case(
    0,
    "failed to register layer: Error processing tar file(exit status 1): archive/tar: invalid tar header",
    Corrupt,
    true
)]
#[case(0, "layers from manifest don't match image configuration", Corrupt, true)]
#[case(
    0,
    "failed commit on ref \"layer-sha256:1\": unexpected commit digest sha256:2, expected sha256:1: failed precondition",
    Corrupt,
    true
)]
#[case(
    0,
    "failed commit on ref \"layer-sha256:1\": \"layer-sha256:1\" failed size validation: 2 != 1: failed precondition",
    Corrupt,
    true
)]
#[case(
    500,
    "error unmarshalling content: invalid character '<' looking for beginning of value",
    Corrupt,
    true
)]
#[case(0, "no matching manifest for linux/amd64 in the manifest list entries", Unsupported, false)]
#[case(404, "no match for platform in manifest: not found", Unsupported, false)]
#[case(0, "image operating system \"windows\" cannot be used on this platform", Unsupported, false)]
#[case(0, "unsupported media type application/vnd.cncf.helm.config.v1+json", Unsupported, false)]
#[case(500, "missing signature key", Unsupported, false)]
#[case(400, "invalid reference format", Unsupported, false)]
#[case(0, "write /var/lib/docker/tmp/GetImageBlob3: no space left on device", NoSpace, false)]
#[case(
    0,
    "failed to register layer: Error processing tar file(exit status 1): write /zeros: no space left on device",
    NoSpace,
    false
)]
#[case(0, "failed to register layer: lchown /x: operation not permitted", EngineFailed, false)]
#[case(500, "something never heard before", Unavailable, true)]
#[case(400, "something never heard before", Unavailable, false)]
#[case(401, "something never heard before", Auth, false)]
#[case(404, "something never heard before", NotFound, false)]
fn the_daemons_words_are_understood(
    #[case] status: u16,
    #[case] text: &str,
    #[case] kind: ImageErrorKind,
    #[case] passing: bool,
) {
    let reference = reference();
    let asked = Asked { reference: &reference, credential: None };
    let error = asked.refused((status > 0).then_some(status), text);
    assert_eq!((error.kind, error.passing), (kind, passing), "{error:?}");
    assert!(error.detail.contains("reg.example:5000"), "{}", error.detail);
    let words = text.split(['"', ':']).filter(|part| part.trim().len() > 20);
    for part in words {
        assert!(!error.detail.contains(part.trim()), "{}", error.detail);
    }
    assert!(error.cause.starts_with("pull: "), "{}", error.cause);
}

#[test]
fn no_name_of_an_image_or_a_registry_is_taken_for_a_failure() {
    for (words, _) in WORDS {
        assert!(words.contains(' '), "{words:?} could be part of a reference");
    }
    for name in ["x509.example/eof", "denied/unauthorized:timeout", "unknown:EOF", "no:such.host"] {
        let reference: Reference = name.parse().unwrap();
        let asked = Asked { reference: &reference, credential: None };
        let text = format!("manifest for {name} not found: manifest unknown: manifest unknown");
        assert_eq!(asked.refused(Some(404), &text).kind, NotFound, "{name}");
    }
}

#[test]
fn who_sent_credentials_is_told_to_send_others() {
    let (reference, credential) = (reference(), password());
    let detail = |credential| {
        let asked = Asked { reference: &reference, credential };
        asked.refused(Some(500), "unauthorized: authentication required").detail
    };
    assert_eq!(
        detail(None),
        "registry reg.example:5000 wants credentials for image reg.example:5000/team/tool:1"
    );
    assert!(detail(Some(&credential)).contains("wants other credentials for"));
}

#[test]
fn neither_credentials_nor_keys_in_urls_reach_the_log() {
    let (reference, credential) = (reference(), password());
    let asked = Asked { reference: &reference, credential: Some(&credential) };
    let basic = STANDARD.encode("me:hunter2");
    let error = asked.refused(
        Some(500),
        &format!(
            "unknown: you are Basic {basic} with hunter2; Get \"https://s3.example/b?Sig=secret&a=b\": \
             EOF, why? \u{1b}[31m"
        ),
    );
    for secret in [basic.as_str(), "hunter2", "secret", "\u{1b}"] {
        assert!(!error.cause.contains(secret) && !error.detail.contains(secret), "{error:?}");
    }
    assert!(error.cause.contains(r#"https://s3.example/b?…\": EOF, why? "#), "{}", error.cause);
    let token = Credential::IdentityToken("t0ken".into());
    let asked = Asked { reference: &reference, credential: Some(&token) };
    assert!(!asked.refused(None, "unknown: t0ken").cause.contains("t0ken"));
}

#[test]
fn what_a_deadline_and_a_lost_daemon_say() {
    let reference = reference();
    let asked = Asked { reference: &reference, credential: None };
    let slow = DaemonError::Slow { call: "pull", deadline: std::time::Duration::from_secs(30) };
    let error = asked.failed(slow);
    assert_eq!((error.kind, error.passing), (Timeout, true));
    assert_eq!(error.cause, "pull: no answer in 30s");
    let away = DaemonError::Unreachable { call: "pull", text: "reset".into() };
    assert_eq!(asked.failed(away).kind, ImageErrorKind::EngineAway);
    let lost = asked.lost("the daemon has sha256:d2 by that name");
    assert_eq!((lost.kind, lost.passing), (Corrupt, true));
}
