//! The images of `custom-images/`, built from their Dockerfiles as these are shipped, and accepted
//! through `POST /execute`; and the two commands that do it.
//!
//! What needs the Docker engine has `docker` in its name, on the native engine too, so that it is
//! left out with that engine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::service::{client, oncebox};
use crate::support::{BUSYBOX, Engine, Registry, Service, Shared, host, turn};

/// In front of the images' names.
pub const PREFIX: &str = "oncebox-test";

pub fn custom_images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("custom-images")
}

/// Exit code, and all that was printed.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

/// `custom-images/accept`.
pub fn accept(image: &str, file: &Path, server: &str) -> (Option<i32>, String) {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(custom_images().join("accept")).arg(image).arg(file).args(["--server", server]);
    said(&command.output().expect("python3 runs"))
}

/// `custom-images/build` of one image on the base that `tests/bases` has made.
pub fn build(image: &str, base: &str, how: &[&str]) {
    let base = format!("{base}:latest");
    // It is built once, for whichever engine comes first.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(custom_images().join("build"));
    command.args([image, "--registry", PREFIX, "--network", "host", "--build-arg", &base]);
    let output = command.args(how).env("DOCKER_BUILDKIT", "0").output().expect("bash runs");
    let (status, text) = said(&output);
    assert_eq!(status, Some(0), "{text}");
}

/// Gives the native engine what Docker has, unless it has the same.
fn import(name: &str) {
    let mut inspect = oncebox("image", Engine::Native);
    let here = inspect.args(["inspect", "--json", name]).output().expect("it runs");
    let here: Value = serde_json::from_slice(&here.stdout).unwrap_or_default();
    if here["digest"] == host::docker(&["image", "inspect", "--format", "{{.Id}}", name])[0] {
        return;
    }
    let mut save = Command::new("docker");
    let mut save = save.args(["save", name]).stdout(Stdio::piped()).spawn().expect("docker runs");
    let mut import = oncebox("image", Engine::Native);
    import.args(["import", "-"]).stdin(save.stdout.take().expect("a pipe"));
    let (status, text) = said(&import.output().expect("it runs"));
    assert!(save.wait().expect("a child").success() && status == Some(0), "{text}");
}

fn accepted(engine: Engine, image: &str, base: &str) {
    let name = format!("{PREFIX}/{image}:dev");
    let service = Shared::get(engine);
    let server = url(&service);
    match engine {
        Engine::Docker => {
            build(image, base, &["--server", &server]);
            says_what_it_is(&name, image);
        }
        Engine::Native => {
            build(image, base, &["--no-test"]);
            import(&name);
            let file = custom_images().join(image).join("acceptance.toml");
            let (status, text) = accept(&name, &file, &server);
            assert_eq!(status, Some(0), "{text}");
        }
    }
}

/// Its labels, and whom it runs as where nobody says otherwise.
fn says_what_it_is(name: &str, image: &str) {
    let config = host::docker(&["image", "inspect", "--format", "{{json .Config}}", name]).concat();
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["User"], "1000:1000", "{config}");
    let label = |key: &str| {
        let value = config["Labels"][format!("org.opencontainers.image.{key}")].as_str();
        value.unwrap_or_else(|| panic!("{name} has no label {key}")).to_owned()
    };
    assert_eq!((label("title"), label("version")), (image.to_owned(), "dev".to_owned()));
    for key in ["description", "source", "licenses", "base.name"] {
        assert!(!label(key).is_empty(), "{name} has an empty label {key}");
    }
}

fn python_scientific_from_its_dockerfile(engine: Engine) {
    accepted(engine, "python-scientific", "PYTHON_IMAGE=oncebox-base/python");
}

fn nodejs_runtime_from_its_dockerfile(engine: Engine) {
    accepted(engine, "nodejs-runtime", "NODE_IMAGE=oncebox-base/node");
}

fn multi_language_from_its_dockerfile(engine: Engine) {
    accepted(engine, "multi-language", "DEBIAN_IMAGE=oncebox-base/debian");
}

// --- accept ---------------------------------------------------------------------------------------

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

fn accept_text(text: &str, server: &str) -> (Option<i32>, String) {
    let folder = folder(&[("acceptance.toml", text)]);
    accept("host", &folder.path().join("acceptance.toml"), server)
}

#[test]
fn a_file_that_says_what_accept_does_not_know_is_refused() {
    let cases = [
        ("", "has no [[test]]"),
        ("[[tests]]", "has the key 'tests'; it can have test"),
        ("[[test]]\nscript = ''", "test 1 has no name"),
        ("[[test]]\nname = 'a'\n[[test]]\nname = 'a'", "test 'a' is there twice"),
        ("[[test]]\nname = 'a'\nimage = 'x'", "test 'a' names an image"),
        ("[[test]]\nname = 'a'\nexpect.stdot = ''", "test 'a': expect has the key 'stdot'"),
        (
            "[[test]]\nname = 'a'\nexpect.exit_code = '0'",
            "exit_code is '0'; it must be of type int",
        ),
        ("[[test]]\nname = 'a'\nexpect.stdout_matches = '('", "stdout_matches '('"),
        ("[[test]]\nname = 'a'\nexpect.files = [{ size = 1 }]", "a file has the key 'size'"),
        ("[[test]]\nname = 'a'\nexpect.files = [{}]", "a file has no path"),
        ("[[test]\n", "acceptance.toml: "),
    ];
    for (text, why) in cases {
        let (status, said) = accept_text(text, "http://127.0.0.1:1");
        assert_eq!(status, Some(2), "{text}: {said}");
        assert!(said.contains(why), "{text}: {said}");
    }
}

fn what_is_not_as_expected_fails_by_name(engine: Engine) {
    let script = "script = 'echo out; echo err >&2; echo content > file'\noutputs = ['file']\n";
    let all = "expect = { stdout = \"out\\n\", stderr_matches = '^e.r$', limits_hit = [], \
               files = [{ path = 'file', content = \"content\\n\", starts_with = 'con', min_size = 8 }] }";
    let cases = [
        ("expect.status = 'timed_out'", "status is 'completed', not 'timed_out'"),
        ("expect.exit_code = 3", "exit_code is 0, not 3"),
        ("expect.signal = 'SIGKILL'", "signal is None, not 'SIGKILL'"),
        ("expect.stdout = 'out'", "stdout is 'out\\n', not 'out'"),
        ("expect.stderr_matches = '^r'", "stderr is 'err\\n', which '^r' does not match"),
        ("expect.limits_hit = ['tmp']", "limits_hit is [], not ['tmp']"),
        ("", "the file 'file' is not expected"),
        ("expect.files = [{ path = 'other' }]", "there is no file 'other'"),
        ("expect.files = [{ path = 'file', starts_with_base64 = 'AAA=' }]", "starts with b'co'"),
        ("expect.files = [{ path = 'file', content = 'x' }]", "not b'x'"),
        ("expect.files = [{ path = 'file', min_size = 9 }]", "has 8 bytes; it must have 9"),
        ("languge = 'sh'", "400 unknown_field: "),
    ];
    let texts = std::iter::once(all).chain(cases.iter().map(|case| case.0)).enumerate();
    let tests = texts.map(|(n, expect)| format!("[[test]]\nname = '{n}'\n{script}{expect}\n"));
    let service = Shared::get(engine);
    let (status, said) = accept_text(&tests.collect::<String>(), &url(&service));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("\nok 1 - 0 ("), "{said}");
    let mut rest = said.as_str();
    for (n, (_, why)) in cases.iter().enumerate() {
        rest = rest.split_once(&format!("\nnot ok {} - {}", n + 2, n + 1)).expect(rest).1;
        let this = rest.split_once("ok ").map_or(rest, |parts| parts.0);
        assert!(this.contains(why), "{why}: {this}");
    }
    assert!(said.contains(&format!("# {} of {} failed in host", cases.len(), cases.len() + 1)));
}

/// One that nobody else has.
fn a_key_in_a_file_opens_the_door(engine: Engine) {
    let folder = folder(&[
        (
            "keys.toml",
            "[[keys]]\nname = 'ci'\nscopes = ['execute']\n\
             hash = 'sha256:0cbf8ea039a6e0c33151899d744bc4e0cdbe39763df8d89f69fc92ce36f7ac84'\n",
        ),
        ("key", "obx_this-is-the-key-of-a-test-and-of-nobody-else\n"),
        ("acceptance.toml", "[[test]]\nname = 'a'\nscript = 'true'"),
    ]);
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(path("keys.toml"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let keys = path("keys.toml");
    let service = Service::start(engine, &[("API_KEYS_FILE", keys.to_str().expect("text"))]);
    let (status, text) = accept("host", &path("acceptance.toml"), &url(&service));
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("401 unauthorized: "), "{text}");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(custom_images().join("accept")).arg("host").arg(path("acceptance.toml"));
    command.args(["--server", &url(&service)]).arg("--api-key-file").arg(path("key"));
    let (status, text) = said(&command.output().expect("python3 runs"));
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn no_service_is_no_success() {
    let (status, said) = accept_text("[[test]]\nname = 'a'\nscript = ''", "http://127.0.0.1:1");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("not ok 1 - a") && said.contains("no answer of"), "{said}");
}

// --- build ----------------------------------------------------------------------------------------

/// A small image of a team's own, and a PATH on which nothing is but what `build` needs.
struct Team {
    folder: TempDir,
    registry: Registry,
}

impl Team {
    fn new(expected: &str) -> Self {
        let folder = folder(&[]);
        let image = folder.path().join("mine");
        fs::create_dir_all(&image).expect("a folder");
        let dockerfile = format!("FROM {BUSYBOX}\nARG MARK=none\nLABEL mark=$MARK\n");
        fs::write(image.join("Dockerfile"), dockerfile).expect("a file");
        let test = format!(
            "[[test]]\nname = 'echo'\nscript = 'echo hello'\nexpect.stdout = \"{expected}\\n\"\n"
        );
        fs::write(image.join("acceptance.toml"), test).expect("a file");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        let tools = "bash basename dirname docker env grep mkdir mktemp python3 rm sleep tail";
        for tool in tools.split(' ') {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut places = vec![PathBuf::from("/usr/bin")];
            places.extend(std::env::split_paths(&path));
            let found = places.iter().map(|place| place.join(tool)).find(|path| path.exists());
            symlink(found.expect(tool), bin.join(tool)).expect("a link");
        }
        Self { folder, registry: Registry::start() }
    }

    /// A tool that writes down how it was called, and exits with this status.
    fn with(self, tool: &str, status: u8) -> Self {
        let file = self.folder.path().join("bin").join(tool);
        let calls = self.folder.path().join("calls");
        let script =
            format!("#!/bin/sh\necho {tool} \"$@\" >>{}\nexit {status}\n", calls.display());
        fs::write(&file, script).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
        self
    }

    fn registry(&self) -> String {
        self.registry.name("team")
    }

    fn build(&self, how: &[&str]) -> (Option<i32>, String) {
        self.build_by(env!("CARGO_BIN_EXE_oncebox").as_ref(), how)
    }

    fn build_by(&self, program: &OsStr, how: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new("bash");
        command.arg(custom_images().join("build")).args(["./mine", "--registry", &self.registry()]);
        command.args(["--tag", "7"]).args(how).current_dir(self.folder.path());
        command.env("PATH", self.folder.path().join("bin")).env("ONCEBOX", program);
        said(&command.env("DOCKER_BUILDKIT", "0").output().expect("bash runs"))
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }

    /// The tags that were pushed.
    fn pushed(&self) -> Value {
        let url = format!("http://{}/v2/team/mine/tags/list", self.registry.address());
        let reply = client().build().expect("a client").get(url).send().expect("an answer");
        let list: Value = reply.json().expect("JSON");
        list["tags"].clone()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let name = format!("{}/mine:7", self.registry());
        let _ = Command::new("docker").args(["image", "rm", &name]).output();
    }
}

#[test]
fn a_docker_image_is_built_tested_scanned_pushed_and_signed() {
    let _turn = turn::together();
    let team = Team::new("hello").with("trivy", 0).with("syft", 0).with("cosign", 0);
    let how = ["--build-arg", "MARK=here", "--scan", "--sbom", "sboms", "--push", "--sign", "key"];
    let (status, text) = team.build(&how);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("\nok 1 - echo ("), "{text}");
    let name = format!("{}/mine:7", team.registry());
    let mark = host::docker(&["image", "inspect", "--format", "{{.Config.Labels.mark}}", &name]);
    assert_eq!(mark, ["here"]);
    assert_eq!(team.pushed(), json!(["7"]));
    let digests = "{{range .RepoDigests}}{{.}}{{end}}";
    let digest = host::docker(&["image", "inspect", "--format", digests, &name]).concat();
    let calls = team.calls();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(
        calls,
        [
            format!(
                "trivy image --scanners vuln --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 {name}"
            ),
            format!("syft scan docker:{name} --quiet --output spdx-json=sboms/mine.spdx.json"),
            format!("cosign sign --yes --tlog-upload=false --key key {digest}"),
            format!(
                "cosign attest --yes --tlog-upload=false --key key --type spdxjson --predicate \
                 sboms/mine.spdx.json {digest}"
            ),
        ]
    );
    assert!(team.folder.path().join("sboms").is_dir());
}

#[test]
fn no_docker_image_is_pushed_that_has_not_passed() {
    let _turn = turn::together();
    let team = Team::new("goodbye").with("trivy", 0);
    let (status, text) = team.build(&["--scan", "--push"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("stdout is 'hello\\n', not 'goodbye\\n'"), "{text}");
    assert!(text.contains("/mine:7: not accepted"), "{text}");
    assert_eq!((team.calls().as_str(), team.pushed()), ("", Value::Null));

    let team = Team::new("hello").with("trivy", 1);
    let (status, text) = team.build(&["--scan", "--push"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("/mine:7: trivy found"), "{text}");
    assert_eq!(team.pushed(), Value::Null);

    let team = Team::new("hello");
    let (status, text) = team.build_by("no-such-program".as_ref(), &["--push"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("not tested: ") && text.contains("no program no-such-program"), "{text}");
    assert_eq!(team.pushed(), Value::Null);
}

#[test]
fn what_docker_images_are_not_put_through_is_said_by_name() {
    let _turn = turn::together();
    let team = Team::new("hello");
    let (status, text) = team.build(&["--no-test", "--scan"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("skipped, not installed: trivy syft"), "{text}");
    assert!(text.contains(&format!("not tested: {}/mine:7\n", team.registry())), "{text}");

    let cases: &[(&[&str], &str)] = &[
        (&["--scan", "--strict"], "--scan --strict: trivy is not installed"),
        (&["--push", "--sign", "key"], "--sign: cosign is not installed"),
        (&["--sign", "key"], "--sign needs --push"),
        (&["--build-arg", "OTHER=1"], "no Dockerfile of ./mine has an ARG OTHER"),
        (&["--server", "http://x", "--no-test"], "--server is for the tests"),
        (&["--api-key-file", "key"], "--api-key-file needs --server"),
        (&["--sbom", "here"], "--sbom and --strict need --scan"),
        (&["--push", "--registry", ""], "--push needs --registry"),
        (&["--signed"], "there is no option --signed"),
        (&["nothere"], "nothere: there is no "),
    ];
    for (how, why) in cases {
        let (status, text) = team.build(how);
        assert_eq!(status, Some(2), "{how:?}: {text}");
        assert!(text.contains(why), "{how:?}: {text}");
    }
}

on_both_engines! {
    together: python_scientific_from_its_dockerfile, nodejs_runtime_from_its_dockerfile,
        multi_language_from_its_dockerfile;
    native: what_is_not_as_expected_fails_by_name, a_key_in_a_file_opens_the_door
}
