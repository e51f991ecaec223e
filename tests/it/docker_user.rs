//! A service that was started as root and reaches Docker as somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::relay::Relay;
use crate::support::service::{client, oncebox};
use crate::support::{DEBIAN, Engine, Service, host, turn, until};

/// Nobody on this machine.
const USER: u32 = 65_532;
/// The group of Docker's socket.
const GROUP: u32 = 12_345;

/// A folder of the user's own, with his key file; root is kept out of both but by its privileges.
struct Home {
    folder: TempDir,
    token: String,
}

impl Home {
    fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
        let keys = folder.path().join("keys.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncebox"));
        command.args(["key", "new", "it"]).env_clear().env("API_KEYS_FILE", &keys);
        let made = command.current_dir("/").output().expect("the program runs");
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        for (path, mode) in [(keys.as_path(), 0o600), (folder.path(), 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner");
            chown(path, Some(USER), Some(USER)).expect("root may");
        }
        Self { folder, token }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    fn settings(&self, relay: &Relay) -> Vec<(&'static str, String)> {
        vec![
            ("USER_NAME", USER.to_string()),
            ("DOCKER_HOST", relay.host()),
            ("API_KEYS_FILE", self.path("keys.toml")),
            ("POOL_SIZE", "1".into()),
        ]
    }

    fn runs_a_script(&self, service: &Service) {
        let post = client().build().expect("a client");
        let post = post.post(format!("http://{}/execute", service.address()));
        let answer = post.bearer_auth(&self.token).json(&json!({"script": "echo in"})).send();
        let answer: Value = answer.expect("an answer").json().expect("JSON");
        assert_eq!(answer["stdout"], "in\n", "{answer}");
    }
}

/// Root as a hardened container has it: it may become somebody else, and nothing more.
fn with_two_capabilities() -> Command {
    let plain = oncebox("serve", Engine::Docker);
    let mut command = Command::new("setpriv");
    let both = "-all,+setuid,+setgid";
    command.args(["--bounding-set", both, "--inh-caps", both, "--no-new-privs", "--clear-groups"]);
    command.arg("--").arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[track_caller]
fn assert_gave_up_root(pid: u32, groups: &str) {
    let status = |field| host::status(pid, field).expect("a running process");
    let four = [USER.to_string(), USER.to_string(), USER.to_string(), USER.to_string()].join("\t");
    assert_eq!((status("Uid"), status("Gid")), (four.clone(), four));
    assert_eq!(status("Groups"), groups);
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status(set), "0000000000000000", "{set}");
    }
    assert_eq!(status("NoNewPrivs"), "1");
}

fn serves(program: Command, relay: &Relay, groups: &str) {
    let home = Home::make();
    let store = home.path("executions.redb");
    serves_with(program, relay, groups, &home, &store);
}

fn serves_with(program: Command, relay: &Relay, groups: &str, home: &Home, store: &str) {
    let mut settings = home.settings(relay);
    settings.push(("EXECUTION_STORE", store.to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = Service::start_program(program, &settings);
    assert_gave_up_root(service.pid(), groups);
    let threads = fs::read_dir(format!("/proc/{}/task", service.pid())).expect("its threads");
    for thread in threads {
        let tid = thread.expect("a thread").file_name().to_str().expect("a number").parse();
        assert_gave_up_root(tid.expect("a number"), groups);
    }
    home.runs_a_script(&service);
    let store = fs::metadata(store).expect("a store");
    assert_eq!(store.uid(), USER);
}

#[test]
fn docker_root_with_two_capabilities_becomes_the_user_with_the_sockets_group() {
    let _turn = turn::together();
    serves(with_two_capabilities(), &Relay::start(GROUP, 0o660), &GROUP.to_string());
}

#[test]
fn docker_root_becomes_the_user_with_the_sockets_group() {
    let _turn = turn::together();
    serves(oncebox("serve", Engine::Docker), &Relay::start(GROUP, 0o660), &GROUP.to_string());
}

#[test]
fn docker_a_group_that_is_not_needed_is_not_kept() {
    let _turn = turn::together();
    serves(oncebox("serve", Engine::Docker), &Relay::start(USER, 0o660), "");
}

/// Only root can make a folder there.
#[test]
fn docker_root_makes_the_folder_of_the_user() {
    let _turn = turn::together();
    let folder = tempfile::Builder::new().prefix("oncebox-it-").tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
    let store = folder.path().join("new/executions.redb");
    let store = store.to_str().expect("text");
    let relay = Relay::start(USER, 0o660);
    serves_with(oncebox("serve", Engine::Docker), &relay, "", &Home::make(), store);
}

fn refused(mut program: Command, relay: &Relay) -> String {
    let home = Home::make();
    program.envs(home.settings(relay)).env("PORT", "0").current_dir("/").stdin(Stdio::null());
    let Output { status, stderr, .. } = program.output().expect("the program runs");
    assert_eq!(status.code(), Some(1));
    String::from_utf8_lossy(&stderr).into_owned()
}

#[test]
fn docker_a_socket_that_the_user_can_t_use_is_refused() {
    for program in [with_two_capabilities(), oncebox("serve", Engine::Docker)] {
        let relay = Relay::start(GROUP, 0o600);
        let said = refused(program, &relay);
        let path = relay.path().display().to_string();
        for told in [&*path, "user 65532", "user 0", "group 12345", "mode 0600", "--user"] {
            assert!(said.contains(told), "nothing about {told}: {said}");
        }
    }
}

/// In a container of its own, as one is deployed: a read-only root and two capabilities.
#[test]
fn docker_the_same_in_a_container() {
    let _turn = turn::together();
    let relay = Relay::start(GROUP, 0o660);
    let home = Home::make();
    let mount = |from: String, to: &str| ["-v".to_owned(), format!("{from}:{to}")];
    let set = |name: &str, value: &str| ["-e".to_owned(), format!("{name}={value}")];
    let arguments = ["run", "--detach", "--network", "none", "--read-only", "--user", "0:0"];
    let mut arguments: Vec<String> = arguments.map(ToOwned::to_owned).into();
    for more in ["--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"] {
        arguments.push(more.into());
    }
    arguments.extend(["--security-opt".to_owned(), "no-new-privileges".to_owned()]);
    arguments.extend(mount(relay.path().display().to_string(), "/var/run/docker.sock"));
    arguments.extend(mount(home.path(""), "/home"));
    arguments.extend(mount(env!("CARGO_BIN_EXE_oncebox").into(), "/oncebox:ro"));
    arguments.extend(set("USER_NAME", &USER.to_string()));
    arguments.extend(set("ENGINE", "docker"));
    arguments.extend(set("BASE_IMAGE", DEBIAN));
    arguments.extend(set("POOL_SIZE", "0"));
    arguments.extend(set("HOST", "0.0.0.0"));
    arguments.extend(set("API_KEYS_FILE", "/home/keys.toml"));
    arguments.extend(set("EXECUTION_STORE", "/home/executions.redb"));
    arguments.extend([DEBIAN, "/oncebox", "serve"].map(ToOwned::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let container = Throwaway(host::docker(&arguments).remove(0));
    let healthy = ["exec", &container.0, "/oncebox", "healthcheck"];
    until("its health", Duration::from_secs(30), || {
        let asked = Command::new("docker").args(healthy).output().expect("the docker command");
        if asked.status.success() {
            return Some(());
        }
        let running = ["inspect", "--format", "{{.State.Running}}", &container.0];
        assert_eq!(host::docker(&running), ["true"], "{:?}", host::docker(&["logs", &container.0]));
        None
    });
    let pid = host::docker(&["inspect", "--format", "{{.State.Pid}}", &container.0]).remove(0);
    assert_gave_up_root(pid.parse().expect("a pid"), &GROUP.to_string());
}

/// A container of this test's.
struct Throwaway(String);

impl Drop for Throwaway {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["stop", "--timeout", "20", &self.0]).output();
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output();
    }
}
