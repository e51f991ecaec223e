mod containers;
mod runtimes;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const MACHINE: Machine =
    Machine { cores: 2, processors: 2, memory: 8 << 30, pid_max: 32_768, root: false };

/// Settings from a command line, an environment and a file, each as `name=value` lines.
fn load(flags: &str, environment: &str, file: &str) -> Result<Settings, SettingsError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("oncebox.toml");
    fs::write(&path, file).expect("a file");
    let pairs = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().map(|line| line.split_once('=').expect("name=value"));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let by_flag = pairs(flags);
    let flags = Flags {
        file: Some(path.to_str().expect("UTF-8").to_owned()),
        values: KEYS
            .iter()
            .filter_map(|key| by_flag.get(key.name).map(|value| (key.name, value.clone())))
            .collect(),
    };
    let environment = pairs(environment);
    Settings::load(&flags, |name| environment.get(name).cloned(), &MACHINE)
}

/// The error's text, with the file's changing path taken out.
fn refused(flags: &str, environment: &str, file: &str) -> String {
    let text = load(flags, environment, file).expect_err("refused").to_string();
    match (text.find("the file "), text.find("oncebox.toml")) {
        (Some(from), Some(to)) => format!("{}{}", &text[..from + 9], &text[to..]),
        _ => text,
    }
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let settings = load("", "", "").expect("valid");
    assert_eq!(settings.address.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.engine, EngineChoice::Auto);
    assert_eq!(settings.base_image, None);
    let Limits { timeout, memory, cpu_millis, pids, tmp, output } = settings.ceilings.default;
    assert_eq!((timeout, memory, cpu_millis), (Duration::from_secs(30), 256 << 20, 500));
    assert_eq!((pids, tmp, output), (64, 64 << 20, 1 << 20));
    assert_eq!(settings.ceilings.max.cpu_millis, 2000);
    assert_eq!(settings.max_body, 16 << 20);
    assert_eq!(settings.user, None);
    assert_eq!(settings.log_format, LogFormat::Text);
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file() {
    let port =
        |flags, environment, file| load(flags, environment, file).expect("valid").address.port();
    assert_eq!(port("", "", "port = 1"), 1);
    assert_eq!(port("", "", "port = \"1\""), 1);
    assert_eq!(port("", "PORT=2", "port = 1"), 2);
    assert_eq!(port("port=3", "PORT=2", "port = 1"), 3);
    assert_eq!(port("", "PORT=", "port = 1"), 1);
}

#[test]
fn every_setting_reaches_its_place() {
    let mut settings = load(
        "",
        "HOST=0.0.0.0\nALLOW_ANONYMOUS=true\nENGINE=docker\nDOCKER_HOST=tcp://d:1\nRUNTIME=runsc\n\
         USER_NAME=web\nBASE_IMAGE=busybox:1\nTIMEOUT=1.5\nMAX_TIMEOUT=2\nMEMORY_LIMIT=7m\n\
         MAX_MEMORY_LIMIT=8m\nCPU_LIMIT=250m\nMAX_CPU_LIMIT=1\nPIDS_LIMIT=3\nMAX_PIDS_LIMIT=4\n\
         TMP_SIZE=1m\nMAX_TMP_SIZE=2m\nOUTPUT_LIMIT=5\nMAX_OUTPUT_LIMIT=6\nMAX_BODY=1k\n\
         MAX_CONNECTIONS=7\nHEAD_TIMEOUT=1\nBODY_TIMEOUT=2\nWRITE_TIMEOUT=3\nIDLE_TIMEOUT=4.5\n\
         MAX_CONCURRENT=9\nPOOL_SIZE=2\nCUSTOM_POOLS=a:x=3,b:1\nQUEUE_LIMIT=0\nQUEUE_TIMEOUT=0.5\nDRAIN_TIMEOUT=0\nLOG_LEVEL=warn\n\
         LOG_FORMAT=json\nCUSTOM_IMAGE_REGISTRY=registry.example:5000/mirror\n\
         CUSTOM_IMAGE_PULL_TIMEOUT=60.5\nCUSTOM_IMAGE_PULL_RETRIES=0\nREQUIRE_PINNED=digest\n\
         PULL_POLICY=always\nINSECURE_REGISTRIES=plain.example, localhost:5000\n\
         TRUSTED_REGISTRIES=docker.io,*.example.org,own.example:5000\n\
         ALLOWED_IMAGES=python:3.*,own.example:5000/**\nDOCKER_CONFIG=/nonexistent/docker\n\
         RATE_LIMIT=600/m\nTRUSTED_PROXIES=10.1.2.3/16, 2001:db8::1\n\
         CORS_ORIGINS=https://a.example,http://localhost:3000\n\
         IMAGE_STORE=/nonexistent/store\nIMAGE_STORE_SIZE=0\nMAX_IMAGE_SIZE=1g\n\
         FORWARD_ENV_KEYS=TOKEN, ABSENT,EMPTY\nTOKEN=hush\nEMPTY=\n\
         EXECUTION_STORE=/nonexistent/file\nRESULT_TTL=1.5\nRESULT_STORE_SIZE=2m\nMAX_BACKGROUND=3",
        "accept_unenforced = [\"memory\", \"cpu\", \"pids\"]",
    )
    .expect("valid");
    assert!(!format!("{settings:?}").contains("hush"));
    // Their insides are many pages.
    let allowed = settings.images.policy.allowed_images.take().expect("patterns");
    let patterns = ["python:3.*", "own.example:5000/**"];
    assert_eq!(allowed, patterns.map(|pattern| pattern.parse().expect("a pattern")));
    insta::assert_debug_snapshot!(settings);
}

#[test]
fn what_a_setting_breaks_is_said_with_its_origin() {
    let cases = [
        ("", "MEMORY_LIMIT=lots", ""),
        ("port=99999", "", ""),
        ("", "", "cpu_limit = \"-1\""),
        ("", "", "port = { a = 1 }"),
        ("", "", "prot = 1"),
        ("", "", "port = "),
        ("", "TIMEOUT=600", ""),
        ("", "MEMORY_LIMIT=1m", ""),
        ("", "MAX_TIMEOUT=10", ""),
        ("", "TIMEOUT=NaN", ""),
        ("", "HOST=0.0.0.0", ""),
        ("", "HOST=example.org", ""),
        ("", "HOST=0.0.0.0\nPUBLISHED_ON=0.0.0.0", ""),
        ("", "HOST=127.0.0.1\nPUBLISHED_ON=192.0.2.1", ""),
        ("", "HOST=0.0.0.0\nPUBLISHED_ON=example.org", ""),
        ("", "ALLOW_ANONYMOUS=yes", ""),
        ("allow_anonymous=true", "API_KEYS_FILE=/etc/keys.toml", ""),
        ("", "RATE_LIMIT=fast", ""),
        ("", "TRUSTED_PROXIES=proxy.example", ""),
        ("", "CORS_ORIGINS=a.example", ""),
        ("", "MAX_CONCURRENT=33", ""),
        ("", "MAX_CONNECTIONS=0", ""),
        ("", "HEAD_TIMEOUT=0", ""),
        ("", "IDLE_TIMEOUT=soon", ""),
        ("", "POOL_SIZE=-1", ""),
        ("", "POOL_SIZE=100000", ""),
        ("", "CUSTOM_POOLS=a", ""),
        ("", "CUSTOM_POOLS=a:x=100000", ""),
        ("", "MAX_CONCURRENT=0", ""),
        ("", "RUNTIMES_FILE=/nonexistent/runtimes.toml", ""),
        ("", "ENGINE=podman", ""),
        ("", "RUNTIME=a b", ""),
        ("", "ACCEPT_UNENFORCED=memory,disk", ""),
        ("", "USER_NAME=0", ""),
        ("", "USER_NAME=1000:0", ""),
        ("", "BASE_IMAGE=A;b", ""),
        ("", "LOG_LEVEL=loud", ""),
        ("", "CUSTOM_IMAGE_REGISTRY=two words", ""),
        ("", "CUSTOM_IMAGE_PULL_TIMEOUT=0", ""),
        ("", "CUSTOM_IMAGE_PULL_RETRIES=-1", ""),
        ("", "TRUSTED_REGISTRIES=docker.io,two words", ""),
        ("", "ALLOWED_IMAGES=two words", ""),
        ("require_pinned=yes", "", ""),
        ("", "", "pull_policy = \"sometimes\""),
        ("", "INSECURE_REGISTRIES=http://registry.example", ""),
        ("", "REGISTRY_CA=/nonexistent/ca.pem", ""),
        ("", "REGISTRY_CA=/proc/self/status", ""),
        ("", "REGISTRY_AUTH_FILE=/nonexistent/auth.json", ""),
        ("", "REGISTRY_AUTH_FILE=/proc", ""),
        ("", "DOCKER_CONFIG=/proc/self/status", ""),
        ("", "EXECUTION_STORE=executions", ""),
        ("", "EXECUTION_STORE=/proc", ""),
        ("", "FORWARD_ENV_KEYS=TOKEN,LD_PRELOAD\nLD_PRELOAD=hush", ""),
        ("", "FORWARD_ENV_KEYS=API_KEYS_FILE\nAPI_KEYS_FILE=/hush", ""),
        ("", "FORWARD_ENV_KEYS=A,B,A\nA=hush", ""),
        ("", "", "forward_env_keys = [\"A\", \"B C\"]"),
        ("", "RESULT_TTL=0", ""),
        ("", "RESULT_STORE_SIZE=0", ""),
        ("", "MAX_BACKGROUND=0", ""),
        ("", "WEBHOOK_HOSTS=example.org", ""),
        ("", "WEBHOOK_HOSTS=https://example.org", ""),
        ("", "WEBHOOK_SECRET_FILE=/nonexistent/secret", ""),
        ("", "WEBHOOK_SECRET_FILE=/proc/self/status", ""),
        ("", "IMAGE_STORE=images", ""),
        ("", "IMAGE_STORE_SIZE=lots", ""),
        ("", "MAX_IMAGE_SIZE=0", ""),
        ("", "CUSTOM_IMAGE_REGISTRY=user:secret@registry.example", ""),
        ("", "BASE_IMAGE=user:secret@registry.example/a:1", ""),
        ("", "CUSTOM_POOLS=user:secret@registry.example/a:1=3", ""),
    ];
    let errors: Vec<_> = cases.map(|(f, e, file)| refused(f, e, file)).into();
    insta::assert_debug_snapshot!(errors);
}

#[test]
fn no_refusal_repeats_credentials() {
    for name in [
        "CUSTOM_IMAGE_REGISTRY",
        "TRUSTED_REGISTRIES",
        "ALLOWED_IMAGES",
        "INSECURE_REGISTRIES",
        "BASE_IMAGE",
        "CUSTOM_POOLS",
    ] {
        let told = refused("", &format!("{name}=own.example,user:secret@registry.example/a"), "");
        assert!(!told.contains("secret"), "{told}");
        for named in [name, "registry.example", "from the environment", "DOCKER_CONFIG"] {
            assert!(told.contains(named), "nothing of {named}: {told}");
        }
    }
}

#[test]
fn registries_that_the_operator_names_may_be_private() {
    let private = |environment| load("", environment, "").expect("valid").images.private;
    assert_eq!(
        private(
            "TRUSTED_REGISTRIES=a.example:5000,*.b.example\nINSECURE_REGISTRIES=c.example\n\
             CUSTOM_IMAGE_REGISTRY=d.example/team\nBASE_IMAGE=e.example/x\n\
             CUSTOM_POOLS=f.example/x=1,own/y=1"
        ),
        ["a.example:5000", "c.example", "d.example", "e.example", "f.example"]
    );
    assert_eq!(private(""), Vec::<String>::new());
}

#[test]
fn the_operators_registry_is_that_of_pools_and_not_of_the_base_image() {
    let settings = load(
        "",
        "CUSTOM_IMAGE_REGISTRY=registry.example\nBASE_IMAGE=own/a\nCUSTOM_POOLS=own/b=1,docker.io/own/c=1",
        "",
    )
    .expect("valid");
    assert_eq!(
        settings.base_image.map(|image| image.full()).as_deref(),
        Some("docker.io/own/a:latest")
    );
    let pools: Vec<_> = settings.pools.custom.iter().map(|floor| floor.image.full()).collect();
    assert_eq!(pools, ["registry.example/own/b:latest", "docker.io/own/c:latest"]);
}

#[test]
fn folders_depend_on_who_runs_this() {
    let folders = |environment: &str, root| {
        let lookup: BTreeMap<_, _> =
            environment.lines().filter_map(|line| line.split_once('=')).collect();
        let flags = Flags { file: Some("/dev/null".into()), ..Flags::default() };
        let variable = |name: &str| lookup.get(name).map(|value| (*value).to_owned());
        let images =
            Settings::load(&flags, variable, &Machine { root, ..MACHINE }).expect("valid").images;
        let store = images.store.map(|store| store.path.to_string_lossy().into_owned());
        let docker = images.credentials.docker_config;
        (
            store.unwrap_or_default(),
            docker.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        )
    };
    let pair = |store: &str, docker: &str| (store.to_owned(), docker.to_owned());
    assert_eq!(folders("HOME=/root", true), pair("/var/lib/oncebox", "/root/.docker"));
    assert_eq!(
        folders("HOME=/home/a", false),
        pair("/home/a/.local/share/oncebox", "/home/a/.docker")
    );
    assert_eq!(
        folders("HOME=/home/a\nXDG_DATA_HOME=/data", false),
        pair("/data/oncebox", "/home/a/.docker")
    );
    assert_eq!(folders("", false), pair("", ""));
    assert_eq!(folders("HOME=/root\nUSER_NAME=web", true), pair("/var/lib/oncebox", ""));
    assert_eq!(
        folders("HOME=/root\nDOCKER_CONFIG=/srv/docker\nIMAGE_STORE=/srv/store", true),
        pair("/srv/store", "/srv/docker")
    );
}

#[test]
fn authorities_and_credentials_are_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let (ca, auth) = (file("ca.pem", pem), file("auth.json", "{}"));
    let environment =
        format!("REGISTRY_CA={}\nREGISTRY_AUTH_FILE={}", ca.display(), auth.display());
    let images = load("", &environment, "").expect("valid").images;
    assert_eq!(images.authorities, pem.as_bytes());
    assert_eq!(images.credentials.auth_file, Some(auth));
    assert_eq!(images.client().authorities, pem.as_bytes());
}

#[test]
fn webhooks_are_listed_and_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    let with_mode = |mode| {
        fs::write(&path, format!("whsec_{}\n", "A".repeat(32))).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let environment =
            format!("WEBHOOK_HOSTS=a.example, *.b.example\nWEBHOOK_SECRET_FILE={}", path.display());
        load("", &environment, "")
    };
    let webhooks = with_mode(0o600).expect("valid").executions.background.webhooks;
    let webhooks = webhooks.expect("some");
    assert_eq!(
        webhooks.hosts,
        ["a.example", "*.b.example"].map(|host| host.parse().expect("valid"))
    );
    assert!(!format!("{webhooks:?}").contains("AAA"));
    let readable = with_mode(0o604).expect_err("refused").to_string();
    assert!(readable.contains("anybody may read") && !readable.contains("AAA"), "{readable}");
}

#[test]
fn a_named_file_must_exist() {
    let flags = Flags { file: Some("/nonexistent/x.toml".into()), ..Flags::default() };
    let error = Settings::load(&flags, |_| None, &MACHINE).expect_err("refused");
    assert!(error.to_string().contains("/nonexistent/x.toml"), "{error}");
}

#[test]
fn beyond_loopback_there_are_keys_or_the_operator_wants_none() {
    let address = |environment| load("", environment, "").map(|settings| settings.address.ip());
    let everywhere = std::net::IpAddr::from([0, 0, 0, 0]);
    assert_eq!(address("HOST=0.0.0.0\nAPI_KEYS_FILE=/etc/keys.toml"), Ok(everywhere));
    assert_eq!(address("HOST=0.0.0.0\nALLOW_ANONYMOUS=true"), Ok(everywhere));
    assert!(address("HOST=0.0.0.0").is_err());
    assert!(address("HOST=::").is_err());
    assert!(address("HOST=::1").is_ok());
    let settings = load("", "API_KEYS_FILE=/etc/keys.toml", "").expect("valid");
    assert_eq!(settings.access.keys_file, Some("/etc/keys.toml".into()));
}

#[test]
fn the_key_file_is_known_while_other_settings_are_wrong() {
    let flags = Flags { file: Some("/dev/null".into()), ..Flags::default() };
    let variable = |name: &str| match name {
        "API_KEYS_FILE" => Some("/etc/keys.toml".to_owned()),
        "HOST" => Some("nonsense".to_owned()),
        _ => None,
    };
    assert_eq!(keys_file(&flags, variable), Ok(Some("/etc/keys.toml".into())));
}

#[test]
fn users_are_names_or_numbers() {
    let user = |text: &str| load("", &format!("USER_NAME={text}"), "").ok().and_then(|s| s.user);
    assert_eq!(user("web"), Some(User::Name("web".into())));
    assert_eq!(user("1000"), Some(User::Ids { uid: 1000, gid: 1000 }));
    assert_eq!(user("1000:5"), Some(User::Ids { uid: 1000, gid: 5 }));
    assert_eq!(user("web:5"), None);
}

#[test]
fn concurrency_follows_the_scarcest_of_cores_memory_and_pids() {
    let most = |machine| {
        let flags = Flags { file: None, ..Flags::default() };
        Settings::load(&flags, |_| None, &machine).expect("valid").admission.max_concurrent
    };
    assert_eq!(most(MACHINE), 8);
    assert_eq!(most(Machine { memory: 1 << 30, ..MACHINE }), 2);
    assert_eq!(most(Machine { cores: 64, memory: 1 << 40, ..MACHINE }), 31);
    assert_eq!(most(Machine { cores: 1, memory: 0, pid_max: 2048, ..MACHINE }), 1);
}

#[test]
fn every_key_is_named_once_and_alike_everywhere() {
    let names: std::collections::BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
    assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}
