use std::sync::Mutex;

use rstest::rstest;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::fake::{Answer, Fake};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A daemon that pulls as the test says.
struct Scene {
    fake: Fake,
    daemon: Daemon,
    /// The daemon's end of its next answer.
    says: UnboundedSender<String>,
}

impl Scene {
    async fn new() -> Self {
        let (says, lines) = unbounded_channel();
        let lines = Mutex::new(Some(lines));
        let fake = Fake::start(move |_, _| match lines.lock().unwrap().take() {
            Some(lines) => Answer::Stream(lines),
            None => Answer::Status(503, "{}".into()),
        })
        .await;
        let daemon = Daemon::new(Some(&fake.host())).unwrap();
        Self { fake, daemon, says }
    }

    fn say(&self, piece: &str) {
        self.says.send(piece.into()).unwrap();
    }
}

async fn attempt(
    daemon: &Daemon,
    patience: Patience,
) -> (Result<Option<String>, ImageError>, PullState) {
    let progress = Progress::default();
    let reference = "reg.example:5000/a/b:3".parse().unwrap();
    let asked = Asked { reference: &reference, credential: None };
    let pulled = pull(daemon, &asked, "arm64", patience, &progress).await;
    let state = progress.watch().borrow().clone();
    (pulled, state)
}

fn layer(digest: &str, done: u64, total: Option<u64>, phase: LayerPhase) -> LayerState {
    LayerState { digest: digest.into(), done, total, phase }
}

/// What Docker 20.10 said of an image of three layers, shortened.
const WHOLE: &str = r#"{"status":"Pulling from a/b","id":"3"}
{"status":"Already exists","progressDetail":{},"id":"236d7ae69a20"}
{"status":"Pulling fs layer","progressDetail":{},"id":"1febca46e7c9"}
{"status":"Pulling fs layer","progressDetail":{},"id":"8105699dc927"}
{"status":"Waiting","progressDetail":{},"id":"8105699dc927"}
{"status":"Downloading","progressDetail":{"current":552960,"total":60018517},"progress":"[\u003e  ]","id":"1febca46e7c9"}
{"status":"Downloading","progressDetail":{"current":302080,"total":-1},"id":"8105699dc927"}
{"status":"Verifying Checksum","progressDetail":{},"id":"1febca46e7c9"}
{"status":"Download complete","progressDetail":{},"id":"1febca46e7c9"}
{"status":"Extracting","progressDetail":{"current":557056,"total":60018517},"id":"1febca46e7c9"}
{"status":"Some new word","progressDetail":{"units":"s"},"id":"8105699dc927","new":{"field":[1]}}
{"status":"Digest: sha256:d1"}
{"status":"Status: Downloaded newer image for reg.example:5000/a/b:3"}
"#;

#[rstest]
#[case(1)]
#[case(7)]
#[case(1 << 20)]
#[tokio::test]
async fn the_daemons_words_become_progress_however_they_are_cut(#[case] size: usize) {
    let mut scene = Scene::new().await;
    for piece in WHOLE.replace('\n', "\r\n").as_bytes().chunks(size) {
        scene.say(std::str::from_utf8(piece).unwrap());
    }
    scene.say("");
    let (pulled, state) = attempt(&scene.daemon, Patience::default()).await;
    assert_eq!(pulled.unwrap().as_deref(), Some("sha256:d1"));
    let layers = [
        layer("236d7ae69a20", 0, None, LayerPhase::Done),
        layer("1febca46e7c9", 60_018_517, Some(60_018_517), LayerPhase::Unpacking),
        layer("8105699dc927", 302_080, None, LayerPhase::Downloading),
    ];
    assert_eq!(state.layers, layers);
    let path = "/images/create?fromImage=reg.example:5000/a/b&tag=3&platform=linux/arm64";
    assert_eq!(scene.fake.heard(), [format!("POST {path}")]);
}

#[tokio::test]
async fn an_error_on_the_way_ends_the_pull_with_it() {
    let scene = Scene::new().await;
    scene.say("{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\n");
    scene.say("{\"errorDetail\":{\"message\":\"no space left on device\"},\"error\":\"other\"}\n");
    let (pulled, _) = attempt(&scene.daemon, Patience::default()).await;
    assert_eq!(pulled.unwrap_err().kind, ImageErrorKind::NoSpace);
}

#[rstest]
#[case(r#"{"error":"manifest unknown"}"#, ImageErrorKind::NotFound)]
#[case(r#"{"error":""}"#, ImageErrorKind::Unavailable)]
#[case(r#"{"errorDetail":{}}"#, ImageErrorKind::Unavailable)]
#[case("<html>", ImageErrorKind::EngineFailed)]
#[case(r#"{"status":7}"#, ImageErrorKind::EngineFailed)]
#[tokio::test]
async fn no_word_of_failure_is_overheard(#[case] line: &str, #[case] kind: ImageErrorKind) {
    let scene = Scene::new().await;
    // Without an end, as the last line of an answer may be.
    scene.say(line);
    scene.say("");
    let (pulled, _) = attempt(&scene.daemon, Patience::default()).await;
    assert_eq!(pulled.unwrap_err().kind, kind);
}

#[tokio::test]
async fn a_daemon_that_breaks_off_is_away_and_one_without_end_is_broken() {
    let Scene { says, daemon, fake: _fake } = Scene::new().await;
    says.send("{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\n".into()).unwrap();
    drop(says);
    let (pulled, _) = attempt(&daemon, Patience::default()).await;
    let error = pulled.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::EngineAway, true), "{}", error.cause);

    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.say(&"x".repeat(30 << 10));
    }
    let (pulled, _) = attempt(&scene.daemon, Patience::default()).await;
    let error = pulled.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::EngineFailed);
    assert!(error.cause.contains("more than 65536 bytes"), "{}", error.cause);
}

#[tokio::test]
async fn a_pull_that_stands_still_is_given_up_and_the_daemon_told() {
    let scene = Scene::new().await;
    scene.say("{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\n");
    let moment = Duration::from_millis(20);
    let (pulled, _) =
        attempt(&scene.daemon, Patience { registry: moment, unpacking: moment }).await;
    let error = pulled.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Timeout, true));
    tokio::time::timeout(SECOND * 10, scene.says.closed()).await.unwrap();
}

#[tokio::test]
async fn whoever_drops_a_pull_ends_it_at_the_daemon() {
    let Scene { mut fake, daemon, says } = Scene::new().await;
    let pull = tokio::spawn(async move { attempt(&daemon, Patience::default()).await });
    fake.until("/images/create").await;
    assert!(!says.is_closed());
    pull.abort();
    tokio::time::timeout(SECOND * 10, says.closed()).await.unwrap();
}

#[test]
fn only_what_matters_moves_the_end() {
    let patience = Patience { registry: SECOND * 60, unpacking: SECOND * 300 };
    let start = Instant::now();
    let mut standstill = Standstill::new(start);
    let mut state = PullState::default();
    let mut end = |after: u64, line: &str| {
        let word: Word = serde_json::from_str(line).unwrap();
        word.tell(&mut state);
        standstill.heard(&word, &state, start + SECOND * u32::try_from(after).unwrap());
        (standstill.end(patience) - start).as_secs()
    };
    let mut downloading = |after, current: u64| {
        let detail = format!(r#"{{"current":{current},"total":99999}}"#);
        let line = format!(r#"{{"status":"Downloading","progressDetail":{detail},"id":"a"}}"#);
        end(after, &line)
    };
    // A drip is no progress until enough of it has come.
    assert_eq!(downloading(10, 10), 60);
    assert_eq!(downloading(20, 4000), 60);
    assert_eq!(downloading(30, 4096), 90);
    assert_eq!(downloading(40, 8191), 90);
    assert_eq!(downloading(50, 90_000), 110);
    // What begins anew has not to catch up.
    assert_eq!(downloading(52, 10), 110);
    assert_eq!(downloading(54, 5000), 114);
    assert_eq!(end(60, r#"{"status":"Retrying in 5 seconds","id":"a"}"#), 120);
    assert_eq!(end(70, r#"{"status":"Download complete","id":"a"}"#), 130);
    assert_eq!(end(80, r#"{"status":"Extracting","id":"a"}"#), 380);
    // While another layer has to come, its registry is waited for no longer than ever.
    let other = r#"{"status":"Downloading","progressDetail":{"current":1},"id":"b"}"#;
    assert_eq!(end(90, other), 140);
    assert_eq!(end(100, r#"{"status":"Download complete","id":"b"}"#), 400);
    assert_eq!(end(110, r#"{"status":"Pull complete","id":"a"}"#), 170);
}

#[test]
fn credentials_are_written_as_the_daemon_reads_them() {
    let reference = |text: &str| text.parse::<Reference>().unwrap();
    let read = |credential: &Credential, at: &str| {
        let value = header(credential, &reference(at)).unwrap();
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap().to_owned();
        let decoded = URL_SAFE.decode(&text).unwrap();
        (text, serde_json::from_slice::<serde_json::Value>(&decoded).unwrap())
    };
    // In the other alphabet this has a `+` and a `/`, and its length wants padding.
    let password = Credential::Password { username: "u".into(), password: ">>>???ÿ".into() };
    let (text, value) = read(&password, "reg.example:5000/x");
    assert!(text.contains('-') && text.contains('_') && text.ends_with('='), "{text}");
    let expected =
        json!({ "username": "u", "password": ">>>???ÿ", "serveraddress": "reg.example:5000" });
    assert_eq!(value, expected);
    let (_, value) = read(&Credential::IdentityToken("t".into()), "alpine");
    let expected = json!({ "identitytoken": "t", "serveraddress": "https://index.docker.io/v1/" });
    assert_eq!(value, expected);
}
