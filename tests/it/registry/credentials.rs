//! Who we are at a registry: said to that one and to nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Here, docker_config, verdict};
use crate::support::Engine;
use crate::support::faults::{Act, Faults};
use crate::support::http::{Request, Response, Server};
use crate::support::images::{Archive, Image};
use crate::support::metrics::Metrics;
use crate::support::registry::{Door, Registry};
use crate::support::tokens::{Client, TokenServer};

const USER: &str = "puller";
const PASSWORD: &str = "pa55word-that-nobody-may-see";

/// What `docker login` leaves.
fn login(registry: &str, user: &str, password: &str) -> Value {
    json!({"auths": {registry: {"auth": STANDARD.encode(format!("{user}:{password}"))}}})
}

/// A registry with a password before one with an image.
fn locked() -> (Registry, Registry) {
    let open = Registry::start();
    // Of its own, so that the daemon has none of it from another test.
    let own = Archive::new().file("own", 0o644, open.address()).layer();
    Image::marked("behind a password").with(own).push(&open, "x", "1");
    let locked = open.door(Door::Password(USER, PASSWORD));
    (open, locked)
}

/// Neither a log line nor a metric repeats a password.
#[track_caller]
fn told_nobody(here: &Here, texts: &[&str]) {
    let metrics = String::from_utf8(here.get("/metrics").expect("an answer").body).expect("text");
    for secret in [PASSWORD, &STANDARD.encode(format!("{USER}:{PASSWORD}"))] {
        for text in [here.log().as_str(), metrics.as_str()].iter().chain(texts) {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn what_a_login_left_opens_the_door(engine: Engine) {
    let (_open, locked) = locked();
    let config = docker_config(&login(&locked.address(), USER, PASSWORD));
    let folder = config.path().to_str().expect("text");
    let here = Here::start(engine, &[&locked.address()], &[("DOCKER_CONFIG", folder)]);
    assert_eq!(here.prints(&locked.name("x:1"), "cat /mark"), "behind a password");
    told_nobody(&here, &[]);
}

fn a_secret_file_opens_the_door(engine: Engine) {
    let (_open, locked) = locked();
    let wrong = docker_config(&login(&locked.address(), USER, "wrong"));
    let right = docker_config(&login(&locked.address(), USER, PASSWORD));
    let file = right.path().join("config.json");
    // It stands above the other.
    let settings = [
        ("DOCKER_CONFIG", wrong.path().to_str().expect("text")),
        ("REGISTRY_AUTH_FILE", file.to_str().expect("text")),
    ];
    let here = Here::start(engine, &[&locked.address()], &settings);
    assert_eq!(here.prints(&locked.name("x:1"), "cat /mark"), "behind a password");
    told_nobody(&here, &[]);
}

/// A helper as Docker's client calls them: `docker-credential-NAME get`, the registry on its input.
fn helper(folder: &Path, registry: &str) -> String {
    let name = format!("suite-{}", registry.rsplit(':').next().expect("a port"));
    let program = folder.join(format!("docker-credential-{name}"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread registry\n\
         [ \"$registry\" = '{registry}' ] || {{ echo credentials not found; exit 1; }}\n\
         echo '{{\"ServerURL\":\"{registry}\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n"
    );
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its owner");
    name
}

fn helpers_are_asked(engine: Engine) {
    for store in [false, true] {
        let (_open, locked) = locked();
        let config = docker_config(&json!({}));
        let helper = helper(config.path(), &locked.address());
        let content = match store {
            true => json!({"credsStore": helper}),
            false => json!({"credHelpers": {locked.address(): helper}}),
        };
        fs::write(config.path().join("config.json"), content.to_string()).expect("a file");
        let path = std::env::var("PATH").expect("PATH");
        let path = format!("{}:{path}", config.path().display());
        let settings =
            [("DOCKER_CONFIG", config.path().to_str().expect("text")), ("PATH", path.as_str())];
        let here = Here::start(engine, &[&locked.address()], &settings);
        assert_eq!(here.prints(&locked.name("x:1"), "cat /mark"), "behind a password");
        told_nobody(&here, &[]);
    }
}

/// A password that has changed works without a restart, and one that is refused is not tried again.
fn g05_wrong_credentials_are_one_attempt(engine: Engine) {
    let (_open, locked) = locked();
    let config = docker_config(&json!({}));
    let folder = config.path().to_str().expect("text");
    let here = Here::start(engine, &[&locked.address()], &[("DOCKER_CONFIG", folder)]);
    let wrong = format!("{PASSWORD}-no-more");
    for content in [json!({}), login(&locked.address(), USER, &wrong)] {
        fs::write(config.path().join("config.json"), content.to_string()).expect("a file");
        // Another tag each time: what was refused a moment ago is not asked for again.
        let tag = if content == json!({}) { "none" } else { "wrong" };
        let problem = here.fails(&locked.name(&format!("x:{tag}")));
        assert_eq!(verdict(&problem), ("registry_auth".into(), 502, 1), "{}", problem.0);
        told_nobody(&here, &[&problem.0.to_string()]);
    }
    let right = login(&locked.address(), USER, PASSWORD);
    fs::write(config.path().join("config.json"), right.to_string()).expect("a file");
    assert_eq!(here.prints(&locked.name("x:1"), "cat /mark"), "behind a password");
    told_nobody(&here, &[]);
}

/// A registry whose tokens come from a place of its own: the same address under another path.
fn with_tokens(client: Client) -> (Registry, Registry, TokenServer) {
    let open = Registry::start();
    Image::marked("with a token").push(&open, "some/x", "1");
    let tokens = TokenServer::start(client);
    let locked = open.door(Door::Tokens(&tokens));
    (open, locked, tokens)
}

fn anybody_s_token_is_fetched(engine: Engine) {
    let (_open, locked, tokens) = with_tokens(Client::Anybody);
    let here = Here::start(engine, &[&locked.address(), &tokens.server.address()], &[]);
    assert_eq!(here.prints(&locked.name("some/x:1"), "cat /mark"), "with a token");
    assert!(tokens.server.count("GET", "scope=repository") > 0);
}

/// The realm is the registry's own server, or the request for a token says nothing secret.
fn a_token_is_given_for_a_password(engine: Engine) {
    let (_open, locked, tokens) = with_tokens(Client::Password(USER, PASSWORD));
    let front = same_host(&locked, &tokens);
    let config = docker_config(&login(&front.address().to_string(), USER, PASSWORD));
    let folder = config.path().to_str().expect("text");
    let here = Here::start(engine, &[&front.address()], &[("DOCKER_CONFIG", folder)]);
    assert_eq!(here.prints(&front.name("some/x:1"), "cat /mark"), "with a token");
    told_nobody(&here, &[]);
}

fn a_token_is_given_for_an_identity(engine: Engine) {
    const TOKEN: &str = "identity-token-that-nobody-may-see";
    let (_open, locked, tokens) = with_tokens(Client::Identity(TOKEN));
    let front = same_host(&locked, &tokens);
    let auth = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    let config = docker_config(&json!({"auths": {
        front.address().to_string(): {"auth": auth, "identitytoken": TOKEN},
    }}));
    let folder = config.path().to_str().expect("text");
    let here = Here::start(engine, &[&front.address()], &[("DOCKER_CONFIG", folder)]);
    assert_eq!(here.prints(&front.name("some/x:1"), "cat /mark"), "with a token");
    assert!(!here.log().contains(TOKEN), "{}", here.log());
}

/// One address for a registry and its token server.
fn same_host(registry: &Registry, tokens: &TokenServer) -> Faults {
    let behind = tokens.server.address();
    let own = tokens.realm();
    Faults::answering(registry, move |request, truth, front| {
        if request.path.starts_with("/token") {
            return forward(&format!("http://{behind}"), request);
        }
        let mut answer = truth();
        for (name, value) in &mut answer.headers {
            if name == "www-authenticate" {
                *value = value.replace(&own, &format!("http://{front}/token"));
            }
        }
        answer
    })
}

/// The same request to another server.
fn forward(to: &str, request: &Request) -> Response {
    let method = request.method.parse().expect("a method");
    let http = crate::support::service::client().build().expect("a client");
    let mut ask = http.request(method, format!("{to}{}", request.path)).body(request.body.clone());
    if let Some(value) = request.header("authorization") {
        ask = ask.header("authorization", value);
    }
    let answer = ask.send().expect("an answer");
    let status = answer.status().as_u16();
    Response::new(status, answer.bytes().expect("a body")).with("Content-Type", "application/json")
}

/// Whoever sends us to another host for a token does not get our password there.
fn g13_a_foreign_realm_gets_no_credentials(engine: Engine) {
    let registry = Registry::start();
    Image::marked("x").push(&registry, "x", "1");
    // On another host than the registry, as far as one machine can have two.
    let thief = Server::start_at("127.0.0.2:0", |_: &Request| {
        let body = json!({"token": "x", "access_token": "x"});
        Response::new(200, body.to_string()).with("Content-Type", "application/json")
    });
    let port = thief.address().port();
    let hosts = ["127.0.0.2", "[::ffff:127.0.0.2]", "127.0.2"];
    let mut auths = json!({});
    let fronts = hosts.map(|host| {
        let realm = format!("Bearer realm=\"http://{host}:{port}/token\",service=\"x\"");
        let front = Faults::before(&registry, move |_, _| {
            Act::Say(Response::new(401, "{}").with("WWW-Authenticate", &realm))
        });
        let login = login(&front.address().to_string(), USER, PASSWORD);
        for (name, value) in login["auths"].as_object().expect("an object") {
            auths[name] = value.clone();
        }
        front
    });
    let config = docker_config(&json!({"auths": auths}));
    let folder = config.path().to_str().expect("text");
    let addresses = fronts.each_ref().map(Faults::address);
    let registries: Vec<_> = addresses.iter().map(|name| name as &dyn ToString).collect();
    let here = Here::start(engine, &registries, &[("DOCKER_CONFIG", folder)]);
    for front in &fronts {
        let problem = here.fails(&front.name("x:1"));
        assert_eq!(verdict(&problem).2, 1, "{}", problem.0);
        told_nobody(&here, &[&problem.0.to_string()]);
    }
    for request in thief.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains(PASSWORD) && !request.path.contains(PASSWORD), "{request:?}");
    }
}

/// A blob that is elsewhere is fetched there, and who we are is not said there.
fn g12_credentials_stay_behind_at_a_redirect(engine: Engine) {
    let (open, locked) = locked();
    // A daemon does not fetch a layer that another test has brought it.
    let mark = format!("behind a password {}", uuid::Uuid::now_v7());
    Image::marked(&mark).push(&open, "x", "2");
    let elsewhere = Faults::before(&open, |_, _| Act::Pass);
    let there = elsewhere.address();
    let front = Faults::before(&locked, move |asked, _| match asked.split_once("/blobs/") {
        Some((_, digest)) => {
            let place = format!("http://{there}/v2/x/blobs/{digest}");
            Act::Say(Response::new(307, []).with("Location", place))
        }
        None => Act::Pass,
    });
    let config = docker_config(&login(&front.address().to_string(), USER, PASSWORD));
    let folder = config.path().to_str().expect("text");
    let here = Here::start(engine, &[&front.address(), &there], &[("DOCKER_CONFIG", folder)]);
    assert_eq!(here.prints(&front.name("x:2"), "cat /mark"), mark);
    assert!(front.requests().iter().any(|r| r.header("authorization").is_some()));
    let fetched = elsewhere.requests();
    assert!(!fetched.is_empty(), "nothing was fetched elsewhere");
    assert!(fetched.iter().all(|r| r.header("authorization").is_none()), "{fetched:#?}");
}

/// Our configuration names files: a password in it is refused, and not repeated.
fn credentials_in_a_setting_are_refused(engine: Engine) {
    for (key, value) in [
        ("CUSTOM_IMAGE_REGISTRY", format!("{USER}:{PASSWORD}@registry.example")),
        ("TRUSTED_REGISTRIES", format!("https://{USER}:{PASSWORD}@registry.example")),
        ("INSECURE_REGISTRIES", format!("{USER}:{PASSWORD}@registry.example:5000")),
    ] {
        let said = crate::first_minute::refused_start(engine, &[(key, &value)], &[]);
        assert!(said.contains(key) && !said.contains(PASSWORD), "{said}");
    }
}

/// What fails for its credentials is counted, without a word of theirs.
fn a_refused_pull_is_counted(engine: Engine) {
    let (_open, locked) = locked();
    let here = Here::start(engine, &[&locked.address()], &[]);
    here.fails(&locked.name("x:1"));
    let metrics = Metrics::of(&here);
    assert_eq!(metrics.sample("oncebox_refusals_total{code=\"registry_auth\"}"), 1.0);
}

on_both_engines! {
    together: what_a_login_left_opens_the_door, a_secret_file_opens_the_door,
        helpers_are_asked, g05_wrong_credentials_are_one_attempt, anybody_s_token_is_fetched,
        a_token_is_given_for_a_password, a_token_is_given_for_an_identity,
        g12_credentials_stay_behind_at_a_redirect, credentials_in_a_setting_are_refused,
        a_refused_pull_is_counted;
    native: g13_a_foreign_realm_gets_no_credentials
}
